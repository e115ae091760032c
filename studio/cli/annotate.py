"""`annotate`: a photo in, a control map out."""

import argparse

from studio.cli.generate import OpenStudio, backend, check_out
from studio.cli.request import parse_options, read_picture
from studio.files import write_whole
from studio.settings import Settings


def annotate(flags: argparse.Namespace, settings: Settings, open_studio: OpenStudio) -> int:
    """Write the map of a photo, as large as the photo. Raises: StudioError, saying what cannot be used."""
    check_out(flags.out)
    options, photo = parse_options(flags.option), read_picture(flags.file, "file")
    with backend(settings, open_studio) as studio:
        made = studio.annotate(studio.keep(photo), flags.kind, options)
        write_whole(flags.out, studio.asset(made["map"]))
    print(flags.out)
    return 0
