"""The server's key is rotated by one line of the stack file; nothing else changes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import HOST, UP_LIMIT, eventually
from lab_helper import beside, config_of, lost, with_helper

from bench.stack_file import varied
from lab import session
from registry.items import COMMAND_KEY, CONTROL_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab_driver import LabDriver


@pytest.fixture
def deploy(lab: LabDriver, tmp_path: Path) -> Iterator[Callable[[list[int]], str]]:
    """Deploy the lab's stack with other key generations; at the end, with its own again."""

    def up(generations: list[int]) -> str:
        file = varied(tmp_path, {"keyGenerations": generations})
        return lab.lab("up", "--stack-file", str(file), timeout=UP_LIMIT).stderr

    yield up
    lab.lab("up", timeout=UP_LIMIT)


@pytest.mark.timeout(400)
def test_a_rotation_overlaps_and_touches_one_resource(
    lab: LabDriver, deploy: Callable[[list[int]], str]
) -> None:
    lab.both_healthy()
    machines = lab.gateways()
    (old, _) = lab.public_keys()
    said = deploy([1, 2])
    assert "1 updated" in said
    assert not any(word in said for word in (" created", " replaced", " deleted")), said

    def both() -> bool:
        return all(set(k) == {"1", "2"} for k in lab.public_keys())

    eventually("both generations are served by both gateways", both, within=30)
    (one, other) = lab.public_keys()
    assert one == other
    assert one["1"] == old["1"]
    assert one["2"] != old["1"]
    lab.lab("client", "dave", timeout=60)
    assert lab.on("dave", "wg", "show", "dave", "peers").stdout.strip() == one["2"]
    lab.answered("dave")  # a new config, the new key
    lab.answered("alice")  # an old one, the old key

    deploy([1])
    eventually(
        "only generation 1 is served",
        lambda: all(set(k) == {"1"} for k in lab.public_keys()),
        within=30,
    )
    assert lab.on("dave", "ping", "-c", "1", "-W", "3", HOST, check=False).status != 0
    lab.answered("alice")
    assert lab.gateways() == machines, "no machine was replaced"


ONE_RESOURCE = "1 updated"


def carried_by(lab: LabDriver, client: str) -> str:
    """The server key that a client's networks belong to."""
    text = lab.on(client, "wg", "show", client, "allowed-ips").stdout
    (key,) = [line.split("\t")[0] for line in text.splitlines() if "(none)" not in line]
    return key


def pinged(lab: LabDriver, client: str, seconds: int = 1) -> bool:
    ping = lab.on(client, "ping", "-c", "1", "-W", str(seconds), HOST, check=False)
    return ping.status == 0


def proved(events: Path, generation: int) -> bool:
    """Whether the helper has said that the tunnel works under that server key."""
    return f'the tunnel works under server key {generation}"' in events.read_text()


def only(said: str) -> bool:
    """Whether a deployment says that it has changed one resource and nothing else."""
    return ONE_RESOURCE in said and not any(
        word in said for word in (" created", " replaced", " deleted")
    )


@pytest.mark.timeout(500)
def test_a_rotation_loses_no_packet_with_the_helper_and_is_one_reconnect_without(
    lab: LabDriver, deploy: Callable[[list[int]], str], tmp_path: Path
) -> None:
    lab.both_healthy()
    for client in ("helped", "plain"):
        lab.lab("client", client, timeout=60)
        lab.answered(client)
    conf, pings, events = config_of(lab, "helped"), tmp_path / "pings", tmp_path / "events"
    private = conf.read_text().splitlines()[2]
    with (
        beside("helped", *with_helper(lab, "helped"), log=events),
        beside("helped", "ping", "-i", "0.1", HOST, log=pings),
    ):
        eventually("pings are answered", lambda: lost(pings)[0] > 5, within=20)
        assert only(deploy([1, 2]))
        (one, other) = lab.public_keys()
        assert one == other
        new = one["2"]
        eventually("the helper has moved", lambda: carried_by(lab, "helped") == new, within=30)
        eventually("and proved it", lambda: '"proved"' in events.read_text(), within=20)

        def old() -> dict[str, Any]:
            return json.loads(lab.script("keys", "--stack", "lab", "status", "--json").stdout)

        def told() -> set[str]:
            return {peer["name"] for peer in old()["left_behind"]}

        eventually(
            "plain is said to use the old key and helped is not",
            lambda: "plain" in (names := told()) and "helped" not in names,
            within=60,
        )
        assert only(deploy([2]))
        done = lab.script("keys", "--stack", "lab", "wait", "--timeout", "30")
        assert "2 gateways serve server key 2 and no other" in done.stdout
        so_far, _ = lost(pings)
        eventually("more pings, after the old key", lambda: lost(pings)[0] > so_far + 30, within=20)
    answered, missing = lost(pings)
    assert answered > 100
    assert missing == [], f"of {answered}; {events.read_text()}"
    assert conf.read_text().splitlines()[2] == private
    assert f"PublicKey = {new}\n" in conf.read_text()
    assert lab.on("helped", "wg", "show", "helped", "peers").stdout.split() == [new]

    assert not pinged(lab, "plain", 3), "the old key is refused"
    (conf, fresh) = (config_of(lab, "plain"), tmp_path / "plain.conf")
    lab.peers("config", "plain", "--private-key", str(conf), "--out", str(fresh))
    lab.on("plain", "wg-quick", "down", str(conf))
    conf.write_text(fresh.read_text())
    lab.on("plain", "wg-quick", "up", str(conf))
    assert pinged(lab, "plain", 5), "one reconnect, by the first packet"


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_rotation_is_completed_while_a_gateway_is_down(
    lab: LabDriver, deploy: Callable[[list[int]], str]
) -> None:
    victim, survivor = lab.both_healthy()
    lab.lab("kill", victim)
    deploy([1, 2])
    gateways = lab.both_healthy(but=victim)
    assert survivor in gateways
    (one, other) = lab.public_keys()
    assert one == other
    assert set(one) == {"1", "2"}
    for client in ("alice", "bob"):
        lab.answered(client)


@pytest.fixture
def step(lab: LabDriver, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Deploy other key generations and nothing more; at the end back to the lab's own, one by one.

    `lab up` would wait until all is well, and a gateway that drains is not; a way back of two
    generations is a jump.
    """

    def to(*generations: int, on: int = 2) -> None:
        file = varied(tmp_path, {"keyGenerations": list(generations)})
        (touched,) = session.deployed(file)["updated"]
        assert touched.endswith("::peer-registry-control")
        wanted = set(map(str, generations))
        eventually(
            f"{on} gateways serve {wanted}",
            lambda: sum(set(found) == wanted for found in lab.public_keys()) >= on,
            within=30,
        )

    yield to
    for generation in range(lab.status()["key_generations"][-1] - 1, 0, -1):
        to(generation)
    lab.both_healthy()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_rotations_in_a_row_use_each_slot_again_and_lose_nothing(
    lab: LabDriver, step: Callable[..., None], tmp_path: Path
) -> None:
    lab.both_healthy()
    lab.lab("client", "twice", timeout=60)
    lab.answered("twice")
    conf, pings, events = config_of(lab, "twice"), tmp_path / "pings", tmp_path / "events"
    with (
        beside("twice", *with_helper(lab, "twice"), log=events),
        beside("twice", "ping", "-i", "0.1", HOST, log=pings),
    ):
        eventually("pings are answered", lambda: lost(pings)[0] > 5, within=20)
        for old, new in ((1, 2), (2, 3)):
            step(old, new)
            eventually(
                f"the helper has proved server key {new}",
                lambda new=new: proved(events, new),
                within=40,
            )
            step(new)
        so_far, _ = lost(pings)
        eventually("more pings, after the old key", lambda: lost(pings)[0] > so_far + 20, within=20)
    answered, missing = lost(pings)
    assert answered > 100
    assert missing == [], f"of {answered}; {events.read_text()}"
    assert f"PublicKey = {lab.public_keys()[0]['3']}\n" in conf.read_text()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_rotation_goes_on_while_a_gateway_drains(
    lab: LabDriver, step: Callable[..., None]
) -> None:
    lab.both_healthy()
    lab.answered("alice")
    victim = lab.serving("alice")
    words = ("--stack", "lab", "drain", victim)
    with ThreadPoolExecutor(1) as pool:
        drain = pool.submit(lab.script, "gateways", *words, timeout=240)
        try:
            eventually("it drains", lambda: lab.health(victim)[0] == 503, within=20)
            step(1, 2, on=1)
            drain.result(timeout=240)
            lab.answered("alice")
        finally:
            lab.script("gateways", *words, "--withdraw")
    lab.both_healthy()
    (one, other) = lab.public_keys()
    assert one == other
    assert set(one) == {"1", "2"}, "it has caught up"
    lab.answered("alice")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_burnt_generation_does_not_come_back(
    lab: LabDriver, deploy: Callable[[list[int]], str]
) -> None:
    deploy([2])
    lab.script("keys", "--stack", "lab", "wait", "--timeout", "40")
    table, key = lab.stack.table, {"TableName": lab.stack.table, "Key": CONTROL_KEY}
    control = lab.dynamodb.get_item(**key)["Item"]
    try:
        words = ("--stack", "lab", "burn", "1", "--json", "--timeout", "20")
        burnt = json.loads(lab.script("keys", *words, check=False).stdout)
        # one that another test has cut off may stand in the group until its hook ends, and is named
        assert set(burnt["serving"]) <= set(lab.status()["leaving"])
        both = {"L": [{"N": "1"}, {"N": "2"}]}
        lab.dynamodb.put_item(TableName=table, Item={**control, "key_generations": both})

        def said() -> bool:
            return all("1 is burnt" in lab.faults(gateway) for gateway in lab.gateways())

        eventually("both gateways say that it is burnt", said, within=30)
        assert all(set(found) == {"2"} for found in lab.public_keys())
        lab.answered("alice")
    finally:
        lab.dynamodb.put_item(TableName=table, Item=control)
        # what never happens elsewhere: the other tests want generation 1 back
        lab.dynamodb.delete_item(TableName=table, Key=COMMAND_KEY)


@pytest.mark.timeout(300)
def test_a_jump_is_refused_by_the_gateways(lab: LabDriver) -> None:
    before = lab.public_keys()
    control = {"pk": {"S": "control"}, "sk": {"S": "control"}}
    table = lab.stack.table
    item = lab.dynamodb.get_item(TableName=table, Key=control)["Item"]
    jump = {**item, "key_generations": {"L": [{"N": "3"}]}}
    lab.dynamodb.put_item(TableName=table, Item=jump)
    try:

        def said() -> bool:
            return all("a jump" in lab.faults(gateway) for gateway in lab.gateways())

        eventually("both gateways say that it is a jump", said, within=20)
        assert lab.public_keys() == before
        lab.answered("alice")
    finally:
        lab.dynamodb.put_item(TableName=table, Item=item)
