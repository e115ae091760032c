"""What the worker logs reaches the process that owns the log file."""

import logging

from studio.messages import Logged
from studio.worker.lines import Lines, relay


def test_what_is_logged_below_studio_is_sent_with_its_traceback():
    said, log = [], logging.getLogger("studio")
    level = log.level
    relay(said.append)
    try:
        logging.getLogger("studio.engine").debug("no news")
        logging.getLogger("studio.engine").info("%s is compiled", "the UNet")
        logging.getLogger("diffusers").warning("not ours")
        try:
            raise ValueError("no paint")
        except ValueError:
            logging.getLogger("studio.worker").exception("a job failed")
    finally:
        log.setLevel(level)
        for handler in [one for one in log.handlers if isinstance(one, Lines)]:
            log.removeHandler(handler)
    first, second = said
    assert first == Logged(logging.INFO, "studio.engine", "the UNet is compiled")
    assert second.level == logging.ERROR
    assert second.text.startswith("a job failed\nTraceback")
    assert second.text.endswith("ValueError: no paint")
