"""The server's key is rotated by one line of the stack file; nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab_driver import HOST, ROOT, UP_LIMIT, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab_driver import LabDriver

LINE = "gatepair:keyGenerations: [1]"


@pytest.fixture
def deploy(lab: LabDriver, tmp_path: Path) -> Iterator[Callable[[list[int]], str]]:
    """Deploy the lab's stack with other key generations; at the end, with its own again."""
    text = (ROOT / "stacks" / "Pulumi.lab.yaml").read_text()
    assert text.count(LINE) == 1
    file = tmp_path / "Pulumi.lab.yaml"

    def up(generations: list[int]) -> str:
        file.write_text(text.replace(LINE, f"gatepair:keyGenerations: {generations}"))
        return lab.lab("up", "--stack-file", str(file), timeout=UP_LIMIT).stderr

    yield up
    lab.lab("up", timeout=UP_LIMIT)


def keys(lab: LabDriver) -> list[dict[str, str]]:
    """Generation to public key, of each gateway."""
    return [gateway["public_key"] for gateway in lab.status()["gateways"]]


@pytest.mark.timeout(400)
def test_a_rotation_overlaps_and_touches_one_resource(
    lab: LabDriver, deploy: Callable[[list[int]], str]
) -> None:
    lab.both_healthy()
    machines = lab.gateways()
    (old, _) = keys(lab)
    said = deploy([1, 2])
    assert "1 updated" in said
    assert not any(word in said for word in (" created", " replaced", " deleted")), said

    def both() -> bool:
        return all(set(k) == {"1", "2"} for k in keys(lab))

    eventually("both generations are served by both gateways", both, within=30)
    (one, other) = keys(lab)
    assert one == other
    assert one["1"] == old["1"]
    assert one["2"] != old["1"]
    lab.lab("client", "dave", timeout=60)
    assert lab.on("dave", "wg", "show", "dave", "peers").stdout.strip() == one["2"]
    lab.answered("dave")  # a new config, the new key
    lab.answered("alice")  # an old one, the old key

    deploy([1])
    eventually(
        "only generation 1 is served", lambda: all(set(k) == {"1"} for k in keys(lab)), within=30
    )
    assert lab.on("dave", "ping", "-c", "1", "-W", "3", HOST, check=False).status != 0
    lab.answered("alice")
    assert lab.gateways() == machines, "no machine was replaced"


@pytest.mark.timeout(300)
def test_a_jump_is_refused_by_the_gateways(lab: LabDriver) -> None:
    before = keys(lab)
    control = {"pk": {"S": "control"}, "sk": {"S": "control"}}
    table = lab.stack.table
    item = lab.dynamodb.get_item(TableName=table, Key=control)["Item"]
    jump = {**item, "key_generations": {"L": [{"N": "3"}]}}
    lab.dynamodb.put_item(TableName=table, Item=jump)
    try:

        def said() -> bool:
            return all("a jump" in lab.faults(gateway) for gateway in lab.gateways())

        eventually("both gateways say that it is a jump", said, within=20)
        assert keys(lab) == before
        lab.answered("alice")
    finally:
        lab.dynamodb.put_item(TableName=table, Item=item)
