"""The faults, one function each: what is done, and what the design promises.

A function gets a fault that is settled (bench/fault_scene.py), says when it begins, does it, and
returns once the pair is as it was. What it opens in `fault.exits` is undone in any case.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import answers, harm, outcomes, stranger, tunnels
from bench.fault_scene import LET_GO_WITHIN, await_seen, journal
from bench.ground import operators_command
from bench.harm import RECEIVED, SENT
from bench.outcomes import Promise
from bench.stack_file import varied
from effects import Failed
from lab import host, machine, netns, session, status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import FunctionType

    from bench.fault_scene import Fault
    from bench.harm import Way
    from bench.outcomes import Outcome

RESUMED = 0.5
"""Seconds, the design's, from the load balancer's moving a client until it goes on."""
PLANNED = 1.0
"""Seconds, the design's, that a drain may cost a client."""
STARVED = 4.0
"""Seconds, where somebody replays the client's packets all the while: docs/adr/0009."""
WIREGUARDS_OWN = 21.0
"""Seconds after which a client's WireGuard has begun anew by itself: 15 s after its last answer,
and every 5 s from then on (whitepaper, section 6.2); one to spare."""

CUT_FOR = 5.0
"""Seconds for which a fault lasts on after the clients have left."""
AWS_GONE_FOR = 30.0
HEARD_AGAIN = 3.0
"""Seconds since the registry's last answer: gateways ask once a second."""
CHECKED_TWICE = 12.0
"""Seconds in which the load balancer would have let go of a gateway that does not answer."""
UNDONE_AFTER = 12.0
"""Seconds after which a handshake that nobody completes is undone (gateway/takeover/desk.py)."""
DRAIN_LIMIT = 200.0
BOOT_LIMIT = 120.0

REPLAYS = 20
REPLAY_EVERY = 0.25
MADE_UP = 5000
MADE_UP_EVERY = 0.001
FLOOD_EVERY = 0.005

DOWNLOAD = 6.5e6
"""Bytes a second: some 5,000 packets through the gateway."""


@dataclass(frozen=True)
class Case:
    """A kind of fault."""

    name: str
    title: str
    done: str
    """What is done, for the reader of the table."""
    promise: Promise
    quick: bool
    """Whether it takes well under a minute and replaces no gateway."""
    happen: Callable[[Fault], None]

    def broken(self, outcome: Outcome) -> list[str]:
        """What was promised and is not so."""
        return outcomes.broken(self.promise, outcome)


CASES: dict[str, Case] = {}
"""In the order in which they are tried: what ends a gateway comes last."""


def case(
    title: str, done: str, promise: Promise, *, quick: bool = False
) -> Callable[[FunctionType], FunctionType]:
    """Make a function a case of its own name."""

    def enter(happen: FunctionType) -> FunctionType:
        name = happen.__name__
        CASES[name] = Case(name, title, done, promise, quick, happen)
        return happen

    return enter


TAKEN_OVER = Promise(resumed=RESUMED)
NOTHING = Promise(lost=0)


def _not_noticed(fault: Fault) -> None:
    """The load balancer never let go of anybody."""
    gone = [
        gateway
        for gateway in fault.addresses
        if outcomes.left(fault.scene.watch.history, gateway, fault.begin) is not None
    ]
    fault.check("the load balancer does not notice", not gone)


REKEY_AFTER_TIME = 120
"""Seconds after which WireGuard shakes hands again of its own (whitepaper, section 6.1)."""


@contextmanager
def _sessions_stay(fault: Fault) -> Generator[None]:
    """Note whether clients go on with the sessions they had."""

    def shaken() -> list[int]:
        words = ["wg", "show", "all", "latest-handshakes"]
        listed = [client.tunnel.run(words).stdout for client in fault.scene.clients]
        return [max(answers.handshakes(one).values()) for one in listed]

    before = shaken()
    yield
    since = [after - at for at, after in zip(before, shaken(), strict=True)]
    kept = all(one == 0 or one >= REKEY_AFTER_TIME for one in since)
    fault.check("nobody had to shake hands again", kept)


# ------------------------------------------------------------------ the agent


@case(
    "agent crashed",
    "SIGKILL to the agent; systemd starts it again",
    NOTHING,
    quick=True,
)
def agent_crashed(fault: Fault) -> None:
    """WireGuard and the packet filter are the kernel's, or a process of their own."""
    before = harm.agent_pid(fault.victim)
    with _sessions_stay(fault):
        fault.begins()
        harm.signal_agent(fault.victim, "KILL")
        fault.comes_true(
            "systemd starts it again", lambda: harm.agent_pid(fault.victim) not in (0, before), 10
        )
        time.sleep(CHECKED_TWICE)
    _not_noticed(fault)


@case(
    "agent restarted under load",
    "both agents in turn, while each gateway carries a download of 50 Mbit/s",
    NOTHING,
)
def agent_restarted(fault: Fault) -> None:
    """As after an update of the agent by hand."""
    with (
        _sessions_stay(fault),
        _download(fault, fault.there[0]) as one,
        _download(fault, fault.elsewhere[0]) as other,
    ):
        time.sleep(1)
        fault.begins()
        for gateway in fault.addresses:
            answers.inside(gateway, "systemctl", "restart", harm.AGENT)
            time.sleep(2)
        before = one[0], other[0]
        time.sleep(CHECKED_TWICE - 4)
        fault.check("both downloads go on", one[0] > before[0] and other[0] > before[1])
    _not_noticed(fault)


@contextmanager
def _download(fault: Fault, client: tunnels.Client) -> Generator[list[int]]:
    """A TCP connection of a client, from which it reads steadily; how many bytes so far."""
    with netns.inside(client.namespace):
        plug = socket.create_connection((str(fault.scene.ground.host), host.SOURCE), timeout=5)
    plug.sendall(b"1000000000\n")
    got, ended = [0], threading.Event()

    def read() -> None:
        began = time.monotonic()
        while not ended.is_set():
            try:
                block = plug.recv(1 << 16)
            except OSError:
                return
            got[0] += len(block)
            if not block:
                return
            ended.wait(max(0.0, began + got[0] / DOWNLOAD - time.monotonic()))

    thread = threading.Thread(target=read, name="download", daemon=True)
    thread.start()
    try:
        yield got
    finally:
        ended.set()
        thread.join(6)
        plug.close()


@case(
    "agent frozen",
    "SIGSTOP to the agent; WireGuard lives on; after a minute systemd's watchdog starts another",
    TAKEN_OVER,
)
def agent_frozen(fault: Fault) -> None:
    """Its health checks hang; its sessions are others' by the time it is back."""
    before = harm.agent_pid(fault.victim)
    fault.begins()
    harm.signal_agent(fault.victim, "STOP")
    fault.until_left()
    fault.comes_true(
        "the watchdog has it started again",
        lambda: harm.agent_pid(fault.victim) not in (0, before),
        90,
    )
    fault.victim_lets_go()
    fault.until_two()


# ------------------------------------------------------------------ the machine and its network


@case(
    "machine frozen, then thawed",
    "every process of the machine is stopped, and goes on after its clients have left",
    TAKEN_OVER,
)
def machine_frozen(fault: Fault) -> None:
    """It wakes up with sessions that are no longer its own."""
    fault.begins()
    fault.exits.enter_context(harm.frozen(fault.victim))
    _until_it_is_over(fault)


def _until_it_is_over(fault: Fault) -> None:
    """The clients leave; a while later the fault ends, and the gateway comes back."""
    fault.until_left()
    time.sleep(CUT_FOR)
    fault.ends()
    fault.victim_lets_go()
    fault.until_two()


def _cut(fault: Fault, ways: Sequence[Way]) -> None:
    fault.begins()
    fault.exits.enter_context(harm.cut(fault.victim, ways))
    _until_it_is_over(fault)


@case(
    "hears nothing",
    "what the network brings to the gateway is dropped; what it sends arrives",
    TAKEN_OVER,
)
def cut_receiving(fault: Fault) -> None:
    """It hears of no claim, either."""
    _cut(fault, [RECEIVED])


@case(
    "is not heard",
    "what the gateway sends is dropped; it hears everything",
    TAKEN_OVER,
    quick=True,
)
def cut_sending(fault: Fault) -> None:
    """Clients' packets arrive and no answer leaves."""
    _cut(fault, [SENT])


@case("cut off both ways", "its network is gone, and comes back", TAKEN_OVER, quick=True)
def cut_both(fault: Fault) -> None:
    """As a cable that is pulled."""
    _cut(fault, [RECEIVED, SENT])


@case("drained", "`scripts/gateways drain`, then `--withdraw`", Promise(silence=PLANNED))
def drained(fault: Fault) -> None:
    """Planned: nobody waits for a health check to fail."""
    words = ("drain", fault.victim)
    fault.ground.undo(_withdraw, fault.victim)
    fault.begins()
    done = operators_command("gateways", *words, "--json", check=False, limit=DRAIN_LIMIT)
    fault.check("the gateway has drained", done.status == 0)
    _withdraw(fault.victim)
    fault.until_left()
    fault.until_two()


def _withdraw(gateway: str) -> None:
    operators_command("gateways", "drain", gateway, "--withdraw", check=False)


# ------------------------------------------------------------------ gossip and AWS


@case(
    "gossip cut, then the gateway dies",
    "no gateway hears the other; clients shake hands anew; then one gateway's network is gone",
    Promise(resumed=WIREGUARDS_OWN),
)
def gossip_cut(fault: Fault) -> None:
    """Nobody knows of the sessions that were lost: WireGuard's own timers apply."""
    fault.exits.enter_context(harm.gossip_cut(list(fault.addresses)))
    for client in fault.there:
        tunnels.reconnect(client, fault.scene.server)
    names = [client.name for client in fault.there]
    since = time.monotonic() + 1
    fault.scene.traffic.await_answers(names, since=since, within=CHECKED_TWICE)
    fault.begins()
    fault.exits.enter_context(harm.cut(fault.victim, [RECEIVED, SENT]))
    _until_it_is_over(fault)


@case(
    "AWS APIs gone",
    f"no gateway reaches AWS for {AWS_GONE_FOR:g} s; connections hang",
    NOTHING,
)
def aws_gone(fault: Fault) -> None:
    """What gateways know is on their disks; ten minutes of it: tests/gateway_lab/test_outage.py."""
    fault.begins()
    fault.exits.enter_context(harm.without_aws())
    time.sleep(AWS_GONE_FOR)
    _not_noticed(fault)
    fault.ends()

    def heard() -> bool:
        age = "gatepair_control_plane_age_seconds"
        return all(answers.metrics(gateway)[age] < HEARD_AGAIN for gateway in fault.addresses)

    fault.comes_true("both hear of the registry again", heard, 10)


# ------------------------------------------------------------------ strangers


def _overheard(fault: Fault, kind: int, count: int) -> list[bytes]:
    """That many packets of a kind that a client of the victim's sends; it shakes hands anew."""
    client = fault.there[0]
    with stranger.listening(client, fault.scene.server) as heard:
        tunnels.reconnect(client, fault.scene.server)
        await_seen("the client is overheard", lambda: len(heard.of_kind(kind)) >= count, 15)
    fault.scene.traffic.await_answers([client.name], since=time.monotonic(), within=15)
    return heard.of_kind(kind)[-count:]


def _owners(fault: Fault) -> dict[str, frozenset[str]]:
    """By gateway: the clients that it has a session with."""
    keys = [client.identity.public_text for client in fault.scene.clients]
    return {gateway: harm.holds(harm.sessions(gateway), keys) for gateway in fault.addresses}


def _reports(fault: Fault) -> dict[str, float]:
    """By gateway: packets that its kernel has shown to the agent and that began no takeover.

    The lab's other clients may add a few at any moment.
    """
    name = "gatepair_takeover_reports_total"
    return {
        gateway: sum(
            value
            for series, value in answers.metrics(gateway, labelled=True).items()
            if series.startswith(name) and 'outcome="started"' not in series
        )
        for gateway in fault.addresses
    }


@case(
    "replayed handshake",
    f"a stranger sends a client's initiation again, {REPLAYS} times to each gateway",
    NOTHING,
    quick=True,
)
def replayed_handshake(fault: Fault) -> None:
    """The other gateway has never seen it, and answers; nobody completes that."""
    client = fault.there[0]
    messages = _overheard(fault, stranger.INITIATION, 1)
    with stranger.Stranger(fault.scene.server) as somebody:
        ports = somebody.ports(list(fault.addresses.values()))
        before = _owners(fault)
        fault.begins()
        for port in ports.values():
            somebody.send(messages * REPLAYS, port, REPLAY_EVERY)
        fault.check("every session stays where it is", _owners(fault) == before)

        def undone() -> bool:
            return harm.has_let_go(harm.sessions(fault.other), client.identity.public_text)

        fault.comes_true(
            "the other gateway forgets what it has answered", undone, UNDONE_AFTER + LET_GO_WITHIN
        )
        fault.check("every session is still there then", _owners(fault) == before)
    _not_noticed(fault)


@case(
    "spoofed transport packets",
    f"a stranger sends {MADE_UP} packets of made-up sessions to each gateway, and as many more "
    "with a client's own address",
    NOTHING,
    quick=True,
)
def spoofed_transport(fault: Fault) -> None:
    """The kernel looks the index up and forgets it."""
    client, server = fault.there[0], fault.scene.server
    with stranger.Stranger(server) as somebody:
        ports = somebody.ports(list(fault.addresses.values()))
        packets = [stranger.made_up(number.to_bytes(4, "big")) for number in range(MADE_UP)]
        home = (str(client.tunnel.client.own_public_address), client.ports[client.gateway])
        owners, reports = _owners(fault), _reports(fault)
        fault.begins()
        for port in ports.values():
            somebody.send(packets, port, MADE_UP_EVERY)
        somebody.pretend(home, packets, MADE_UP_EVERY)
        time.sleep(1)
        shown = sum(_reports(fault).values()) - sum(reports.values())
        fault.check("none of them is shown to an agent", shown < MADE_UP / 100)
        fault.check("every session stays where it is", _owners(fault) == owners)
    _not_noticed(fault)


@case(
    "replayed transport packets, then the client moves",
    "a stranger sends a live session's packets to the other gateway, 200 a second without end; "
    "then the client's gateway is cut off",
    Promise(resumed=STARVED),
)
def replayed_transport(fault: Fault) -> None:
    """The owner of the session is not starved of its budget."""
    packets = _overheard(fault, stranger.TRANSPORT, 50)
    with stranger.Stranger(fault.scene.server) as somebody:
        ports = somebody.ports(list(fault.addresses.values()))
        owners = _owners(fault)
        fault.begins()
        to_other = ports[fault.addresses[fault.other]]
        with somebody.repeating(packets, to_other, FLOOD_EVERY):
            time.sleep(CUT_FOR)
            echoes = [fault.scene.traffic.of(one.name) for one in fault.scene.clients]
            end = time.monotonic() - 1
            lost = sum(len(one.lost(fault.begin, end)) for one in echoes)
            fault.check("the replay alone loses nothing", lost == 0)
            fault.check("the replay alone moves no session", _owners(fault) == owners)
            fault.begins()
            fault.exits.enter_context(harm.cut(fault.victim, [RECEIVED, SENT]))
            fault.until_left()
        time.sleep(CUT_FOR)
        fault.ends()
        fault.victim_lets_go()
        fault.until_two()


# ------------------------------------------------------------------ rotation and reboots


@case(
    "rotation with one gateway down",
    "a gateway is cut off, `keyGenerations: [1, 2]` is deployed, and the gateway comes back",
    TAKEN_OVER,
)
def rotation_one_down(fault: Fault) -> None:
    """The key is born on the one that is there; the other one takes it over."""
    fault.ground.undo(session.deploy, None)
    fault.begins()
    fault.exits.enter_context(harm.cut(fault.victim, [RECEIVED, SENT]))
    fault.until_left()
    session.deploy(varied(fault.ground.directory, {"keyGenerations": [1, 2]}))
    await_seen("one gateway serves both keys", lambda: {1, 2} in _served(fault), 30)
    fault.ends()
    fault.victim_lets_go()
    fault.comes_true(
        "both gateways serve both keys", lambda: _served(fault) == [{1, 2}, {1, 2}], 30
    )
    fault.until_two()
    session.deploy(None)
    await_seen("one key again", lambda: _served(fault) == [{1}, {1}], 30)


def _served(fault: Fault) -> list[set[int]]:
    """The generations that each gateway serves."""
    return [set(one.public_key) for one in status.read().gateways if one.id in fault.addresses]


@case(
    "both gateways rebooted",
    "both machines lose what their kernels know and boot from their disks, at the same moment",
    Promise(others_lost=None),
)
def both_rebooted(fault: Fault) -> None:
    """Nobody is left who knows a session: clients begin anew, by WireGuard's own timers."""
    fault.everybody = True
    fault.begins()
    for gateway in fault.addresses:
        machine.reset(gateway)

    def serve() -> bool:
        return all(
            answers.ask(gateway, answers.HEALTH_PORT, "/healthz/0")[0] == 200  # noqa: PLR2004
            for gateway in fault.addresses
        )

    fault.comes_true("both serve by their own word", serve, BOOT_LIMIT)
    fault.served()
    names = [client.name for client in fault.scene.clients]
    fault.scene.traffic.await_answers(names, since=time.monotonic(), within=BOOT_LIMIT)
    time.sleep(CHECKED_TWICE)  # the load balancer may let go of them only now
    fault.until_two()


# ------------------------------------------------------------------ ends of gateways


@case("gateway killed", "its power is cut; Auto Scaling puts another in its place", TAKEN_OVER)
def killed(fault: Fault) -> None:
    """No good-bye."""
    fault.begins()
    machine.power_off(fault.victim, machine.CUT)
    fault.until_left()
    fault.until_two()


@case(
    "a new gateway boots while AWS APIs are gone",
    "a gateway's power is cut, its replacement boots and reaches no AWS API, S3 included; when it "
    "has said why it does not serve, they are back",
    TAKEN_OVER,
)
def boot_without_aws(fault: Fault) -> None:
    """It has no code and no key: it takes no client until it has both."""
    before = set(fault.addresses)
    fault.begins()
    machine.power_off(fault.victim, machine.CUT)
    fault.until_left()
    await_seen("a new gateway", lambda: bool(_new(fault, before)), BOOT_LIMIT)
    (fresh,) = _new(fault, before)
    fault.exits.enter_context(harm.without_aws())
    fault.say(f"{fresh} boots without AWS")
    fault.comes_true(
        "it says what it waits for", lambda: "artifact s3://" in _bootstrap(fresh), BOOT_LIMIT
    )
    time.sleep(CHECKED_TWICE)
    fault.check("it takes no clients", fresh not in fault.scene.watch.now)
    fault.check("the other one serves on", fault.other in fault.scene.watch.now)
    fault.ends()
    fault.comes_true(
        "it serves once AWS is back", lambda: fresh in fault.scene.watch.now, BOOT_LIMIT
    )
    fault.until_two()


def _new(fault: Fault, before: set[str]) -> set[str]:
    return set(fault.scene.ground.gateways()) - before


def _bootstrap(gateway: str) -> str:
    try:
        return journal(gateway, "gatepair-bootstrap")
    except Failed:
        return ""
