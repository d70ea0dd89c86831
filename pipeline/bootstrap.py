"""Once for each stack, by an administrator: what its workflows stand on in AWS.

Makes, in the account and region that the stack file names: the bucket for Pulumi states and the
KMS key for their secrets (both shared by the account's stacks), GitHub's OIDC provider, and the
stack's three roles: preview, watch and deploy. What is there already stays or is put right; what a
role has beyond its own policies is taken from it. Nothing else is ever deleted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from commands import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent

EPILOG = """\
exit status: 0 done or nothing to do, 1 failed, 2 usage or refused input, 3 (--plan) there is
something to do

Needs an administrator's AWS credentials in that account. Interrupted, it goes on where it stopped.
What the roles may, and how GitHub is set up: docs/pull-requests.md
"""


def main(argv: Sequence[str], began: float | None = None) -> int:
    """Run it and return its exit status; `began` is its start, in monotonic seconds."""
    began = time.monotonic() if began is None else began
    return terminal.run("bootstrap", lambda words: parse(words, began), argv)


def parse(argv: Sequence[str], began: float = 0.0) -> argparse.Namespace:
    """The arguments; `module` and `function` are what to call. Leaves by SystemExit as argparse."""
    parser = argparse.ArgumentParser(
        prog="bootstrap",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stack", required=True, help="environment, such as prod")
    parser.add_argument(
        "--repository",
        metavar="OWNER/NAME",
        required=True,
        help="on GitHub; OWNER@ID/NAME@ID if its tokens say so (repositories made after 15 July "
        "2026 do)",
    )
    parser.add_argument("--branch", default="main", help="that is deployed; default main")
    parser.add_argument("--plan", action="store_true", help="say what it would do, and stop")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    parser.set_defaults(module="pipeline.bootstrapping", function="bootstrap", root=ROOT)
    args = parser.parse_args(argv)
    args.began = began
    return args
