"""What gateways say of themselves, and what the load balancer says of them: asked, and read."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING

from effects import run
from lab import machine, netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

METRICS_PORT, HEALTH_PORT, GOSSIP_PORT = 9586, 9585, 9588
_ASK_LIMIT = 5.0


def inside(gateway: str, *words: str, check: bool = True) -> str:
    """What a command on a gateway prints."""
    return run(machine.command_in(gateway, words), check=check).stdout


# ------------------------------------------------------------------ over HTTP


def ask(gateway: str, port: int, path: str) -> tuple[int, str]:
    """Status and text of what a gateway answers to itself. Raises `OSError` if it does not."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_LIMIT)
    with contextlib.closing(link):
        with netns.inside(machine.namespace(gateway)):
            link.connect()
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        except http.client.HTTPException as err:
            raise OSError(f"{gateway}: {err!r}") from err


def metrics(gateway: str, *, labelled: bool = False) -> dict[str, float]:
    """What a gateway tells Prometheus: series -> value. Raises `OSError` if it does not answer."""
    return series(ask(gateway, METRICS_PORT, "/metrics")[1], labelled=labelled)


def series(text: str, *, labelled: bool = False) -> dict[str, float]:
    """Prometheus' text; series with labels only if they are asked for. Pure."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#") and (labelled or "{" not in name):
            found[name] = float(value)
    return found


def await_takeover(gateways: Collection[str], *, working: bool, within: float) -> None:
    """Return once all of them say that they take sessions over, or that they do not."""

    def so() -> bool:
        try:
            found = [metrics(one)["gatepair_takeover_working"] for one in gateways]
        except (OSError, KeyError):
            return False
        return all(one == working for one in found)

    what = f"takeover is {'on' if working else 'off'}"
    process.await_condition(what, so, timeout=within, interval=0.2)


# ------------------------------------------------------------------ by WireGuard


def shaken(gateway: str) -> dict[str, int]:
    """Public key -> when a gateway last shook hands with it, in whole seconds since the epoch."""
    return handshakes(inside(gateway, "wg", "show", "all", "latest-handshakes"))


def handshakes(text: str) -> dict[str, int]:
    """The same of what `wg show all latest-handshakes` prints. Pure.

    During a rotation a peer is on both interfaces.
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        _, key, at = line.split("\t")
        found[key] = max(found.get(key, 0), int(at))
    return found


# ------------------------------------------------------------------ by the load balancer


def healthy() -> frozenset[str]:
    """Instance ids of the targets that the load balancer's checks find well in every group.

    Raises `OSError`, `ValueError` while there is no report that can be read.
    """
    return healthy_in(json.loads(paths.target_health().read_text()).values())


def healthy_in(groups: Iterable[Mapping[str, Mapping[str, str]]]) -> frozenset[str]:
    """The same of a report: for each group, target id -> its health. Pure."""
    well = [{name for name, one in group.items() if one["state"] == "healthy"} for group in groups]
    return frozenset(set.intersection(*well) if well else ())
