"""What can happen to a gateway, done to one of the lab's: cut, frozen, killed, without AWS.

Whatever is a context manager is over at its end, also when the bench is interrupted.
"""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.answers import GOSSIP_PORT, inside
from effects import Failed, Refusal
from lab import machine, netns, security, vpc

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

AGENT = "gatepair-agent"
LINK = "eth0"

RECEIVED = ("received", "prerouting", -400, "iifname")
SENT = ("sent", "postrouting", 400, "oifname")
Way = tuple[str, str, int, str]
"""A chain's name, its hook with priority, and how a rule in it names the link."""


def agent_pid(gateway: str) -> int:
    """Of the agent, in the machine's own counting; 0 while it does not run."""
    return int(inside(gateway, "systemctl", "show", "--property=MainPID", "--value", AGENT))


def signal_agent(gateway: str, name: str) -> None:
    """Send the agent a signal, by its name without SIG."""
    inside(gateway, "kill", f"-{name}", str(agent_pid(gateway)))


@contextmanager
def cut(
    gateway: str, ways: Sequence[Way], what: str = "", table: str = "inet severed"
) -> Generator[None]:
    """Drop what a gateway receives or sends, forwarded packets included; `what`: nft's words.

    The agent owns no table but its own, and does not look at this one.
    """
    commands = [f"add table {table}"]
    for name, hook, priority, link in ways:
        base = f"{{ type filter hook {hook} priority {priority} ; }}"
        commands.append(f"add chain {table} {name} {base}")
        commands.append(f'add rule {table} {name} {link} "{LINK}" {what} drop')
    inside(gateway, "nft", " ; ".join(commands))
    try:
        yield
    finally:
        # A machine that has lost its power has lost this, too
        with contextlib.suppress(Failed, Refusal):
            inside(gateway, "nft", f"delete table {table}")


@contextmanager
def gossip_cut(gateways: Sequence[str]) -> Generator[None]:
    """No gateway hears another one."""
    with contextlib.ExitStack() as exits:
        for gateway in gateways:
            # A table of its own: the gateway's network may be cut besides
            what, table = f"udp dport {GOSSIP_PORT}", "inet severed_gossip"
            exits.enter_context(cut(gateway, [RECEIVED], what, table))
        yield


@contextmanager
def dropping(namespace: str, table: str, base: str, match: str) -> Generator[None]:
    """Drop what matches in a namespace; `base` and `match` are nft's words for where and what."""
    rule = f"add rule {table} in {match} drop"
    netns.run_in(namespace, ["nft", f"add table {table} ; add chain {table} in {base} ; {rule}"])
    try:
        yield
    finally:
        netns.run_in(namespace, ["nft", f"delete table {table}"], check=False)


@contextmanager
def without_aws() -> Generator[None]:
    """No machine reaches AWS, not even on connections it has; metadata, time and names are there.

    What the lab itself does by AWS's API goes on.
    """
    base = "{ type filter hook input priority -10 ; }"
    with dropping(vpc.NAMESPACE, "ip no_aws", base, f"ip daddr {security.AWS}"):
        yield


@contextmanager
def frozen(gateway: str) -> Generator[None]:
    """Nothing on the machine runs meanwhile."""
    machine.freeze(gateway)
    try:
        yield
    finally:
        with contextlib.suppress(Refusal):
            machine.thaw(gateway)


def sessions(gateway: str) -> str:
    """Where each peer is and when it last shook hands, as `wg show all` lists that.

    Not `dump`, which has the private key in it.
    """
    lists = "wg show all endpoints && wg show all latest-handshakes"
    return inside(gateway, "sh", "-c", lists)


def has_let_go(listed: str, public_key: str) -> bool:
    """Whether a device, by `sessions`, has neither keys of a peer nor a place for it. Pure.

    A peer that is not there is no answer: it is admitted.
    """
    found = {value for key, value in _pairs(listed) if key == public_key}
    return bool(found) and found <= {"(none)", "0"}


def holds(listed: str, public_keys: Iterable[str]) -> frozenset[str]:
    """Those of the peers that a device, by `sessions`, has completed a handshake with. Pure."""
    wanted = set(public_keys)
    return frozenset(
        key for key, value in _pairs(listed) if key in wanted and value.isdecimal() and int(value)
    )


def _pairs(listed: str) -> list[tuple[str, str]]:
    """Public key and value of each line; `wg` names the interface in some of them only."""
    rows = [line.split("\t") for line in listed.splitlines()]
    return [(row[-2], row[-1]) for row in rows]
