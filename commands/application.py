"""`peers apply`: make the registry what a file says, peer by peer."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from client.delivery import refuse_unusable
from commands import terminal
from commands.terminal import (
    CHANGES,
    DONE,
    FAILED,
    Interrupted,
    check,
    print_json,
    print_utf8,
)
from effects import Refusal
from registry import validation
from registry.errors import RegistryError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from commands.declared import Declared, Plan, Step
    from registry.confirmation import Awaited
    from registry.items import Peer
    from registry.operators import Revocation
    from registry.stack import Stack
    from registry.waiting import Waited

LARGEST_FILE = 16 * 2**20
"""Bytes. Ten thousand peers are about two million."""

SIGNS = {"remove": "-", "change": "~", "add": "+"}

tell = partial(terminal.tell, "peers")


def apply(args: argparse.Namespace) -> int:
    """Print the plan, or carry it out."""
    _, text, _ = check(
        lambda: validation.stack_name(args.stack),
        lambda: _content(args.file),
        lambda: None if args.out is None else _refuse_no_directory(args.out),
    )
    from commands import declared
    from commands.stacks import connect
    from registry.environment import explained

    now = datetime.now(UTC)
    with explained():
        stack = connect(args.stack)
        wanted = declared.read(text, str(args.file), stack.environment.reach)
        registered = _registered(stack)
        plan = declared.plan(wanted, registered)
        used = stack.registry.used_keys(
            step.declared.public_key for step in plan.steps if step.declared is not None
        )
        declared.refuse_unusable(plan, registered, used, str(args.file), now)
        _refuse_unsealed(args, stack, plan)
        mass = plan.mass_removal(args.largest_removal) and not args.allow_mass_removal
        if args.plan:
            return _planned(args, plan, mass=mass)
        if mass:
            raise _mass_removal(args, plan)
        return _carry_out(args, stack, plan)


def _refuse_no_directory(path: Path) -> None:
    if not path.is_dir():
        raise Refusal(f"--out {path}", "is no directory", "make it first")


def _refuse_unsealed(args: argparse.Namespace, stack: Stack, plan: Plan) -> None:
    """Refuse, before anything is changed, pre-shared keys that nobody could be given."""
    sealing = [step.name for step in plan.steps if step.seals]
    if not sealing:
        return
    stack.sealer.refuse_unable()
    if args.out is not None:
        check(*(lambda name=name: refuse_unusable(args.out / f"{name}.conf") for name in sealing))
    elif not args.plan:
        raise Refusal(
            f"file {args.file}",
            f"gives a new pre-shared key to {', '.join(sealing)}, which is handed out once",
            "add --out DIRECTORY, and do it where their configs may be",
        )


def _content(path: Path) -> str:
    """The file's text. Raises `Refusal`."""
    what = f"file {path}"
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Refusal(what, f"more than {LARGEST_FILE} bytes", "is it the right one?")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise Refusal(what, f"not UTF-8 at byte {err.start}", "save it as UTF-8") from err
    except OSError as err:
        raise Refusal(what, str(err.strerror).lower(), "name the peers' file") from err


def _registered(stack: Stack) -> list[Peer]:
    """The peers of the registry. An unreadable one is a failure: nobody knows what it should be."""
    peers, unreadable = stack.registry.peers()
    for item in unreadable:
        raise RegistryError(f"registry item {item.key}: {item.why}; mend or delete it first")
    return peers


def _mass_removal(args: argparse.Namespace, plan: Plan) -> Refusal:
    return Refusal(
        f"file {args.file}",
        f"would remove {len(plan.named('remove'))} of {plan.registered} peers",
        "if that is meant, add --allow-mass-removal",
    )


# ------------------------------------------------------------------ the plan


def _planned(args: argparse.Namespace, plan: Plan, *, mass: bool) -> int:
    if args.json:
        print_json(
            {
                "stack": args.stack,
                "registered": plan.registered,
                "needs_allow_mass_removal": mass,
                "steps": [_step_json(step) for step in plan.steps],
            }
        )
    else:
        print_utf8("".join(f"{line}\n" for line in _lines(plan)))
    if mass:
        tell(_mass_removal(args, plan))
    return CHANGES if plan.steps else DONE


def _lines(plan: Plan) -> list[str]:
    said = []
    for step in plan.steps:
        said.append(f"{SIGNS[step.action]} {step.action} {step.name}")
        said += [f"    {line}" for line in step.what]
    counts = {action: len(plan.named(action)) for action in ("add", "change", "remove")}
    return [*said, "{add} to add, {change} to change, {remove} to remove".format(**counts)]


def _step_json(step: Step) -> dict[str, object]:
    return {"action": step.action, "name": step.name, "what": list(step.what)}


# ------------------------------------------------------------------ carrying it out


@dataclass
class _Progress:
    """What has been done, also when the rest fails."""

    total: int
    done: list[Step] = field(default_factory=list)
    revoked: list[Revocation] = field(default_factory=list)
    to_confirm: tuple[int, str] | None = None
    """Generation and epoch of the last change that took a key away."""

    def summary(self) -> str:
        return f"{len(self.done)} of {self.total} changes are done"


def _carry_out(args: argparse.Namespace, stack: Stack, plan: Plan) -> int:
    progress = _Progress(len(plan.steps))
    try:
        for step in plan.steps:
            _do(args, stack, step, progress)
            if not args.json:
                print_utf8(f"{SIGNS[step.action]} {step.action} {step.name}\n")
    except KeyboardInterrupt as err:
        raise Interrupted(f"interrupted: {progress.summary()}; call again for the rest") from err
    except BaseException:
        tell(f"{progress.summary()}; call again for the rest")
        raise
    waited = None
    if progress.to_confirm and not args.no_wait:
        waited = _confirmed(args, stack, progress)
    if args.json:
        _print_done(args, progress, waited)
    elif not plan.steps:
        tell(f"the registry is what {args.file} says")
    if waited is None or waited.complete:
        return DONE
    from commands.confirming import complain

    complain("peers", stack, waited, "the removed keys are refused")
    return FAILED


def _do(args: argparse.Namespace, stack: Stack, step: Step, progress: _Progress) -> None:
    """One change of the registry."""
    wanted = step.declared
    if wanted is None:
        revocation = stack.registry.revoke_peer(step.name, caller=stack.caller)
        progress.revoked.append(revocation)
        progress.to_confirm = (revocation.generation, revocation.epoch)
    elif not step.seals:
        _write(stack, step.action, wanted, progress)
    else:
        _hand_out(args, stack, step.action, wanted, progress)
    progress.done.append(step)


def _hand_out(
    args: argparse.Namespace, stack: Stack, action: str, wanted: Declared, progress: _Progress
) -> None:
    """The change of a peer that gets a pre-shared key, and its config."""
    from client.config import Secrets
    from client.enrolment import Handover, Outputs, enrol
    from client.interrupts import held

    made = stack.sealer.make(wanted.public_key)
    generation, server_public_key = stack.server_key()
    conf = args.out / f"{wanted.name}.conf"
    with held() as hold:
        enrol(
            lambda stage: _write(
                stack, action, wanted, progress, sealed=made.ciphertext, stage=stage
            ),
            stack.environment,
            Handover(
                wanted.name,
                wanted.public_key,
                Secrets(preshared=made.clear),
                rotated=action == "change",
            ),
            key_generation=generation,
            server_public_key=server_public_key,
            outputs=Outputs(conf),
            hold=hold,
        )
    tell(f"{conf} holds the pre-shared key, the only copy")


def _write(
    stack: Stack,
    action: str,
    wanted: Declared,
    progress: _Progress,
    *,
    sealed: str = "",
    stage: Callable[[Peer], None] | None = None,
) -> Peer:
    """Add or change a peer; `sealed` is its new pre-shared key, if it gets one."""
    from registry.operators import NewPeer

    if action == "add":
        return stack.registry.add_peer(
            NewPeer(
                wanted.name, wanted.public_key, wanted.owner, wanted.expires, wanted.allow, sealed
            ),
            pool=stack.environment.client_pool,
            caller=stack.caller,
            confirmed=stack.confirmed,
            stage=stage,
        )
    altered = stack.registry.alter_peer(
        wanted.name,
        lambda peer: replace(
            peer,
            public_key=wanted.public_key,
            owner=wanted.owner,
            expires=wanted.expires,
            allow=wanted.allow,
            preshared=sealed or (peer.preshared if wanted.preshared else ""),
        ),
        action="change",
        caller=stack.caller,
        stage=stage,
    )
    if _takes_away(altered.former, altered.peer):
        progress.to_confirm = (altered.peer.generation, altered.epoch)
    return altered.peer


def _takes_away(former: Peer, peer: Peer) -> bool:
    """Whether somebody could do something before that must not be possible any more."""
    return (former.public_key, former.allow, former.preshared) != (
        peer.public_key,
        peer.allow,
        peer.preshared,
    ) or (peer.expires is not None and (former.expires is None or peer.expires < former.expires))


def _confirmed(args: argparse.Namespace, stack: Stack, progress: _Progress) -> Waited:
    from commands.confirming import confirm

    try:
        waited = confirm(
            stack, _awaited(progress), began=args.began, timeout=args.timeout, quiet=args.json
        )
    except KeyboardInterrupt as err:
        raise Interrupted(
            "interrupted: all changes are done, but not every gateway has confirmed them; "
            f"see `scripts/gateways --stack {args.stack} list`"
        ) from err
    if waited.complete:
        for revocation in progress.revoked:
            stack.registry.free_address(revocation)
    return waited


def _awaited(progress: _Progress) -> Awaited:
    from registry.confirmation import Awaited

    generation, epoch = progress.to_confirm or (0, "")
    return Awaited(generation, epoch)


def _print_done(args: argparse.Namespace, progress: _Progress, waited: Waited | None) -> None:
    from client.describe import waited_json

    print_json(
        {
            "stack": args.stack,
            "done": [_step_json(step) for step in progress.done],
            "confirmed": None if waited is None else waited.complete,
            "gateways": [] if waited is None else waited_json(waited),
        }
    )
