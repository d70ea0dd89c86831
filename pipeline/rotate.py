"""The quarterly rotation of the server's key, as edits of stack files that a person reads."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import terminal
from commands.keys import DAYS, days

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent

EPILOG = """\
exit status: 0 done or nothing to do, 1 failed, or somebody still uses the old key, 2 usage or
refused input (nothing was changed), 3 (--plan) a file would change

Only the stack files are edited: commit what you read, then deploy it. What to do between the two
commands: docs/runbooks/rotate-the-key.md
"""

BEGIN = """\
Add the next generation of the server's key to stack files: [7] becomes [7, 8]. Needs no AWS. A
stack that serves two generations already is left as it is.
"""

END = """\
Take the old generation out of a stack file: [7, 8] becomes [8]. Refused with exit status 1 while
somebody who was here within the last DAYS uses the old key, or a gateway does not serve the new
one: the same that `scripts/keys wait` waits for. Needs AWS credentials that may read the stack.
"""


def main(argv: Sequence[str], began: float | None = None) -> int:
    """Run one command and return its exit status; `began` is its start, in monotonic seconds."""
    began = time.monotonic() if began is None else began
    return terminal.run("rotate", lambda words: parse(words, began), argv)


def parse(argv: Sequence[str], began: float = 0.0) -> argparse.Namespace:
    """The arguments; `module` and `function` are what to call. Leaves by SystemExit as argparse."""
    shape: dict[str, Any] = {
        "epilog": EPILOG,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = argparse.ArgumentParser(prog="rotate", description=__doc__, **shape)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, text in (("begin", BEGIN), ("end", END)):
        brief = text.partition(":")[0].lower()
        made[name] = commands.add_parser(name, help=brief, description=text, **shape)
        made[name].set_defaults(module="pipeline.rotating", function=name, root=ROOT)
        made[name].add_argument("--plan", action="store_true", help="write no stack file")
        made[name].add_argument("--json", action="store_true", help="print JSON on stdout")
        made[name].add_argument(
            "--checklist", metavar="FILE", help="write what is to be done, as Markdown"
        )
    made["begin"].add_argument("stacks", metavar="STACK", nargs="+", help="such as prod")
    made["end"].add_argument("stack", metavar="STACK", help="such as prod")
    made["end"].add_argument(
        "--days",
        metavar="DAYS",
        type=days,
        default=DAYS,
        help=f"who was last here longer ago does not count; default {DAYS:.0f}",
    )
    args = parser.parse_args(argv)
    args.began = began
    return args
