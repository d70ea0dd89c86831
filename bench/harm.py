"""What can happen to a gateway, done to one of the lab's: cut, frozen, killed, without AWS.

Whatever is a context manager is over at its end, also when the bench is interrupted.
"""

from __future__ import annotations

import contextlib
import http.client
from contextlib import contextmanager
from typing import TYPE_CHECKING

from effects import Failed, Refusal, run
from lab import machine, netns, security, vpc

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

AGENT = "gatepair-agent"
METRICS_PORT, HEALTH_PORT, GOSSIP_PORT = 9586, 9585, 9588
LINK = "eth0"
_TABLE = "inet severed"
_ASK_LIMIT = 5.0

RECEIVED = ("received", "prerouting", -400, "iifname")
SENT = ("sent", "postrouting", 400, "oifname")
Way = tuple[str, str, int, str]
"""A chain's name, its hook with priority, and how a rule in it names the link."""


def inside(gateway: str, *words: str, check: bool = True) -> str:
    """What a command on a gateway prints."""
    return run(machine.command_in(gateway, words), check=check).stdout


def agent_pid(gateway: str) -> int:
    """Of the agent, in the machine's own counting; 0 while it does not run."""
    return int(inside(gateway, "systemctl", "show", "--property=MainPID", "--value", AGENT))


def signal_agent(gateway: str, name: str) -> None:
    """Send the agent a signal, by its name without SIG."""
    inside(gateway, "kill", f"-{name}", str(agent_pid(gateway)))


@contextmanager
def cut(gateway: str, ways: Sequence[Way], what: str = "") -> Generator[None]:
    """Drop what a gateway receives or sends, forwarded packets included; `what`: nft's words.

    The agent owns no table but its own, and does not look at this one.
    """
    commands = [f"add table {_TABLE}"]
    for name, hook, priority, link in ways:
        base = f"{{ type filter hook {hook} priority {priority} ; }}"
        commands.append(f"add chain {_TABLE} {name} {base}")
        commands.append(f'add rule {_TABLE} {name} {link} "{LINK}" {what} drop')
    inside(gateway, "nft", " ; ".join(commands))
    try:
        yield
    finally:
        # A machine that has lost its power has lost this, too
        with contextlib.suppress(Failed, Refusal):
            inside(gateway, "nft", f"delete table {_TABLE}")


@contextmanager
def gossip_cut(gateways: Sequence[str]) -> Generator[None]:
    """No gateway hears another one."""
    with contextlib.ExitStack() as exits:
        for gateway in gateways:
            what = f"udp dport {GOSSIP_PORT}"
            exits.enter_context(_gossip_table(gateway, what))
        yield


@contextmanager
def _gossip_table(gateway: str, what: str) -> Generator[None]:
    # A table of its own: the gateway's network may be cut besides
    table = "inet severed_gossip"
    base = "{ type filter hook input priority -300 ; }"
    rule = f"add rule {table} in {what} drop"
    inside(gateway, "nft", f"add table {table} ; add chain {table} in {base} ; {rule}")
    try:
        yield
    finally:
        with contextlib.suppress(Failed, Refusal):
            inside(gateway, "nft", f"delete table {table}")


@contextmanager
def without_aws() -> Generator[None]:
    """No machine reaches AWS, not even on connections it has; metadata, time and names are there.

    What the lab itself does by AWS's API goes on.
    """
    table = "ip no_aws"
    base = "{ type filter hook input priority -10 ; }"
    rule = f"add rule {table} in ip daddr {security.AWS} drop"
    commands = f"add table {table} ; add chain {table} in {base} ; {rule}"
    netns.run_in(vpc.NAMESPACE, ["nft", commands])
    try:
        yield
    finally:
        netns.run_in(vpc.NAMESPACE, ["nft", f"delete table {table}"], check=False)


@contextmanager
def frozen(gateway: str) -> Generator[None]:
    """Nothing on the machine runs meanwhile."""
    machine.freeze(gateway)
    try:
        yield
    finally:
        with contextlib.suppress(Refusal):
            machine.thaw(gateway)


def metrics(gateway: str) -> dict[str, float]:
    """What the gateway tells Prometheus: series -> value."""
    lines = ask(gateway, METRICS_PORT, "/metrics")[1].splitlines()
    series = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in series}


def ask(gateway: str, port: int, path: str) -> tuple[int, str]:
    """Status and text of what a gateway answers to itself. Raises `OSError` if it does not."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_LIMIT)
    with contextlib.closing(link):
        with netns.inside(machine.namespace(gateway)):
            link.connect()
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, answer.read().decode()


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
