"""The commands and their flags."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from studio import __version__
from studio.cli.tools_parser import add_tools

PROGRAM = "python launch.py"
SUITES = ("main", "store", "control", "adapters", "training")
CONTROL = "KIND=FILE[,annotate=NAME][,scale=X][,start=X][,end=X][,mode=WORD][,mask=FILE][,model=NAME]"
ADAPTER = "NAME[:WEIGHT][,kind=WORD][,text=X][,start=X][,end=X][,curve=WORD]"


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line on stderr, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read on."""
        print(f"{message.rstrip('.')}. See: {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line; without a command it is `serve`. Ends the process for --help and for wrong use."""
    return build_parser().parse_args(with_command(arguments))


def with_command(arguments: Sequence[str]) -> list[str]:
    """The command first: `--data DIR generate ...` and `--port 80` are put in the order that the parser reads."""
    words, leading = list(arguments), list[str]()
    while words and words[0].partition("=")[0] in ("--data", "--models-from", "--device"):
        taken = 1 if "=" in words[0] else 2
        leading, words = leading + words[:taken], words[taken:]
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["serve", *words]
    named = 2 if words[0] == "models" else 1  # `models list` is two words
    return [*words[:named], *leading, *words[named:]]


def build_parser() -> Parser:
    """Every command that works, and what it takes."""
    parser = Parser(prog=PROGRAM, description="Draw a scribble, type a prompt, get a picture that obeys.")
    parser.add_argument("--version", action="version", version=f"maquette {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = _common()
    _serve(commands.add_parser("serve", parents=[common], help="open the studio's page (the default)"))
    _generate(commands.add_parser("generate", parents=[common], help="make pictures without the page"))
    _annotate(commands.add_parser("annotate", parents=[common], help="make a control map of a photo"))
    _train(
        commands.add_parser("train", parents=[common], help="teach a model your own thing, from a folder of pictures")
    )
    _models(commands.add_parser("models", help="list, verify, download, convert and merge models"), common)
    _bench(commands.add_parser("bench", parents=[common], help="measure speed, memory, obedience, beside their bars"))
    doctor = commands.add_parser("doctor", parents=[common], help="say what is installed, what runs, and what is wrong")
    doctor.add_argument("--json", action="store_true", help="print one JSON value")
    test = commands.add_parser("test", add_help=False, help="run the test suite; takes pytest's arguments")
    test.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _common() -> Parser:
    common = Parser(add_help=False)
    group = common.add_argument_group("everywhere")
    group.add_argument("--data", type=Path, metavar="DIR", help="the data folder (default: data/, or STUDIO_DATA)")
    group.add_argument(
        "--models-from",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="a folder of models to read in place; may be given several times",
    )
    group.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps")
    return common


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, metavar="N", help="where to serve (default: 7860, or the next free one)")
    parser.add_argument("--listen", action="store_true", help="let other machines of the network in, with accounts")
    parser.add_argument("--share", action="store_true", help="make a public link, with accounts")
    accounts = parser.add_mutually_exclusive_group()
    accounts.add_argument("--auth-file", type=Path, metavar="FILE", help="accounts, a line each: user:password")
    accounts.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD", help="an account; may be given several times"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.add_argument("--offline", action="store_true", help="never use the network, not even when asked to")


def _generate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--prompt", metavar="TEXT", help="what the picture shows")
    add("--negative", dest="negative_prompt", metavar="TEXT", help="what it should not show")
    add("--prompt-mode", metavar="WORD", help="typed, none, default (the paper's) or automatic (from the picture)")
    add("--checkpoint", metavar="NAME", help="the model (default: the first usable one)")
    add("--vae", metavar="NAME", help="an autoencoder instead of the checkpoint's own")
    add("--width", type=int, metavar="N", help="pixels (default: the checkpoint's native size)")
    add("--height", type=int, metavar="N", help="pixels (default: the checkpoint's native size)")
    add("--steps", dest="num_inference_steps", type=int, metavar="N", help="denoising steps")
    add("--guidance", dest="guidance_scale", type=float, metavar="X", help="how strongly the prompt counts")
    add("--scheduler", metavar="NAME", help="ddim, euler, euler_a, heun, dpmpp_2m, ...")
    add("--sigmas", metavar="NAME", help="default, karras, exponential or beta")
    add("--seed", type=int, metavar="N", help="the same seed gives the same picture")
    add("--count", type=int, metavar="N", help="how many pictures, each with the next seed")
    add(
        "--control",
        action="append",
        default=[],
        metavar=CONTROL,
        help="a finished map, light on black, or a photo to annotate; mode is balanced, prompt or control; "
        "resize=crop|fill|stretch fits a map of another aspect",
    )
    add(
        "--adapter",
        action="append",
        default=[],
        metavar=ADAPTER,
        help="a LoRA or, with kind=hypernetwork, a hypernetwork; several are applied in their order; text is the "
        "weight for the words, start and end are shares of the steps, curve is constant, rise or fall",
    )
    add("--init", type=Path, metavar="FILE", help="a picture to begin with")
    add("--strength", type=float, metavar="X", help="how much of it changes, 0 to 1")
    add("--mask", type=Path, metavar="FILE", help="white where it may change; elsewhere it stays bit for bit")
    add("--mask-padding", type=int, metavar="N", help="make only the painted part anew, and N pixels around it")
    add("--mask-blur", type=int, metavar="N", help="pixels over which the new goes over into the old (default: 4)")
    add("--fill", metavar="WORD", help="what the painted part begins from: original, fill, noise or nothing")
    add("--outpaint", type=_sides, metavar="L,T,R,B", help="paint on beyond the borders of --init, by so many pixels")
    add("--params", type=Path, metavar="FILE.toml", help="settings from a file; flags win over it")
    add(
        "--grid",
        action="append",
        default=[],
        metavar="FIELD=A,B,C",
        help="one picture for each value, on a labelled sheet; up to three; FIELD is as in --params, adapters.NAME "
        "for a weight, conditioning_scale, or words, whose first value is replaced by each",
    )
    add("--out", type=Path, required=True, metavar="FILE.png", help="where the picture goes; more are FILE-2.png, ...")
    add("--json", action="store_true", help="print one JSON value last")


def _annotate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "kind",
        metavar="KIND",
        help="an annotator (canny, scribble, softedge, lineart, ...), a control kind, or caption",
    )
    add("file", type=Path, metavar="FILE", help="the photo")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.png",
        help="where the map goes, as large as the photo; people that were found, if it is FILE.json; words in FILE.txt",
    )
    add("--download", action="store_true", help="download first what the annotator needs and is not here")
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="such as low_threshold=50; several times")


def _train(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "file",
        type=Path,
        metavar="FILE.toml",
        help="name and dataset (a folder of pictures, or a dataset's name); subject, method, checkpoint, trigger, "
        "class_word and [settings] where they shall not be chosen",
    )
    add("--processes", type=int, metavar="N", help="how many processes share the run, each with a GPU (default: 1)")
    add("--resume", action="store_true", help="go on with the last run of that name that ended early")
    add("--json", action="store_true", help="print one JSON value last")


def _bench(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--suite", choices=SUITES, default="main", help="which figures (default: main)")
    add("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    add("--pack", type=Path, metavar="DIR", help="control, training: another starter pack than the one that is here")
    add(
        "--scenes", type=int, metavar="N", help="control, training: fewer scenes, to try it; then obedience has no bars"
    )
    add(
        "--part",
        action="append",
        default=[],
        metavar="NAME",
        help="control, training: only this part; may be given again. A wrong name tells the right ones",
    )
    add("--pictures", type=Path, metavar="FILE.png", help="control: write a sheet of maps and pictures to FILE")


def _models(parser: argparse.ArgumentParser, common: Parser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="every model, and why one cannot be used")
    listing.add_argument("words", nargs="*", metavar="WORD", help="only models with these words in name, tags or notes")
    listing.add_argument("--kind", default="", metavar="KIND", help="only this kind, such as checkpoint, lora or vae")
    listing.add_argument("--usable", action="store_true", help="only those that can be used")
    listing.add_argument("--json", action="store_true", help="print one JSON value")
    verify = actions.add_parser("verify", parents=[common], help="read models from end to end, and name damaged ones")
    verify.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    verify.add_argument("--json", action="store_true", help="print one JSON value")
    convert = actions.add_parser("convert", parents=[common], help="write a pickled model as safetensors")
    convert.add_argument("file", type=Path, metavar="FILE", help="a .ckpt, .pt, .pth or .bin file")
    convert.add_argument("--out", type=Path, metavar="FILE", help="default: beside it, ending in .safetensors")
    convert.add_argument("--json", action="store_true", help="print one JSON value")
    add_tools(actions, common)
    adding = actions.add_parser("add", parents=[common], help="download a model")
    adding.add_argument("source", metavar="URL|REPO[:FILE]", help="an address, or owner/name on the Hugging Face Hub")
    adding.add_argument("--kind", metavar="KIND", help="what it is, such as lora (default: the file itself tells)")
    adding.add_argument("--sha256", metavar="HEX", help="refuse a file of another checksum")
    adding.add_argument("--offline", action="store_true", help="never use the network: refuse instead")
    adding.add_argument("--json", action="store_true", help="print one JSON value")


def _sides(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if len(words) != 4 or not all(word.strip().isdecimal() for word in words) or not any(map(int, words)):
        raise argparse.ArgumentTypeError(f"{text!r} is not the pixels at the left, top, right and bottom: 64,0,64,0")
    return tuple(map(int, words))


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, which is a number from 0 to 65535")
    return int(text)
