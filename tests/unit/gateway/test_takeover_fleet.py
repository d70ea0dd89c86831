"""Many gateways and clients, bad networks: whatever happens, a client ends up with one owner."""

from __future__ import annotations

import pytest
from unit.gateway.fleet import STOCK, Fleet

SEEDS = range(12)


@pytest.mark.parametrize("gateways", [2, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_clients_that_move_at_will_are_silent_for_an_instant_and_have_one_owner(
    gateways: int, seed: int
) -> None:
    fleet = Fleet(gateways, 6, seed)
    fleet.run(3_000)
    began = fleet.now
    for _ in range(15):
        for client in fleet.clients:
            if fleet.random.random() < 0.4:
                change = fleet.random.choice([fleet.move, fleet.roam])
                change(client, fleet.random.choice(list(fleet.gateways)))
        fleet.run(fleet.random.randint(2_000, 6_000))
    fleet.run(15_000)
    assert fleet.disagreements() == []
    assert fleet.silence(began) <= 500


@pytest.mark.parametrize("seed", SEEDS)
def test_moves_faster_than_gossip_and_gossip_that_gets_lost_end_well(seed: int) -> None:
    fleet = Fleet(4, 6, seed, loss=0.3, delay=800)
    fleet.run(5_000)
    for _ in range(30):
        client = fleet.random.choice(fleet.clients)
        fleet.move(client, fleet.random.choice(list(fleet.gateways)))
        fleet.run(fleet.random.randint(50, 3_000))
    fleet.run(2 * STOCK)
    fleet.loss = 0.0
    fleet.run(15_000)
    assert fleet.disagreements() == []


@pytest.mark.parametrize("between", [20, 50, 100, 200, 1_000])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_client_that_dials_one_gateway_after_another_stays_with_the_last(
    seed: int, between: int
) -> None:
    """The one that it has left may learn that its handshake was completed after it has heard of the
    next one's."""
    fleet = Fleet(3, 6, seed)
    fleet.run(3_000)
    began = fleet.now
    for _ in range(3):
        for client in fleet.clients:
            for gateway in fleet.random.sample(list(fleet.gateways), 3):
                fleet.dial(client, gateway)
                fleet.run(between)
        fleet.run(5_000)
        assert fleet.disagreements() == []
    assert fleet.silence(began) <= 500


@pytest.mark.parametrize("seed", SEEDS)
def test_when_a_gateway_dies_its_clients_go_on_on_the_others(seed: int) -> None:
    fleet = Fleet(3, 9, seed, loss=0.1, delay=50)
    fleet.run(10_000)
    died, (dead, *others) = fleet.now, fleet.gateways
    fleet.kill(dead)
    for client in fleet.clients:
        if client.at == dead:
            fleet.move(client, fleet.random.choice(others))
    fleet.run(10_000)
    assert fleet.disagreements() == []
    assert fleet.silence(died) <= 500


@pytest.mark.parametrize("seed", SEEDS)
def test_without_gossip_wireguards_own_timers_bring_clients_back_and_then_all_agree(
    seed: int,
) -> None:
    fleet = Fleet(3, 6, seed)
    fleet.run(5_000)
    fleet.cut = True
    fleet.run(1_000)
    for client in fleet.clients:
        fleet.roam(client, fleet.random.choice(list(fleet.gateways)))
        fleet.run(fleet.random.randint(0, 2_000))
    cut = fleet.now
    fleet.run(2 * STOCK)
    assert fleet.silence(cut) <= STOCK + 1_000
    assert all(client.session and client.session[0] == client.at for client in fleet.clients)
    fleet.cut = False
    fleet.run(20_000)
    assert fleet.disagreements() == []
    assert fleet.silence(fleet.now - 20_000) <= 500, "what is told late disturbs nobody"


@pytest.mark.parametrize("away", [3_000, 12_000, 16_000, 30_000, 80_000])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_gateway_that_was_away_gives_up_its_clients_whatever_its_wireguard_wants(
    seed: int, away: int
) -> None:
    """After 15 s without a word from a client its WireGuard calls it, for a minute and a half."""
    fleet = Fleet(3, 9, seed)
    fleet.run(10_000)
    cut, *others = fleet.gateways
    fleet.severed = {cut}
    fleet.run(2_000)
    for client in fleet.clients:
        if client.at == cut:
            fleet.move(client, fleet.random.choice(others))
    fleet.run(away)
    fleet.severed = set()
    back = fleet.now
    fleet.run(3_500)
    assert fleet.disagreements() == []
    assert fleet.silence(back) <= 500


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stranger_who_replays_a_live_index_disturbs_nobody(seed: int) -> None:
    fleet = Fleet(3, 4, seed)
    fleet.run(5_000)
    began, owners = fleet.now, {client.name: client.at for client in fleet.clients}
    sent = {name: gateway.initiations for name, gateway in fleet.gateways.items()}
    for _ in range(200):
        for client in fleet.clients:
            assert client.session is not None
            for name in fleet.gateways:
                fleet.replay(name, client.session[1])
        fleet.run(100)
    seconds = (fleet.now - began) // 1000 + 1
    for name, gateway in fleet.gateways.items():
        away = sum(at != name for at in owners.values())
        assert gateway.initiations - sent[name] <= seconds * away, "one a second and index"
    assert fleet.silence(began) <= 150
    fleet.run(15_000)
    assert fleet.silence(began) <= 150
    assert fleet.disagreements() == []
    for client in fleet.clients:  # who moves then goes on, only a little later
        fleet.roam(client, fleet.random.choice(list(fleet.gateways)))
    fleet.run(5_000)
    assert fleet.disagreements() == []
