"""`python -m studio.starter`: render, train, judge and look at the starter pack."""

import argparse
import logging
import os
from pathlib import Path

from studio.starter.recipe import STAGES, run_stage, train_all


def main() -> None:
    """Read the command line and run one part of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m studio.starter", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("data/starter"), help="folder of scenes and training states")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train one part, or all that are not finished")
    train.add_argument("part", choices=[*STAGES, "all"])
    train.add_argument("--minutes", type=float, help="train for this long instead of the recipe's time")
    train.add_argument("--ranks", type=int, default=min(2, os.cpu_count() or 1))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.part == "all":
        train_all(arguments.work, arguments.ranks)
    else:
        run_stage(arguments.part, arguments.work, arguments.minutes, arguments.ranks)


if __name__ == "__main__":
    main()
