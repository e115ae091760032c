"""`python -m studio.starter`: render, train, judge and look at the starter pack."""

import argparse
import json
import logging
import os
from pathlib import Path

from studio.starter.recipe import STAGES, run_stage, train_all

PACK = Path(__file__).parents[2] / "assets" / "starter"


os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it speaks of torchvision, which nothing here needs


def main() -> None:
    """Read the command line and run one part of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m studio.starter", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/starter"), help="folder of scenes and training states")
    parser.add_argument("--pack", type=Path, default=PACK, help="folder of the pack")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train one part, or all that are not finished")
    train.add_argument("part", choices=[*STAGES, "all"])
    train.add_argument("--minutes", type=float, help="train for this long instead of the recipe's time")
    train.add_argument("--ranks", type=int, default=min(2, os.cpu_count() or 1))
    commands.add_parser("export", help="write the pack from what is trained so far")
    judge = commands.add_parser("judge", help="measure the pack on held-out scenes and print the table")
    judge.add_argument("--count", type=int, default=200, help="how many scenes")
    judge.add_argument("--first-seed", type=int, default=20_000_000, help="of the scenes; others make another exam")
    judge.add_argument("--json", type=Path, help="write the figures there too")
    sheet = commands.add_parser("sheet", help="draw a sheet of pictures with and without control")
    sheet.add_argument("file", type=Path)
    subjects = commands.add_parser("subjects", help="draw the folders of pictures that the trainer is examined with")
    subjects.add_argument("folder", type=Path)
    subjects.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line says."""
    match arguments.command:
        case "train" if arguments.part == "all":
            train_all(arguments.work, arguments.ranks)
        case "train":
            run_stage(arguments.part, arguments.work, arguments.minutes, arguments.ranks)
        case "export":
            from studio.starter.pack import export

            export(arguments.work, arguments.pack)
        case "judge":
            from studio.starter.measure import measure, table

            report = logging.getLogger("studio.starter").info
            figures = measure(arguments.pack, arguments.count, report, arguments.first_seed)
            if arguments.json:
                arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
            print(table(figures))
        case "subjects":
            from studio.starter.subjects import write_subjects

            for folder in write_subjects(arguments.folder, arguments.seed):
                print(folder)
        case _:
            from studio.starter.measure import sheet

            sheet(arguments.pack, arguments.file)


if __name__ == "__main__":
    main()
