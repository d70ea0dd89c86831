"""`gateways replace`: new gateways for old ones, launched first, the old ones drained.

All of them: Auto Scaling's own instance refresh, by the group's policy; a gateway that it
terminates drains by its lifecycle hook. One of them: the group gets one more, the old one drains by
order, and only then it is terminated.
"""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from commands.draining import (
    PAUSE,
    SAY_EVERY,
    await_drained,
    described,
    order,
    refuse_last,
    take_back,
)
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

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from commands.scaling import Scaling
    from commands.stacks import Stack
    from registry.situation import Situation

tell = partial(terminal.tell, "gateways")


def replace(args: argparse.Namespace) -> int:
    """Replace one gateway, or all of them in turn."""
    checks: list[Callable[[], object]] = [lambda: validation.stack_name(args.stack)]
    if args.id:
        checks.append(lambda: validation.instance_id(args.id))
    check(*checks)
    from commands.scaling import Scaling
    from commands.stacks import connect
    from registry.environment import explained
    from registry.situation import look

    with explained():
        stack = connect(args.stack)
        scaling, situation = Scaling(stack), look(stack)
        if args.id:
            refuse_last(args.id, situation.gateways, stack.orders.read())
        _refuse(stack, scaling)
        if args.id:
            group = stack.fleet.group()
            if group.most <= group.least:
                raise Refusal(
                    f"stack {stack.name}",
                    f"its group has no room for one more than {group.least}",
                    "deploy the stack again",
                )
        if args.plan:
            return _plan(args, situation)
        return _one(args, stack, scaling) if args.id else _all(args, scaling)


def _refuse(stack: Stack, scaling: Scaling) -> None:
    refresh = scaling.refresh()
    if refresh is not None and refresh.active:
        raise Refusal(
            f"stack {stack.name}",
            f"instance refresh {refresh.id} is {refresh.status}, {refresh.percent} % done",
            f"wait for it with `scripts/gateways --stack {stack.name} wait`, then call again",
        )


def _plan(args: argparse.Namespace, situation: Situation) -> int:
    ids = [args.id] if args.id else [one.member.instance_id for one in situation.gateways]
    if args.json:
        print_json({"stack": args.stack, "replace": ids})
    else:
        lines = [
            f"{name} would be replaced: a new one first, then it drains and ends" for name in ids
        ]
        print_utf8("\n".join([*lines, ""]))
    return CHANGES if ids else DONE


# ------------------------------------------------------------------ all of them


def _all(args: argparse.Namespace, scaling: Scaling) -> int:
    id_ = scaling.start_refresh()
    deadline = time.monotonic() + args.timeout
    said, said_at = "", 0.0
    try:
        while True:
            refresh = scaling.refresh(id_)
            now = time.monotonic()
            if refresh is None or not refresh.active or now > deadline:
                break
            word = f"{refresh.status}, {refresh.percent} % done, {refresh.left} to go"
            if word != said or now - said_at >= SAY_EVERY:
                tell(f"{now - args.began:5.1f} s  {word}")
                said, said_at = word, now
            time.sleep(PAUSE)
    except KeyboardInterrupt as err:
        raise Interrupted(_cancelled(scaling, id_)) from err
    from commands.scaling import SUCCESSFUL

    seconds = time.monotonic() - args.began
    status = "unknown" if refresh is None else refresh.status
    if args.json:
        print_json(
            {
                "stack": args.stack,
                "refresh": id_,
                "status": status,
                "replaced": status == SUCCESSFUL,
                "seconds": round(seconds, 3),
            }
        )
    elif status == SUCCESSFUL:
        print_utf8(f"every gateway is replaced after {seconds:.2f} s\n")
    if status != SUCCESSFUL:
        why = f": {refresh.reason}" if refresh is not None and refresh.reason else ""
        goes_on = ", and goes on by itself" if refresh is not None and refresh.active else ""
        tell(f"instance refresh {id_} is {status} after {seconds:.2f} s{goes_on}{why}")
        return FAILED
    return DONE


def _cancelled(scaling: Scaling, id_: str) -> str:
    try:
        stopped = scaling.cancel_refresh()
    except Exception as err:  # noqa: BLE001 - whatever it was, the operator has to know
        return f"interrupted, and instance refresh {id_} goes on: it could not be cancelled ({err})"
    if not stopped:
        return f"interrupted: instance refresh {id_} had just ended"
    return (
        f"interrupted: instance refresh {id_} is cancelled; gateways that are replaced stay "
        "replaced, and a new one that is too many drains and ends"
    )


# ------------------------------------------------------------------ one of them


def _one(args: argparse.Namespace, stack: Stack, scaling: Scaling) -> int:
    from registry.items import DRAINED
    from registry.situation import look

    deadline = time.monotonic() + args.timeout
    again = f"`scripts/gateways --stack {args.stack} replace {args.id}`"
    step = "nothing was changed"
    try:
        group = stack.fleet.group()
        if group.desired <= group.least:
            scaling.resize(group.least + 1)
        step = f"the group has one gateway more than it should; go on with {again}"
        if not _await(
            args, deadline, "a new gateway", lambda: _others(stack, args.id, group.least)
        ):
            return _stuck(args, "no new gateway is healthy", step)
        order(stack, args.id, look(stack))
        step = f"{args.id} drains, {step}"
        left = max(PAUSE, deadline - time.monotonic())
        record = await_drained(stack, args.id, timeout=left, began=args.began)
        if record is None or record.state != DRAINED:
            take_back(stack, args.id)
            return _stuck(args, f"{args.id} has not drained: {described(record)}", step)
        scaling.terminate(args.id)
        step = f"{args.id} ends by itself"
        gone = _await(args, deadline, f"the end of {args.id}", lambda: _gone(stack, args.id))
        take_back(stack, args.id)
    except KeyboardInterrupt as err:
        raise Interrupted(f"interrupted: {_undone(stack, args.id, step)}") from err
    if not gone:
        return _stuck(args, f"{args.id} is not terminated yet", step)
    seconds = time.monotonic() - args.began
    if args.json:
        facts = {"stack": args.stack, "id": args.id, "replaced": True}
        print_json({**facts, "seconds": round(seconds, 3)})
    else:
        print_utf8(f"{args.id} is replaced after {seconds:.2f} s\n")
    return DONE


def _await(
    args: argparse.Namespace, deadline: float, what: str, reached: Callable[[], bool]
) -> bool:
    said_at = float("-inf")
    while not reached():
        now = time.monotonic()
        if now > deadline:
            return False
        if now - said_at >= SAY_EVERY:
            tell(f"{now - args.began:5.1f} s  waiting for {what}")
            said_at = now
        time.sleep(PAUSE)
    return True


def _others(stack: Stack, instance_id: str, number: int) -> bool:
    """Whether there are so many gateways without this one, healthy and up to date."""
    from registry.situation import look

    well = [one for one in look(stack).gateways if one.well]
    return sum(one.member.instance_id != instance_id for one in well) >= number


def _gone(stack: Stack, instance_id: str) -> bool:
    members = stack.fleet.group().members
    return all(one.instance_id != instance_id or one.gone for one in members)


def _stuck(args: argparse.Namespace, what: str, step: str) -> int:
    seconds = time.monotonic() - args.began
    if args.json:
        facts = {"stack": args.stack, "id": args.id, "replaced": False}
        print_json({**facts, "seconds": round(seconds, 3)})
    tell(f"{what} after {seconds:.2f} s; {step}")
    return FAILED


def _undone(stack: Stack, instance_id: str, step: str) -> str:
    try:
        taken = take_back(stack, instance_id)
    except Exception as err:  # noqa: BLE001 - whatever it was, the operator has to know
        return f"{step}; the order to drain {instance_id} could not be taken back ({err})"
    return f"{step}{'; its order to drain is taken back' if taken else ''}"
