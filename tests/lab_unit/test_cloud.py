"""The whole lab stack, deployed on the lab's cloud by the commands the lab runs."""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab import aws, cloud, deploy, paths, process, project
from registry.items import CONTROL_KEY

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

STACK_FILE = paths.CHECKOUT / "stacks" / "Pulumi.lab.yaml"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A cloud with the lab stack deployed."""
    root = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.ROOT_VARIABLE, str(root))
        cloud.start(alone=True)
        try:
            yield root
        finally:
            cloud.stop()
        assert process.strays() == []


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = deploy.main(["--json", *arguments])
    return status, json.loads(out.getvalue())


def names(urns: list[str]) -> list[str]:
    return [urn.rsplit("::", 1)[-1] for urn in urns]


@pytest.mark.usefixtures("lab")
def test_the_lab_stack_deploys_in_ten_seconds_and_then_nothing_changes() -> None:
    # Processor time: the wall's depends on what else the machine does
    begun = time.process_time()
    status, first = run()
    took = time.process_time() - begun
    assert status == 0
    assert len(first["created"]) > 40
    assert not first["unchanged"]
    assert took < 10, f"{took:.1f} s"
    status, second = run()
    assert status == 0
    assert len(second["unchanged"]) == len(first["created"])
    assert run("--plan")[0] == 0
    instances = aws.client("autoscaling").describe_auto_scaling_instances()
    zones = [one["AvailabilityZone"] for one in instances["AutoScalingInstances"]]
    assert sorted(zones) == ["eu-west-1a", "eu-west-1b"]


@pytest.mark.usefixtures("lab")
def test_a_rotation_by_stack_config_updates_the_control_item_alone(tmp_path: Path) -> None:
    run()
    rotated = tmp_path / "Pulumi.lab.yaml"
    text, count = re.subn(
        r"keyGenerations: \[1\]", "keyGenerations: [1, 2]", STACK_FILE.read_text()
    )
    assert count == 1
    rotated.write_text(text)
    status, plan = run("--stack-file", str(rotated), "--plan")
    assert status == 3
    assert names(plan["updated"]) == ["peer-registry-control"]
    status, done = run("--stack-file", str(rotated))
    assert status == 0
    assert {key: done[key] for key in ("created", "replaced", "deleted")} == {
        "created": [],
        "replaced": [],
        "deleted": [],
    }
    assert names(done["updated"]) == ["peer-registry-control"]
    (table,) = aws.client("dynamodb").list_tables()["TableNames"]
    key = {"pk": {"S": "control"}, "sk": {"S": "control"}}
    item = aws.client("dynamodb").get_item(TableName=table, Key=key)["Item"]
    assert item["key_generations"] == {"L": [{"N": "1"}, {"N": "2"}]}


@pytest.mark.usefixtures("lab")
def test_the_lab_switches_to_clients_own_addresses_and_back_without_a_new_gateway(
    tmp_path: Path,
) -> None:
    run()
    before = gateways()
    routed = tmp_path / "Pulumi.lab.yaml"
    routed.write_text(STACK_FILE.read_text() + "  gatepair:egress: routed\n")
    rules = ["gateways-forwarded", "gateways-to-clients-from-10.20.0.0-16"]
    told = ["gateway-policy", "peer-registry-control"]
    status, there = run("--stack-file", str(routed))
    assert status == 0
    assert (sorted(names(there["created"])), sorted(names(there["updated"]))) == (rules, told)
    assert not there["replaced"] + there["deleted"]
    (table,) = aws.client("dynamodb").list_tables()["TableNames"]
    item = aws.client("dynamodb").get_item(TableName=table, Key=CONTROL_KEY)["Item"]
    tables = [one["S"] for one in item["route_tables"]["L"]]
    found = aws.client("ec2").describe_route_tables(RouteTableIds=tables)["RouteTables"]
    assert len(found) == 2
    status, back = run()
    assert status == 0
    assert (sorted(names(back["deleted"])), sorted(names(back["updated"]))) == (rules, told)
    assert not back["created"] + back["replaced"]
    assert gateways() == before


def gateways() -> set[str]:
    """Instance ids."""
    answer = aws.client("autoscaling").describe_auto_scaling_instances()
    return {one["InstanceId"] for one in answer["AutoScalingInstances"]}


@pytest.mark.usefixtures("lab")
def test_a_wrong_configuration_is_refused_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    before = paths.state().read_text()
    wrong = tmp_path / "Pulumi.lab.yaml"
    wrong.write_text(STACK_FILE.read_text().replace("[1]", "[1, 5]"))
    assert deploy.main(["--stack-file", str(wrong)]) == 2
    assert "keyGenerations" in capsys.readouterr().err
    assert paths.state().read_text() == before


@pytest.mark.usefixtures("lab")
def test_kept_connections_survive_answers_without_a_body() -> None:
    s3 = aws.client("s3")
    where = {"LocationConstraint": aws.REGION}
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration=where)
    for _ in range(20):
        s3.put_object(Bucket="kept", Key="k", Body=b"x" * 100_000)
        assert s3.head_object(Bucket="kept", Key="k")["ContentLength"] == 100_000
        s3.delete_object(Bucket="kept", Key="k")
    s3.delete_bucket(Bucket="kept")


@pytest.mark.usefixtures("lab")
def test_everything_can_be_deleted_again() -> None:
    run()
    target = project.load(paths.CHECKOUT, deploy.STACK)
    made = len(json.loads(paths.state().read_text())["resources"])
    changes = deploy.deploy(target, aws.client, paths.state(), program=lambda: None)
    assert len(changes.deleted) == made
    ec2 = aws.client("ec2")
    assert [vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]] == []
    assert ec2.describe_addresses()["Addresses"] == []
    assert aws.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert aws.client("dynamodb").list_tables()["TableNames"] == []
    assert aws.client("s3").list_buckets()["Buckets"] == []
    assert aws.client("iam").list_roles()["Roles"] == []


def test_a_lab_that_is_not_up_is_refused_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    assert deploy.main([]) == 2
    assert (
        capsys.readouterr().err == "deploy: stack lab: the lab is not up; start it with `make up`\n"
    )
