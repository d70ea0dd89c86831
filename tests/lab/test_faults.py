"""What is wrong with one thing stops that thing, is said, and leaves the rest as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lab_driver import eventually

from registry import items

if TYPE_CHECKING:
    from lab_driver import LabDriver


def test_an_artifact_with_another_hash_is_not_run(lab: LabDriver) -> None:
    gateway = lab.both_healthy()[0]
    wrong = "0" * 64
    code = (
        "import json, pathlib\n"
        "p = pathlib.Path('/etc/gatepair/environment.json'); was = p.read_text()\n"
        f"e = json.loads(was); e['artifact']['sha256'] = '{wrong}'\n"
        "import subprocess\n"
        "p.write_text(json.dumps(e))\n"
        "try:\n subprocess.run(['/usr/local/sbin/gatepair-bootstrap'], timeout=10)\n"
        "except subprocess.TimeoutExpired:\n pass\n"
        "finally:\n p.write_text(was)\n"
    )
    before = lab.on(gateway, "readlink", "/opt/gatepair/current").stdout
    said = lab.on(gateway, "python3", "-c", code).stderr
    assert f"not {wrong}: it is not run" in said
    assert lab.on(gateway, "readlink", "/opt/gatepair/current").stdout == before
    assert wrong not in lab.on(gateway, "ls", "-A", "/opt/gatepair").stdout


def test_a_peer_that_does_not_parse_is_skipped_and_said(lab: LabDriver) -> None:
    head = lab.registry.head()
    broken = {"pk": {"S": "peer"}, "sk": {"S": "broken"}, "name": {"S": "broken"}}
    number = head.generation + 1
    table = lab.stack.table
    lab.dynamodb.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": table, "Item": broken}},
            {
                "Put": {
                    "TableName": table,
                    "Item": {
                        "pk": {"S": "change"},
                        "sk": {"S": items.numbered(number)},
                        "generation": {"N": str(number)},
                        "kind": {"S": "put"},
                        "peer": {"M": {"name": {"S": "broken"}}},
                    },
                }
            },
            {
                "Update": {
                    "TableName": table,
                    "Key": items.GENERATION_KEY,
                    "UpdateExpression": "SET #v = :v",
                    "ExpressionAttributeNames": {"#v": "value"},
                    "ExpressionAttributeValues": {":v": {"N": str(number)}},
                }
            },
        ]
    )
    try:
        lab.peers("add", "after-broken", "--public-key", "x" * 42 + "w=", "--json")

        def applied() -> bool:
            return all(g["applied"] >= number + 1 for g in lab.status()["gateways"])

        eventually("both gateways applied what came after it", applied, within=20)
        for gateway in lab.gateways():
            peers = lab.on(gateway, "wg", "show", "wg0", "peers").stdout
            assert "x" * 42 + "w=" in peers
            series = lab.metrics(gateway)
            assert series["gatepair_unreadable_items_total"] >= 1
            log = lab.on(gateway, "journalctl", "-u", "gatepair-agent", "--no-pager").stdout
            assert "broken" in log
    finally:
        lab.dynamodb.delete_item(TableName=table, Key={"pk": {"S": "peer"}, "sk": {"S": "broken"}})


def test_the_agent_finds_its_way_back_from_any_state(lab: LabDriver) -> None:
    """Interface deleted, filter flushed, forwarding off: each is mended without a restart."""
    gateway = lab.both_healthy()[0]
    key = lab.on(gateway, "wg", "show", "wg0", "public-key").stdout
    lab.on(gateway, "nft", "delete", "table", "inet", "gatepair")
    lab.on(gateway, "sysctl", "-qw", "net.ipv4.ip_forward=0")
    lab.on(gateway, "ip", "link", "delete", "wg0")

    def mended() -> bool:
        table = lab.on(gateway, "nft", "list", "table", "inet", "gatepair", check=False)
        forwarding = lab.on(gateway, "sysctl", "-n", "net.ipv4.ip_forward").stdout
        shown = lab.on(gateway, "wg", "show", "wg0", "public-key", check=False)
        return table.status == 0 and forwarding == "1\n" and shown.stdout == key

    eventually("interface, filter and forwarding are back", mended, within=30)
    lab.both_healthy()


def test_status_is_what_the_design_promises(lab: LabDriver) -> None:
    status = lab.status()
    for gateway in status["gateways"]:
        assert {"id", "az", "healthy", "public_key", "applied"} <= set(gateway)
    assert {"addresses", "targets"} <= set(status["load_balancer"])
    assert len(status["load_balancer"]["addresses"]) == 2
    assert status["clients"]
    json.dumps(status)
