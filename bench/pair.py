"""The two gateways of a bench, and what it turns on them: takeover, and the load balancer's word.

`takeover` is a flag of the registry's control item, which both agents follow; what the load
balancer's data plane goes by is the lab's `balancer-settings.json`. Both are put back at the end.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.answers import await_takeover, healthy, metrics
from bench.command import NotMeasured
from effects import write_atomic
from lab import balancer, process, session
from registry import items

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Address

    from bench.flows import Source
    from bench.ground import Ground

FOLLOWED = 20.0
"""Seconds for both agents to read the control item, which they do every second."""
WELL_WITHIN = 60.0
"""Seconds for a gateway that was cut off to be healthy again and to know what it has missed."""
SERVING_WITHIN = 240.0
"""Seconds for another gateway to serve in a killed one's place."""
LATE = 60.0
"""Seconds by which the data plane hears of a dead gateway if a bench says when its flows move."""


def know_each_other(ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    """Whether each of two gateways knows of the other's sessions, by their metrics. Pure."""
    pairs = ((ours, theirs), (theirs, ours))
    return all(
        one.get("gatepair_remote_sessions", -1) >= other.get("gatepair_own_sessions", 0)
        for one, other in pairs
    )


def busiest(
    there: Mapping[Source, IPv4Address],
    sources: Iterable[Source],
    addresses: Mapping[str, IPv4Address],
) -> str:
    """Id of the gateway to which most of these sources' flows go. Raises `NotMeasured`. Pure.

    `there`: where each live flow goes; `addresses`: the gateways', by id.
    """
    ids = {address: name for name, address in addresses.items()}
    went = Counter(ids[there[one]] for one in sources if there.get(one) in ids)
    if not went:
        raise NotMeasured("no client has a flow to a gateway")
    ((found, _),) = went.most_common(1)
    return found


class Pair:
    """Two gateways by their ids, and the two switches."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.addresses: dict[str, IPv4Address] = {}
        self.look()
        control = ground.stack.registry.head().control
        self._was = control is None or control.takeover
        self.takeover = self._was
        try:
            self._settings: str | None = balancer.settings_file().read_text()
        except FileNotFoundError:
            self._settings = None
        ground.undo(self.restore)

    def look(self) -> None:
        """Learn who they are. Raises `NotMeasured` if they are not two."""
        self.addresses = self._ground.gateways()
        if len(self.addresses) != 2:  # noqa: PLR2004 - what the promise is about
            raise NotMeasured(f"two gateways are wanted, there are {len(self.addresses)}")

    def other(self, gateway: str) -> str:
        """The one that is not this one."""
        (found,) = self.addresses.keys() - {gateway}
        return found

    def known(self) -> bool:
        """Whether both know of each other's sessions now."""
        try:
            one, other = map(metrics, self.addresses)
        except OSError:
            return False
        return know_each_other(one, other)

    def well(self) -> bool:
        """Whether one of them may die: the other is healthy, and knows of its sessions."""
        try:
            found = healthy()
        except (OSError, ValueError):
            return False
        return found >= self.addresses.keys() and (not self.takeover or self.known())

    def await_well(self) -> None:
        """Return once one of them may die."""
        what = "both gateways are healthy and know of each other's sessions"
        process.await_condition(what, self.well, timeout=WELL_WITHIN, interval=0.3)

    def await_serving(self) -> None:
        """Return once every gateway serves, whoever that is now."""
        session.await_healthy(lambda _: None, SERVING_WITHIN)
        self.look()

    # -------------------------------------------------------------- takeover

    def switch(self, *, takeover: bool) -> None:
        """Turn takeover on or off; returns once both agents have followed."""
        self._write(takeover)
        self.takeover = takeover
        await_takeover(self.addresses, working=takeover, within=FOLLOWED)

    def _write(self, takeover: bool) -> None:
        stack = self._ground.stack
        stack.cloud.client("dynamodb").update_item(
            TableName=stack.environment.table,
            Key=items.CONTROL_KEY,
            UpdateExpression="SET takeover = :t",
            ExpressionAttributeValues={":t": {"BOOL": takeover}},
        )

    # -------------------------------------------------------------- detection

    def detect_by_checks(self) -> None:
        """The load balancer goes by its health checks alone."""
        _set({"unhealthy_delay": 0})

    def detect_nothing(self) -> None:
        """The load balancer's data plane hears of nobody's death for a minute."""
        _set({"unhealthy_delay": LATE})

    def detect_now(self, gateway: str) -> None:
        """From now on the data plane sends nothing to this gateway, and nothing changes else."""
        _set({"unhealthy_delay": LATE, "lost": [gateway]})

    def restore(self) -> None:
        """Put both switches back."""
        if self._settings is None:
            balancer.settings_file().unlink(missing_ok=True)
        else:
            write_atomic(balancer.settings_file(), self._settings)
        self._write(self._was)


def _set(settings: Mapping[str, Any]) -> None:
    write_atomic(balancer.settings_file(), json.dumps(settings))
