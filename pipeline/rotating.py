"""`rotate begin | end`: the server key's next generation, and the end of the one before."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import CHANGES, DONE, FAILED, check, print_json, print_utf8
from effects import Refusal, write_atomic
from pipeline import checklists, generations, stack_files
from registry import validation

if TYPE_CHECKING:
    import argparse

    from commands.rotation import Situation
    from pipeline.generations import Edit

tell = partial(terminal.tell, "rotate")


def begin(args: argparse.Namespace) -> int:
    """Add the next generation to stack files; all of them, or none that one of them is wrong."""
    found: dict[str, Edit] = dict(
        check(*(partial(_edit, args.root, stack, "begin") for stack in args.stacks))
    )
    for stack, edit in found.items():
        if not edit.changes:
            tell(f"stack {stack}: a rotation is under way, {_list(edit.before)} are served")
    return _finish(args, found, checklists.begin(_changed(found)))


def end(args: argparse.Namespace) -> int:
    """Take the old generation out of a stack file, once nobody uses it any more."""
    (named,) = check(partial(_edit, args.root, args.stack, "end"))
    stack, edit = named
    if not edit.changes:
        tell(f"stack {stack}: {_list(edit.before)} alone is served, nothing is to be ended")
        return _finish(args, {stack: edit}, "")
    situation = _looked(args)
    if situation.control.key_generations != edit.before:
        raise Refusal(
            f"stack {stack}",
            f"its file says {_list(edit.before)}, but {_list(situation.control.key_generations)} "
            "is deployed",
            "deploy what the file says, or wait until that is done",
        )
    if not situation.ready:
        tell(*(f"stack {stack}: not yet: {what}" for what in _missing(situation)))
        return FAILED
    return _finish(args, {stack: edit}, checklists.end(stack, edit, situation))


def _edit(root: Path, stack: str, which: str) -> tuple[str, Edit]:
    validation.stack_name(stack)
    path = stack_files.path_of(stack, root)
    edit = generations.begun if which == "begin" else generations.ended
    return stack, edit(path.read_text(), path.name)


def _looked(args: argparse.Namespace) -> Situation:
    from commands import rotation
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        return rotation.look(connect(args.stack), days=args.days)


def _missing(situation: Situation) -> list[str]:
    from commands import rotation

    return list(rotation.missing(situation))


def _finish(args: argparse.Namespace, found: dict[str, Edit], checklist: str) -> int:
    """Say it, and write it unless this is a plan."""
    changed = _changed(found)
    if args.checklist and changed:
        write_atomic(Path(args.checklist), checklist)
    if not args.plan:
        for stack, edit in changed.items():
            write_atomic(stack_files.path_of(stack, args.root), edit.text)
    if args.json:
        facts = {
            stack: {"before": list(edit.before), "after": list(edit.after)}
            for stack, edit in found.items()
        }
        print_json({"written": not args.plan, "stacks": facts})
    else:
        verb = "would become" if args.plan else "is now"
        for stack, edit in changed.items():
            print_utf8(
                f"Pulumi.{stack}.yaml: {generations.KEY} {verb} {_list(edit.after)}, "
                f"was {_list(edit.before)}\n"
            )
    return CHANGES if changed and args.plan else DONE


def _changed(found: dict[str, Edit]) -> dict[str, Edit]:
    return {stack: edit for stack, edit in found.items() if edit.changes}


def _list(numbers: tuple[int, ...]) -> str:
    return str(list(numbers))
