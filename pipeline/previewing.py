"""`pipeline preview`: what a deployment would change, held against the policy pack."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import effects
from commands import terminal
from commands.terminal import CHANGES, DONE, FAILED, check, print_json, print_utf8
from pipeline import changes, reports, stack_files
from registry import validation

if TYPE_CHECKING:
    import argparse

    from pipeline.changes import Preview

PACK = "policy"
"""The policy pack, a folder of the repository."""

LIMIT = 1200.0
"""Seconds for one preview; a refresh asks AWS about every resource."""

tell = partial(terminal.tell, "pipeline")


def preview(args: argparse.Namespace) -> int:
    """Preview a stack. Exit status 3 when there are changes."""
    check(
        lambda: validation.stack_name(args.stack),
        lambda: stack_files.path_of(args.stack, args.root),
    )
    found, diff = asked(args.stack, args.root, refresh=args.refresh)
    text = reports.markdown(found, stack=args.stack, diff=diff)
    if args.report:
        effects.write_atomic(Path(args.report), text)
    if args.step:
        _tell_workflow(found, args.stack, text)
    if args.json:
        print_json(reports.as_json(found, args.stack))
    else:
        lines = [f"stack {args.stack}: {reports.headline(found)}", *reports.listed(found)]
        lines += [f"digest {found.digest}"] if found.good else []
        print_utf8("\n".join([diff.rstrip(), *lines] if diff.strip() else lines) + "\n")
    if not found.good:
        tell(f"stack {args.stack}: {reports.headline(found)}")
        return FAILED
    if args.expect and args.expect != found.digest:
        tell(
            f"stack {args.stack}: what would be done has changed since it was approved: "
            f"its digest is {found.digest}, not {args.expect}; look at it again, and approve that"
        )
        return FAILED
    return CHANGES if found.changes and not args.step else DONE


def _tell_workflow(found: Preview, stack: str, text: str) -> None:
    """Outputs for the next steps, a summary for people, a warning for what cannot be undone.

    Where GitHub wants them: docs.github.com, "Workflow commands for GitHub Actions".
    """
    outputs = f"changes={str(bool(found.changes)).lower()}\ndigest={found.digest}\n"
    for variable, what in (("GITHUB_OUTPUT", outputs), ("GITHUB_STEP_SUMMARY", text)):
        if path := os.environ.get(variable):
            with Path(path).open("a") as file:
                file.write(what)
    for change in found.losses:
        print_utf8(
            f"::warning title=stack {stack}: this cannot be undone::"
            f"{change.operation} {change.name}: {change.loss}\n"
        )


def asked(stack: str, root: Path, *, refresh: bool) -> tuple[Preview, str]:
    """Ask Pulumi; the preview, and its diff as text. Raises `effects.Failed` on no answer in time.

    Pulumi takes backend, credentials and secrets provider from the environment and the stack file.
    """
    with tempfile.TemporaryDirectory(prefix="gatepair-preview-") as directory:
        log = Path(directory) / "events"
        ran = effects.run(
            [
                "pulumi",
                "preview",
                f"--stack={stack}",
                "--diff",
                "--non-interactive",
                "--color=never",
                f"--policy-pack={PACK}",
                f"--event-log={log}",
                *(["--refresh"] if refresh else []),
            ],
            timeout=LIMIT,
            check=False,
            cwd=root,
            # --event-log is for Pulumi's Automation API, which sets this too
            env={**os.environ, "PULUMI_DEBUG_COMMANDS": "true"},
        )
        found = changes.read(log.read_text().splitlines() if log.exists() else [])
    if ran.status != 0 and (found.good or not (found.errors or found.violations)):
        # before the engine began: no login, no such stack, a lock
        raise effects.Failed(["pulumi", "preview"], ran.status, ran.stderr)
    return found, ran.stdout
