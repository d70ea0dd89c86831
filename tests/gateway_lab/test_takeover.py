"""Sessions that change gateways: how long clients are silent, and what strangers can do to them."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import GATEWAY, POOL, Bed, await_true
from gateway_lab.crowd import PORT, SERVICE, Client, Crowd, crowd
from gateway_lab.second import SECOND, Second, both

from effects import run
from lab.netns import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS, SHARING = 5, 2
"""Of them, with a pre-shared key."""
RESUMED = 0.5
"""Seconds; a client pings every 0.1 s, so that 0.2 s are one lost ping."""

STARVED = 4.0
"""Seconds: his turn comes once a second, and a false start or WireGuard's second try of one may be
less than a second ago at two of them. WireGuard alone would be silent for 15."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(200)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Crowd, Second]]:
    """Both gateways, and clients that have sessions on the first one and ping through it."""
    with (
        both(tmp_path) as (bed, second, _),
        crowd(bed, CLIENTS, POOL, sharing=SHARING) as clients,
    ):
        await_true("admitted", lambda: admitted(bed, GATEWAY) == CLIENTS == admitted(bed, SECOND))
        server_key = bed.wg("show", "wg0", "public-key")
        for client in clients.clients:
            client.connect(server_key)
            assert client.reaches_host()
            client.start_pings(tmp_path)
        await_true("known", lambda: sessions(bed, SECOND) >= CLIENTS)
        await_true("held", lambda: held(bed, GATEWAY) == CLIENTS)
        yield clients, second


def admitted(bed: Bed, gateway: str) -> float:
    return bed.metric("gatepair_peers", gateway)


def sessions(bed: Bed, gateway: str) -> float:
    """Of the other gateway, known to this one."""
    return bed.metric("gatepair_remote_sessions", gateway)


def held(bed: Bed, gateway: str) -> float:
    return bed.metric("gatepair_held_peers", gateway)


def test_clients_that_move_go_on_at_once_and_are_let_go_where_they_were(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    bed, everybody = clients.bed, clients.clients

    moved = time.time()
    clients.send(everybody, SECOND)
    await_true("held by the second", lambda: held(bed, SECOND) == CLIENTS, timeout=5)
    await_true("let go by the first", lambda: held(bed, GATEWAY) == 0, timeout=5)
    clients.await_answers(moved + 1)
    assert clients.gaps(moved)[-1] <= RESUMED

    back = time.time()
    clients.send(everybody, GATEWAY)
    await_true("held by the first", lambda: held(bed, GATEWAY) == CLIENTS, timeout=5)
    clients.await_answers(back + 2)
    assert clients.gaps(back)[-1] <= RESUMED
    assert bed.metric("gatepair_takeovers_total", SECOND) == CLIENTS


def shake_hands_again(client: Client) -> None:
    """A new session, as after two minutes."""
    exec_ = ["ip", "netns", "exec", client.namespace, "wg"]
    before = run([*exec_, "show", client.interface, "dump"]).stdout.splitlines()[1].split("\t")
    key, endpoint, allowed = before[0], before[2], before[3]
    run([*exec_, "set", client.interface, "peer", key, "remove"])
    peer = ["peer", key, "endpoint", endpoint, "allowed-ips", allowed]
    run([*exec_, "set", client.interface, *peer])


def test_sessions_begun_while_the_agent_was_away_are_known_when_it_is_back(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    bed, (renewed, *_others) = clients.bed, clients.clients
    bed.stop_agent(signal.SIGKILL)
    shaken = time.time()
    shake_hands_again(renewed)
    await_true("renewed", lambda: renewed.answered_since(shaken))
    bed.start_agent()
    await_true("held again", lambda: held(bed, GATEWAY) == CLIENTS)
    await_true("and told", lambda: sessions(bed, SECOND) > CLIENTS)
    assert clients.gaps(shaken)[-1] <= RESUMED, "the agent's absence is not felt"

    died = time.time()
    clients.cut_off(GATEWAY)
    clients.send(clients.clients, SECOND)
    clients.await_answers(died + 1)
    assert clients.gaps(died)[-1] <= RESUMED


@pytest.mark.long
def test_an_agent_that_was_frozen_and_is_started_again_takes_no_client_back(
    stage: tuple[Crowd, Second],
) -> None:
    """Its WireGuard has called the clients meanwhile, as it does after 15 s without a word."""
    clients, _second = stage
    bed, everybody = clients.bed, clients.clients
    assert bed.agent is not None
    bed.agent.send_signal(signal.SIGSTOP)
    before, moved = len(handed_out(GATEWAY)), time.time()
    clients.send(everybody, SECOND)
    await_true("held by the second", lambda: held(bed, SECOND) == CLIENTS, timeout=5)
    called = lambda: len(handed_out(GATEWAY)) >= before + CLIENTS  # noqa: E731
    await_true("its WireGuard calls them", called, timeout=40)
    bed.stop_agent(signal.SIGKILL)
    bed.start_agent()
    await_true("it lets them go", lambda: not keys_of(bed), timeout=15)
    clients.await_answers(time.time() + 1)
    assert held(bed, SECOND) == CLIENTS
    assert clients.gaps(moved)[-1] <= RESUMED


def handed_out(gateway: str) -> list[str]:
    """The handshake messages that a gateway's kernel has noted."""
    exec_ = ["ip", "netns", "exec", gateway]
    listing = run([*exec_, "nft", "list", "set", "inet", "gatepair", "handed_out"]).stdout
    return re.findall(r"\d+ \. 0x[0-9a-f]+ \. ", listing)


def keys_of(bed: Bed) -> list[str]:
    """The peers that the first gateway's WireGuard has shaken hands with and not forgotten."""
    lines = bed.wg("show", "wg0", "latest-handshakes").splitlines()
    return [line for line in lines if not line.endswith("\t0")]


def test_strangers_trigger_nothing_and_replays_disturb_nobody(stage: tuple[Crowd, Second]) -> None:
    clients, second = stage
    bed, (stranger, victim, *_) = clients.bed, clients.clients
    clients.send([stranger], SECOND)
    await_true("the stranger has moved", lambda: held(bed, SECOND) == 1)
    reports = lambda outcome: reported(bed, SECOND, outcome)  # noqa: E731
    before = reports("started"), reports("unknown"), cpu(second)
    began = time.time()
    spoof(stranger, [os.urandom(4) for _ in range(50_000)])
    time.sleep(1.5)
    assert (reports("started"), reports("unknown")) == before[:2]
    assert cpu(second) - before[2] < 1.0
    assert clients.gaps(began)[-1] <= RESUMED

    live = watched(SECOND)
    for _ in range(10):
        spoof(stranger, live * 50)
        time.sleep(0.3)
    assert 1 <= reports("started") - before[0] <= 5 * len(live), "at most one a second and index"
    assert held(bed, GATEWAY) == CLIENTS - 1, "nothing was claimed"
    assert victim.gap(began) <= RESUMED
    moved = time.time()
    clients.send(clients.clients, SECOND)
    clients.await_answers(moved + 2)
    assert clients.gaps(moved)[-1] <= 2.0, "the last false start is a second ago at most"


def test_a_replay_without_pause_does_not_starve_the_sessions_owner(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    bed, (stranger, *others) = clients.bed, clients.clients
    clients.send([stranger], SECOND)
    await_true("the stranger has moved", lambda: held(bed, SECOND) == 1)
    live, ended = watched(SECOND), threading.Event()

    def replay() -> None:
        while not ended.wait(0.005):
            spoof(stranger, live)

    replaying = threading.Thread(target=replay)
    replaying.start()
    try:
        started = reported(bed, SECOND, "started")
        await_true("it is heard", lambda: reported(bed, SECOND, "started") > started)
        moved = time.time()
        clients.send(others, SECOND)
        clients.await_answers(moved + 2)
        assert clients.gaps(moved)[-1] <= STARVED
    finally:
        ended.set()
        replaying.join()


def spoof(client: Client, indices: list[bytes]) -> None:
    """Transport packets of these sessions from the client's address, another port."""
    with inside(client.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        for index in indices:
            plug.sendto(b"\x04\0\0\0" + index + bytes(24), (SERVICE, PORT))


def watched(gateway: str) -> list[bytes]:
    """The indices that a gateway's kernel reports."""
    exec_ = ["ip", "netns", "exec", gateway]
    listing = run([*exec_, "nft", "list", "set", "inet", "gatepair", "watched"]).stdout
    return [bytes.fromhex(text.zfill(8)) for text in re.findall(r"\. 0x([0-9a-f]+) ", listing)]


def reported(bed: Bed, gateway: str, outcome: str) -> float:
    page = bed.get(9586, "/metrics", gateway)[1]
    found = re.search(rf'takeover_reports_total{{outcome="{outcome}"}} (\S+)', page)
    assert found is not None
    return float(found[1])


def cpu(second: Second) -> float:
    """Seconds that the second gateway's agent has used."""
    assert second.agent is not None
    fields = Path(f"/proc/{second.agent.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_revoked_peer_is_not_revived_by_its_packets(stage: tuple[Crowd, Second]) -> None:
    clients, second = stage
    bed, (revoked, *_) = clients.bed, clients.clients
    bed.change_peer("client-0")
    peers = lambda: second.wg("show", "wg0", "peers") + bed.wg("show", "wg0", "peers")  # noqa: E731
    await_true("out", lambda: revoked.public_key not in peers())
    clients.send([revoked], SECOND)
    await_true("its packets come in", lambda: reported(bed, SECOND, "barred") >= 2)
    assert revoked.public_key not in peers()
    assert held(bed, SECOND) == 0


def test_the_control_item_switches_takeover_off_and_on(stage: tuple[Crowd, Second]) -> None:
    clients, _second = stage
    bed = clients.bed

    def working(value: float) -> bool:
        name = "gatepair_takeover_working"
        return [bed.metric(name, gateway) for gateway in (GATEWAY, SECOND)] == [value, value]

    bed.control(7, takeover=False)
    await_true("off", lambda: working(0.0))
    moved = time.time()
    clients.send(clients.clients, SECOND)
    time.sleep(3)
    assert not any(client.answered_since(moved + 0.5) for client in clients.clients)
    bed.control(7)
    await_true("on", lambda: working(1.0))
    on = time.time()
    clients.await_answers(on, timeout=5)


def test_the_sessions_of_a_gateway_that_dies_go_on_on_the_other_one(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    died = time.time()
    clients.cut_off(GATEWAY)
    clients.send(clients.clients, SECOND)
    clients.await_answers(died + 1)
    assert clients.gaps(died)[-1] <= RESUMED
