"""How every bench is run: arguments, progress on stderr, the report on stdout, exit status.

Exit status: 0 it measured, whatever the figures; 1 it could not; 2 refused, nothing was changed;
130 interrupted. Whatever way it ends, it leaves the lab as it found it.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from effects import Failed, Refusal
from lab import process
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.report import Report

    Say = Callable[[str], None]

MEASURED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


class NotMeasured(Exception):  # noqa: N818 - named as a sentence
    """What was to be measured did not happen; there is no figure."""


def parser(name: str, text: str) -> argparse.ArgumentParser:
    """What every bench takes."""
    made = argparse.ArgumentParser(
        prog=f"bench/{name}.py",
        description=text,
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def run(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace, Say], Report],
    argv: Sequence[str],
) -> int:
    """Measure, print, and return the exit status."""
    options = parser.parse_args(argv)
    say = progress(parser.prog)
    process.end_as_if_interrupted()
    try:
        report = measure(options, say)
    except Refusal as err:
        say(str(err))
        return REFUSED
    except (
        *(BotoCoreError, ClientError, Failed, NotMeasured, OSError),
        *(RegistryError, TimeoutError),
    ) as err:
        say(f"not measured: {err}")
        return FAILED
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    text = report.as_json() if options.json else "\n".join(report.table())
    sys.stdout.write(f"{text}\n")
    return MEASURED


def progress(program: str) -> Say:
    """Lines on stderr, with the seconds since the start."""
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{program} {time.monotonic() - began:6.1f} s: {text}\n")
        sys.stderr.flush()

    return say


def positive(text: str) -> int:
    """A count. Raises `argparse.ArgumentTypeError`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def count(text: str) -> int:
    """A number of things, none included. Raises `argparse.ArgumentTypeError`."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)
