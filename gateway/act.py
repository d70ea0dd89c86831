"""Carrying actions out. The only place that changes the machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from effects import Failed, run
from gateway import access, firewall, flows, forwarding
from gateway.decide import ChangeSets, Command, CutFlows, LoadFilter, MoveRoutes, SetSysctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.access import SetChanges
    from gateway.decide import Action
    from gateway.observe import FilterMemory
    from gateway.paths import Paths

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds a single action may take; well under the watchdog's."""

_SHOWN = 12
"""Words of a command that are logged: one `wg set` may name hundreds of peers."""


class Actor:
    """Runs actions in order; after a failure it skips the rest of that action's scope."""

    def __init__(self, paths: Paths, memory: FilterMemory, alive: Callable[[], None]) -> None:
        self._paths, self._memory, self._alive = paths, memory, alive
        self._failed: dict[str, str] = {}

    def carry_out(self, actions: Iterable[Action]) -> dict[str, str]:
        """What failed, by scope, with the reason. Empty when all went well."""
        failed: dict[str, str] = {}
        for action in actions:
            if action.scope in failed or getattr(action, "needs", "") in failed:
                continue
            try:
                self._one(action)
            except (Failed, OSError) as err:
                failed[action.scope] = why = str(err)[:300]
                if self._failed.get(action.scope) != why:
                    log.warning("%s: %s", action.scope, why)
            self._alive()
        self._failed = failed
        return failed

    def _one(self, action: Action) -> None:
        match action:
            case Command(argv):
                more = f" ... ({len(argv)} words)" if len(argv) > _SHOWN else ""
                log.info("%s%s", " ".join(argv[:_SHOWN]), more)
                run(argv, timeout=TIMEOUT)
            case SetSysctl(name, value):
                log.info("sysctl %s = %s", name, value)
                (self._paths.sysctl / name).write_text(value)
            case LoadFilter(filter_, changes):
                log.info("packet filter: reach %s", ", ".join(map(str, filter_.reach)) or "nothing")
                self._load(action, filter_, changes)
            case ChangeSets(changes, reaches):
                log.info("access: %s", _summary(changes))
                with self._memory.changing(reaches):
                    text = access.script(changes, firewall.RETURN_PATHS)
                    run(firewall.LOAD, stdin=text, timeout=TIMEOUT)
            case MoveRoutes(lines):
                log.info("routes to clients of other gateways: %d changes", lines.count("\n"))
                run(forwarding.BATCH, stdin=lines, timeout=TIMEOUT)
            case CutFlows(addresses):
                log.info("flows: cut those of %d clients", len(addresses))
                flows.cut(addresses)

    def _load(self, action: LoadFilter, filter_: firewall.Filter, changes: SetChanges) -> None:
        try:
            with self._memory.changing(action.reaches):
                run(firewall.LOAD, stdin=firewall.render(filter_, changes), timeout=TIMEOUT)
        except Failed:
            # a table of our name with other types in it, as another version may have left
            run(firewall.LOAD, stdin=firewall.render_anew(filter_), timeout=TIMEOUT)
        self._memory.remember(filter_)


def _summary(changes: SetChanges) -> str:
    return (
        f"{len(changes.delete)} elements out, {len(changes.add)} in, "
        f"{len(changes.forget)} return paths forgotten"
    )
