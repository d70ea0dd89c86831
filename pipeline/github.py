"""`pipeline comment | issue | propose`: what GitHub is told, by its own command `gh`.

Nothing here handles a token: gh has it from the environment or its own store, and lends it to git.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from commands import terminal
from commands.terminal import CHANGES, DONE, check, print_utf8
from effects import Refusal, run
from pipeline.reports import LONGEST

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

LIMIT = 120.0
"""Seconds for one request or one push."""

BOT = "github-actions[bot]"
"""Whose comments are replaced: a workflow's token may edit other people's too."""

AUTHOR = (
    "-c",
    f"user.name={BOT}",
    "-c",
    # GitHub's own address of that account, by its number
    "user.email=41898282+github-actions[bot]@users.noreply.github.com",
)

LENT = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")
"""For this one call of git, and no helper beside it."""

tell = partial(terminal.tell, "pipeline")


def comment(args: argparse.Namespace) -> None:
    """Put a comment in the place of the one of the same name."""
    (text,) = check(lambda: _read(args.file))
    mark = f"<!-- gatepair: {args.name} -->"
    body = f"{mark}\n{text}"
    place = f"repos/{{owner}}/{{repo}}/issues/{args.pull_request}/comments"
    known = _gh(
        "api",
        "--paginate",
        f"{place}?per_page=100",
        "--jq",
        ".[] | {id, body, login: .user.login} | @json",
    )
    found = [json.loads(line) for line in known.splitlines()]
    own = [one for one in found if one["login"] == BOT and one["body"].startswith(mark)]
    if own:
        place = f"repos/{{owner}}/{{repo}}/issues/comments/{own[0]['id']}"
        _send("PATCH", place, {"body": body})
    else:
        _send("POST", place, {"body": body})
    tell(f"comment {args.name}: {'updated' if own else 'made'}")


def issue(args: argparse.Namespace) -> None:
    """Open the issue, bring it up to date, or close it."""
    text = "" if args.close else check(lambda: _read(args.file))[0]
    known = _gh("issue", "list", "--state", "open", "--limit", "1000", "--json", "number,title")
    numbers = [str(one["number"]) for one in json.loads(known) if one["title"] == args.title]
    if args.close:
        for number in numbers:
            _gh("issue", "close", number, "--comment", "It is as it should be again.")
    elif numbers:
        # not `gh issue edit`, which asks for more than a workflow's token may see
        _send("PATCH", f"repos/{{owner}}/{{repo}}/issues/{numbers[0]}", {"body": text})
    else:
        _gh("issue", "create", "--title", args.title, "--body-file", "-", stdin=text)
    did = "closed" if args.close else "updated" if numbers else "opened"
    tell(f"issue {args.title!r}: {did if numbers or not args.close else 'is not open'}")


def propose(args: argparse.Namespace) -> int:
    """Open a pull request with what has changed of `paths`, or bring the open one up to date."""
    changed = _git(args, "status", "--porcelain", "--", *args.paths).strip()
    if not changed:
        tell(f"nothing has changed in {' '.join(args.paths)}: no pull request")
        return DONE
    (body,) = check(lambda: _read(args.body))
    if args.plan:
        print_utf8(f"would propose {args.title!r} on branch {args.branch}:\n{changed}\n")
        return CHANGES
    _git(args, "switch", "--quiet", "--force-create", args.branch)
    _git(args, "add", "--", *args.paths)
    _git(args, *AUTHOR, "commit", "--quiet", "--message", args.title)
    _git(args, *LENT, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{args.branch}")
    known = _gh("pr", "list", "--head", args.branch, "--state", "open", "--json", "number")
    numbers = [str(one["number"]) for one in json.loads(known)]
    if numbers:
        said = {"title": args.title, "body": body}
        _send("PATCH", f"repos/{{owner}}/{{repo}}/pulls/{numbers[0]}", said)
    else:
        what = ("--title", args.title, "--body-file", "-")
        _gh("pr", "create", "--head", args.branch, "--base", args.base, *what, stdin=body)
    tell(f"pull request {args.title!r}: {'updated' if numbers else 'opened'}")
    return DONE


def _read(path: Path) -> str:
    try:
        text = path.read_text()
    except OSError as err:
        raise Refusal(str(path), str(err.strerror), "name a Markdown file") from err
    if not text.strip():
        raise Refusal(str(path), "is empty", "there would be nothing to read")
    return text[:LONGEST]


def _send(method: str, place: str, document: dict[str, Any]) -> None:
    _gh("api", "--method", method, place, "--input", "-", stdin=json.dumps(document))


def _gh(*words: str, stdin: str | None = None) -> str:
    return run(["gh", *words], stdin=stdin, timeout=LIMIT).stdout


def _git(args: argparse.Namespace, *words: str) -> str:
    command: Sequence[str] = ["git", *words]
    return run(command, timeout=LIMIT, cwd=args.root).stdout
