"""What the workflows run, and a person can run as well: a preview, and what GitHub is told."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands import terminal
from pipeline.targets import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent

EPILOG = """\
exit status: 0 done or no changes, 1 failed or forbidden, 2 usage or refused input, 3 a preview
that has changes

`preview` needs Pulumi, a login to the state's bucket and AWS credentials; `comment`, `issue` and
`propose` need GitHub's command gh, logged in. How the workflows use it: docs/pull-requests.md
"""

TARGET = """\
Print where a stack is deployed to, as NAME=VALUE lines: the role that a workflow takes, region,
account, the state's bucket (PULUMI_BACKEND_URL), and the version of Pulumi that fits. All of it
follows from the stack file and requirements.lock.
"""

PREVIEW = """\
Preview a stack: its diff, what of it cannot be undone (a load balancer, an address, a secret or a
table replaced or deleted), and what the policy pack says. Ends with a digest of the changes.

With --expect DIGEST it fails when the changes are not the ones that were approved.
"""

COMMENT = """\
Put a Markdown file on a pull request as a comment, in the place of the one of the same name.
"""

ISSUE = """\
Open an issue with a Markdown file as its text, or bring the open one of that title up to date;
with --close, close it: there is nothing to say any more.
"""

PROPOSE = """\
Commit changed files to a branch of their own and open a pull request for it, or bring the open one
up to date. Does nothing when none of the files has changed.
"""


def main(argv: Sequence[str], began: float | None = None) -> int:
    """Run one command and return its exit status; `began` is its start, in monotonic seconds."""
    began = time.monotonic() if began is None else began
    return terminal.run("pipeline", lambda words: parse(words, began), argv)


def parse(argv: Sequence[str], began: float = 0.0) -> argparse.Namespace:
    """The arguments; `module` and `function` are what to call. Leaves by SystemExit as argparse."""
    shape: dict[str, Any] = {
        "epilog": EPILOG,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    parser = argparse.ArgumentParser(prog="pipeline", description=__doc__, **shape)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, module, text in (
        ("target", "pipeline.telling", TARGET),
        ("preview", "pipeline.previewing", PREVIEW),
        ("comment", "pipeline.github", COMMENT),
        ("issue", "pipeline.github", ISSUE),
        ("propose", "pipeline.github", PROPOSE),
    ):
        brief = text.partition(".")[0].partition(":")[0].partition(",")[0].replace("\n", " ")
        made[name] = commands.add_parser(name, help=brief.lower(), description=text, **shape)
        made[name].set_defaults(module=module, function=name, root=ROOT)
    for name in ("target", "preview"):
        made[name].add_argument("--stack", required=True, help="environment to work on")
        made[name].add_argument("--json", action="store_true", help="print JSON on stdout")
    _of_target(made["target"])
    _of_preview(made["preview"])
    made["comment"].add_argument(
        "--pull-request", metavar="N", type=number, required=True, help="its number"
    )
    made["comment"].add_argument(
        "--name", required=True, help="which comment it is, such as preview-prod"
    )
    made["comment"].add_argument("file", metavar="FILE", type=Path, help="Markdown")
    made["issue"].add_argument("--title", required=True, help="the issue's, by which it is found")
    made["issue"].add_argument("--close", action="store_true", help="close it, if it is open")
    made["issue"].add_argument("file", metavar="FILE", type=Path, nargs="?", help="Markdown")
    _of_propose(made["propose"])
    args = parser.parse_args(argv)
    args.began = began
    if args.function == "issue" and (args.file is None) != args.close:
        made["issue"].error("give a FILE, or --close")
    return args


def _of_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--role", choices=[str(role) for role in Role], required=True, help="what the job does"
    )


def _of_preview(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--refresh", action="store_true", help="ask AWS first what has changed behind Pulumi's back"
    )
    parser.add_argument(
        "--expect", metavar="DIGEST", default="", help="fail unless these are the changes"
    )
    parser.add_argument("--report", metavar="FILE", help="write it as Markdown too")
    parser.add_argument(
        "--step",
        action="store_true",
        help="as a step of a GitHub workflow: changes are no failure, but told to the next steps "
        "(changes=true, digest=DIGEST), to the summary and as warnings",
    )


def _of_propose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--branch", required=True, help="to make, or to put in another place")
    parser.add_argument("--title", required=True, help="of the pull request and the commit")
    parser.add_argument("--body", metavar="FILE", type=Path, required=True, help="Markdown")
    parser.add_argument("--base", default="main", help="what it is for; default main")
    parser.add_argument("--plan", action="store_true", help="say what it would do, and stop")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="what may have changed")


def number(text: str) -> int:
    """A pull request's number. Raises `argparse.ArgumentTypeError`."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a pull request")
    return int(text)
