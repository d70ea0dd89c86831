"""Every operator's command, run against a fake AWS, needs exactly what its role's policy allows."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from command import Run
from fake_fleet import GROUP
from fake_registry import BUCKET, CONNECTION_LOG, STACK, TABLE, key_of
from iam_judge import Asked, allowing
from permissions import REGION, Recorder, arn, group_arn, on_items

from commands import draining, gateways, keys, peers
from components.operator_policies import Scope, documents
from registry import waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_fleet import FakeFleet
    from fake_registry import Fake
    from fake_scaling import World

    from registry.environment import Cloud

    Command: TypeAlias = Callable[..., Run]
    Policies: TypeAlias = dict[str, dict[str, Any]]

SERVICES = ("dynamodb", "ssm", "sts", "autoscaling", "ec2", "elbv2", "s3", "kms", "logs")
TAGS = {"project": "gatepair", "stack": STACK}
VIEWER, AUDITOR, PEER_ADMIN, GATEWAY_ADMIN = "viewer", "auditor", "peer-admin", "gateway-admin"
NOBODY = "nobody of these"

ROLES = {
    peers: {
        "list": VIEWER,
        "show": VIEWER,
        "config": VIEWER,
        "audit": AUDITOR,
        "add": PEER_ADMIN,
        "extend": PEER_ADMIN,
        "rotate": PEER_ADMIN,
        "revoke": PEER_ADMIN,
        "apply": PEER_ADMIN,
        "restore": NOBODY,
    },
    gateways: {
        "list": VIEWER,
        "wait": VIEWER,
        "drain": GATEWAY_ADMIN,
        "replace": GATEWAY_ADMIN,
        "fence": GATEWAY_ADMIN,
    },
    keys: {"status": VIEWER, "wait": VIEWER, "burn": GATEWAY_ADMIN},
}
"""Who runs which command; a restore, which makes and deletes tables, is for administrators."""

RENEWING = {
    ("dynamodb:UpdateItem", "command"),
    ("autoscaling:CancelInstanceRefresh", ""),
    ("autoscaling:DescribeInstanceRefreshes", ""),
    ("autoscaling:SetDesiredCapacity", ""),
    ("autoscaling:StartInstanceRefresh", ""),
    ("autoscaling:TerminateInstanceInAutoScalingGroup", ""),
}
"""What it takes to drain and to replace gateways, beside what a viewer may."""


@pytest.fixture
def policies(cloud: Cloud, fleet: FakeFleet, sealing_key: str) -> Policies:
    """The four documents, for the fake stack; its gateways carry the tags of the real ones."""
    ec2 = cloud.client("ec2")
    reservations = ec2.describe_instances(InstanceIds=fleet.ids)["Reservations"]
    instances = [one for part in reservations for one in part["Instances"]]
    interfaces = [
        nic["NetworkInterfaceId"] for one in instances for nic in one["NetworkInterfaces"]
    ]
    ec2.create_tags(
        Resources=[*fleet.ids, *interfaces],
        Tags=[{"Key": key, "Value": value} for key, value in TAGS.items()],
    )
    return documents(
        Scope(
            stack=STACK,
            region=REGION,
            vpc_id=instances[0]["VpcId"],
            table_arn=arn("dynamodb", f"table/{TABLE}"),
            archive_arn=f"arn:aws:s3:::{BUCKET}",
            records_arn=f"arn:aws:s3:::{BUCKET}/*",
            group_arn=group_arn(GROUP),
            connections_arn=arn("logs", f"log-group:{CONNECTION_LOG}:*"),
            tags=TAGS,
            sealing_key_arn=sealing_key,
        )
    )


@pytest.fixture
def recorder(cloud: Cloud, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Of the permissions that commands need; they look at the group each time."""
    for name in fleet.ids:
        fleet.says(name)
    monkeypatch.setattr(waiting, "MEMBERSHIP_EVERY", 0.0)
    return Recorder(cloud, SERVICES)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Command:
    def run(program: Any, *argv: object) -> Run:
        done = Run(program.main, capfd, ("--stack", STACK, *argv))
        assert done.status in {0, 1, 3}, done.stderr
        return done

    return run


def commands(role: str) -> set[tuple[Any, str]]:
    """Those that are for this role."""
    return {
        (program, name) for program in ROLES for name, who in ROLES[program].items() if who == role
    }


def read_all(call: Command, directory: Path) -> set[tuple[Any, str]]:
    """Every command of a viewer; which they were."""
    file = directory / "peers.yaml"
    file.write_text("peers: {}\n")
    called = [
        (peers, "list"),
        (peers, "show", "alice"),
        (peers, "config", "alice"),
        (gateways, "list"),
        (keys, "status"),
        (keys, "wait"),
    ]
    for program, *argv in called:
        assert call(program, *argv).status == 0
    assert call(peers, "apply", file, "--plan").status == 3
    call(gateways, "wait", "--timeout", "0.1")
    return {(program, name) for program, name, *_ in called} | {(gateways, "wait")}


def change_all(call: Command, directory: Path) -> set[tuple[Any, str]]:
    """Every command of a peer-admin, while no gateway confirms anything; which they were."""
    sealed = ("--preshared-key", "--public-key", key_of(2))
    assert call(peers, "add", "bob", *sealed).status == 0
    assert call(peers, "extend", "bob", "--expires", "30d").status == 0
    assert call(peers, "rotate", "bob", "--public-key", key_of(3), "--timeout", "0.1").status == 1
    assert call(peers, "revoke", "bob", "--timeout", "0.5").status == 1
    file = directory / "peers.yaml"
    file.write_text(f"peers:\n  carol:\n    public_key: {key_of(4)}\n")
    assert call(peers, "apply", file, "--no-wait").status == 0
    return {(peers, name) for name in ("add", "extend", "rotate", "revoke", "apply")}


def keys_of(asked: Asked) -> set[tuple[str, str]]:
    """The permission, once for each partition key that it is about."""
    return {(asked.action, key) for key in asked.leading_keys} or {(asked.action, "")}


def granted(document: dict[str, Any]) -> set[tuple[str, str]]:
    """What a policy allows, as `keys_of` has it; reads are of all partitions."""
    found = set()
    for statement in document["Statement"]:
        condition = statement.get("Condition", {}).get("ForAllValues:StringEquals", {})
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            found |= {(action, key) for key in condition.get("dynamodb:LeadingKeys", [""])}
    return found


def needed(asked: list[Asked]) -> set[tuple[str, str]]:
    reads = {"dynamodb:BatchGetItem", "dynamodb:Query"}
    return {
        (action, "" if action in reads else key) for one in asked for action, key in keys_of(one)
    }


def denied(document: dict[str, Any], asked: list[Asked]) -> list[Asked]:
    return [one for one in asked if not allowing(document, one)]


def put_a_rule_into_the_fence(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    named = [{"Name": "group-name", "Values": [f"gatepair-{STACK}-fence"]}]
    (fence,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    ec2.authorize_security_group_ingress(
        GroupId=fence["GroupId"], IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0"
    )


# ------------------------------------------------------------------ what commands need


@pytest.mark.parametrize("program", list(ROLES), ids=lambda program: program.__name__)
def test_it_is_said_of_every_command_who_runs_it(
    program: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = Run(program.main, capfd, ("--help",)).stdout
    assert set(re.findall(r"^    (\w+) {2,}", listed, re.MULTILINE)) == ROLES[program].keys()


def test_a_viewer_needs_exactly_what_the_policy_allows(
    policies: Policies, recorder: Recorder, call: Command, tmp_path: Path, fake: Fake
) -> None:
    fake.add("alice", 1)
    with recorder.listening() as asked:
        called = read_all(call, tmp_path)
    assert called == commands(VIEWER)
    assert denied(policies[VIEWER], asked) == []
    assert needed(asked) == granted(policies[VIEWER])


def test_an_auditor_needs_exactly_what_the_policy_allows_and_a_viewer_has_the_changes(
    policies: Policies, recorder: Recorder, call: Command, tmp_path: Path, fake: Fake
) -> None:
    fake.add("alice", 1)
    with recorder.listening() as asked:
        assert call(peers, "audit", "--changes-only").status == 0
    assert denied(policies[VIEWER], asked) == []
    with recorder.listening() as asked:
        read_all(call, tmp_path)
        assert call(peers, "audit").status == 0
        assert call(peers, "audit", "alice", "--since", "2h").status == 0
    assert denied(policies[AUDITOR], asked) == []
    assert needed(asked) == granted(policies[AUDITOR])
    for other in (VIEWER, PEER_ADMIN, GATEWAY_ADMIN):
        assert "logs:FilterLogEvents" in {one.action for one in denied(policies[other], asked)}


def test_a_peer_admin_needs_exactly_what_the_policy_allows(
    policies: Policies, recorder: Recorder, call: Command, tmp_path: Path, fleet: FakeFleet
) -> None:
    with recorder.listening() as asked:
        call(peers, "add", "alice", "--public-key", key_of(1))
        called = read_all(call, tmp_path) | change_all(call, tmp_path)
    for name in fleet.ids:
        fleet.says(name, applied=1000)
    with recorder.listening():
        assert call(peers, "revoke", "carol").status == 0, "confirmed, its address is freed"
    assert called == commands(VIEWER) | commands(PEER_ADMIN)
    assert denied(policies[PEER_ADMIN], asked) == []
    assert needed(asked) == granted(policies[PEER_ADMIN])


def test_a_gateway_admin_needs_exactly_what_the_policy_allows(
    policies: Policies, recorder: Recorder, call: Command, tmp_path: Path, fleet: FakeFleet
) -> None:
    fleet.fake.add("alice", 1)
    fleet.fake.registry.publish_server_key(2, key_of(2), "i-1")
    one, other = fleet.ids
    with recorder.listening() as asked:
        called = read_all(call, tmp_path)
        assert call(keys, "burn", "2").status == 0
        assert call(gateways, "fence", one, "--force", "--no-wait").status == 0
    put_a_rule_into_the_fence(fleet.cloud)
    with recorder.listening():
        assert call(gateways, "fence", other, "--force").status == 0
    assert called | {(gateways, "fence"), (keys, "burn")} | RENEWED == commands(VIEWER) | commands(
        GATEWAY_ADMIN
    )
    assert denied(policies[GATEWAY_ADMIN], asked) == []
    assert needed(asked) | RENEWING == granted(policies[GATEWAY_ADMIN])


RENEWED = {(gateways, "drain"), (gateways, "replace")}


def test_a_gateway_admin_drains_and_replaces_with_no_more(
    policies: Policies,
    recorder: Recorder,
    call: Command,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = world.fleet
    obey = world.step

    def step(seconds: float) -> None:
        with recorder.aside():
            obey(seconds)

    monkeypatch.setattr(draining.time, "sleep", step)
    with recorder.listening() as asked:
        assert call(gateways, "drain", fleet.ids[0]).status == 0
        assert call(gateways, "drain", fleet.ids[0], "--withdraw").status == 0
        assert call(gateways, "replace", fleet.ids[0]).status == 0
        assert call(gateways, "replace").status == 0
        world.interrupt_at = world.looks + 2
        with pytest.raises(AssertionError, match="cancelled"):
            call(gateways, "replace")
    assert denied(policies[GATEWAY_ADMIN], asked) == []
    reads = {item for item in needed(asked) if item in granted(policies[VIEWER])}
    assert needed(asked) - reads == RENEWING


def test_a_request_that_nobody_has_thought_of_fails(recorder: Recorder, cloud: Cloud) -> None:
    with recorder.listening(), pytest.raises(AssertionError, match="say here which permission"):
        cloud.client("dynamodb").scan(TableName=TABLE)


# ------------------------------------------------------------------ what nobody may

OWN = {f"aws:ResourceTag/{key}": (value,) for key, value in TAGS.items()}
FENCE = {**OWN, "aws:ResourceTag/Name": (f"gatepair-{STACK}-fence",)}
GATEWAYS = {**OWN, "aws:ResourceTag/Name": ("gateways-sg",)}
ANOTHER = {**OWN, "aws:ResourceTag/stack": ("another",)}
ALL = (VIEWER, AUDITOR, PEER_ADMIN, GATEWAY_ADMIN)
IN_ONE = "TransactWriteItems"


def secret(action: str) -> Asked:
    return Asked(f"secretsmanager:{action}", arn("secretsmanager", "secret:gateway-key"))


def kms(action: str, stack: str) -> Asked:
    """On any key: the one that there is has an id of its own in each test."""
    return Asked(f"kms:{action}", KEY, {"kms:EncryptionContext:stack": (stack,)})


def on(action: str, resource: str, tags: dict[str, tuple[str]]) -> Asked:
    return Asked(f"ec2:{action}", arn("ec2", resource), tags)


KEY = "the KMS key"


def of(policies: Policies, what: Asked) -> Asked:
    """The same, with the ARN of the KMS key that the policies are about."""
    if what.resource != KEY:
        return what
    (found,) = [s for s in policies[PEER_ADMIN]["Statement"] if s["Sid"] == "MakePresharedKeys"]
    return replace(what, resource=found["Resource"])


@pytest.mark.parametrize(
    ("roles", "what"),
    [
        (ALL, secret("GetSecretValue")),
        (ALL, secret("PutSecretValue")),
        *((ALL, on_items("UpdateItem", TABLE, [key])) for key in ("audit", "change", "key")),
        *(
            (ALL, on_items(f"{verb}Item", TABLE, [key], within=IN_ONE))
            for key in ("audit", "change", "key")
            for verb in ("Delete", "Update")
        ),
        (ALL, on_items("PutItem", TABLE, ["audit"])),
        (ALL, on_items("PutItem", TABLE, ["audit"], within="BatchWriteItem")),
        *(
            (ALL, on_items("PutItem", TABLE, [key], within=within))
            for key in ("control", "server-key", "gateway#arn:aws:ec2:x", "route")
            for within in ("", IN_ONE)
        ),
        (ALL, on_items("PutItem", TABLE, ["peer", "control"], within=IN_ONE)),
        (ALL, on_items("PutItem", TABLE, ["command", "control"])),
        (ALL, on_items("PutItem", TABLE, [], within=IN_ONE)),
        (ALL, on_items("Scan", TABLE, [])),
        (ALL, on_items("BatchGetItem", "another-table", ["peer"])),
        (ALL, Asked("ssm:GetParameter", arn("ssm", "parameter/gatepair/another"))),
        ((VIEWER, PEER_ADMIN), on_items("PutItem", TABLE, ["command"])),
        ((VIEWER, GATEWAY_ADMIN), on_items("PutItem", TABLE, ["peer"], within=IN_ONE)),
        ((VIEWER, GATEWAY_ADMIN), on_items("DeleteItem", TABLE, ["address"])),
        ((VIEWER, PEER_ADMIN), on("TerminateInstances", "instance/i-1", OWN)),
        (ALL, on("TerminateInstances", "instance/i-1", ANOTHER)),
        (ALL, on("ModifyNetworkInterfaceAttribute", "network-interface/eni-1", ANOTHER)),
        (ALL, on("ModifyNetworkInterfaceAttribute", "security-group/sg-1", GATEWAYS)),
        (ALL, on("RevokeSecurityGroupIngress", "security-group/sg-1", GATEWAYS)),
        (ALL, on("DeleteSecurityGroup", "security-group/sg-1", OWN)),
        (ALL, on("AuthorizeSecurityGroupIngress", "security-group/sg-1", FENCE)),
        (ALL, on("CreateTags", "security-group/sg-1", FENCE)),
        (ALL, on("CreateSecurityGroup", "vpc/vpc-1", {"ec2:VpcID": ("vpc-1",)})),
        (ALL, Asked("autoscaling:StartInstanceRefresh", arn("autoscaling", "another-group"))),
        (ALL, kms("Decrypt", STACK)),
        (ALL, kms("Encrypt", "another")),
        (ALL, kms("GenerateDataKey", STACK)),
        ((VIEWER, GATEWAY_ADMIN), kms("Encrypt", STACK)),
    ],
)
def test_what_a_role_has_no_business_with_is_denied(
    policies: Policies, roles: tuple[str, ...], what: Asked
) -> None:
    for role in roles:
        assert allowing(policies[role], of(policies, what)) == []


def test_what_is_denied_is_denied_for_its_one_fault(policies: Policies) -> None:
    """The same requests without it are allowed, so the test above says something."""
    admin, gateway_admin = policies[PEER_ADMIN], policies[GATEWAY_ADMIN]
    for document, what in (
        (admin, of(policies, kms("Encrypt", STACK))),
        (admin, on_items("PutItem", TABLE, ["audit"], within=IN_ONE)),
        (admin, on_items("UpdateItem", TABLE, ["generation"], within=IN_ONE)),
        (admin, on_items("DeleteItem", TABLE, ["peer"], within=IN_ONE)),
        (gateway_admin, on_items("UpdateItem", TABLE, ["command"])),
        (gateway_admin, on("TerminateInstances", "instance/i-1", OWN)),
        (gateway_admin, on("ModifyNetworkInterfaceAttribute", "security-group/sg-1", FENCE)),
        (gateway_admin, on("RevokeSecurityGroupIngress", "security-group/sg-1", FENCE)),
    ):
        assert len(allowing(document, what)) == 1, what
