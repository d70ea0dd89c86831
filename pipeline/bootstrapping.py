"""`bootstrap`: look, say what is to be done, do it."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from commands import terminal
from commands.terminal import CHANGES, DONE, Interrupted, check, print_json, print_utf8
from effects import Refusal
from pipeline import stack_files, targets
from pipeline.policies import Trust
from registry import validation

if TYPE_CHECKING:
    import argparse

    from pipeline.ground import Ground, Step
    from pipeline.targets import Target

tell = partial(terminal.tell, "bootstrap")

NAME = r"[A-Za-z0-9_.-]+(@\d+)?"


def repository(text: str) -> str:
    """OWNER/NAME or OWNER@ID/NAME@ID. Raises `Refusal`: a * here would let strangers in."""
    if not re.fullmatch(f"{NAME}/{NAME}", text) or text.count("@") == 1:
        cure = "write OWNER/NAME, or OWNER@ID/NAME@ID for one made after 15 July 2026"
        raise Refusal(f"repository {text!r}", "is no name of a repository on GitHub", cure)
    return text


def branch(text: str) -> str:
    """A branch's name. Raises `Refusal`."""
    if not re.fullmatch(r"[A-Za-z0-9_./-]+", text):
        raise Refusal(f"branch {text!r}", "is no plain name of a branch", "name it like main")
    return text


def bootstrap(args: argparse.Namespace) -> int:
    """Bring the account to what the stack's workflows need."""
    _, target, *trusted = check(
        lambda: validation.stack_name(args.stack),
        lambda: targets.of(args.stack, args.root),
        lambda: repository(args.repository),
        lambda: branch(args.branch),
    )
    from pipeline import foundation
    from registry.environment import explained

    ground = _ground(target, Trust(*trusted), _adopted(args))
    with explained():
        found = foundation.steps(ground)
        if not args.plan:
            _do(found)
    if args.json:
        print_json(_json(args, target, found))
    else:
        print_utf8("".join(f"{line}\n" for line in _lines(args, target, found)))
    return CHANGES if found and args.plan else DONE


def _ground(target: Target, trust: Trust, vpc_id: str | None) -> Ground:
    """With the operator's own credentials, in the stack's region."""
    from pipeline.ground import Ground
    from registry import environment

    cloud = environment.session(target.stack)
    cloud.session.set_config_variable("region", target.region)
    return Ground(cloud.client, target, trust, vpc_id)


def _adopted(args: argparse.Namespace) -> str | None:
    path = stack_files.path_of(args.stack, args.root)
    vpc = stack_files.config(path.read_text(), path.name).get("gatepair:vpc")
    return str(vpc["id"]) if isinstance(vpc, dict) and "id" in vpc else None


def _do(steps: list[Step]) -> None:
    done = 0
    try:
        for step in steps:
            tell(step.what)
            step.do()
            done += 1
    except KeyboardInterrupt as err:
        raise Interrupted(
            f"interrupted after {done} of {len(steps)} steps; "
            "run it again: it goes on where it stopped"
        ) from err


def _lines(args: argparse.Namespace, target: Target, steps: list[Step]) -> list[str]:
    if args.plan and steps:
        return [*(f"would: {step.what}" for step in steps), f"{len(steps)} steps to do"]
    done = f"{len(steps)} steps done" if steps else "nothing to do"
    return [
        f"stack {target.stack}: {done}; account {target.account}, {target.region}",
        "",
        "If the stack is new:",
        f"  export PULUMI_BACKEND_URL='{target.backend}'",
        f"  pulumi stack init {target.stack} --secrets-provider '{target.secrets_provider}'",
        f"  git add stacks/Pulumi.{target.stack}.yaml   # the stack's data key, encrypted",
        "",
        "On GitHub (docs/pull-requests.md):",
        f"  environment {target.stack}: branch {args.branch} only, required reviewers",
        f'  variable GATEPAIR_STACKS: a list with "{target.stack}" in it',
    ]


def _json(args: argparse.Namespace, target: Target, steps: list[Step]) -> dict[str, Any]:
    return {
        "stack": target.stack,
        "account": target.account,
        "region": target.region,
        "done": not args.plan,
        "steps": [step.what for step in steps],
        "bucket": target.bucket,
        "backend": target.backend,
        "secrets_provider": target.secrets_provider,
        "roles": {str(role): target.role_arn(role) for role in targets.Role},
    }
