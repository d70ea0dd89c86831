"""The lab's engine: what a run creates, updates, replaces, deletes, and what it survives."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

import boto3
import pulumi
import pulumi_aws as aws
import pulumi_random as random
import pytest
from moto import mock_aws

from effects import Refusal
from lab import deploy, engine, project, resources
from lab.resources import ec2

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

REGION = "eu-west-1"
SESSION = boto3.Session("testing", "testing", region_name=REGION)
"""One for all tests: it keeps the service descriptions, which take long to read."""


class Lab:
    """A stack on an in-process moto: `up` runs a program."""

    def __init__(self, path: Path) -> None:
        self.state_file = path / "state.json"
        self.clients: dict[str, Any] = {}
        self.config = {"aws:region": REGION}
        self.path = path

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = SESSION.client(service)
        return self.clients[service]

    def up(self, program: Callable[[], None], *, plan: bool = False) -> engine.Changes:
        target = project.Project("small", self.path, "lab", self.config)
        return deploy.deploy(target, self.client, self.state_file, plan=plan, program=program)

    def state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text())

    def vpcs(self) -> list[dict[str, Any]]:
        return [v for v in self.client("ec2").describe_vpcs()["Vpcs"] if not v["IsDefault"]]


@pytest.fixture
def lab(tmp_path: Path) -> Generator[Lab]:
    with mock_aws():
        yield Lab(tmp_path)


def names(urns: list[str]) -> list[str]:
    return [urn.rsplit("::", 1)[-1] for urn in urns]


def small(
    *, dns: bool = True, subnet: bool = True, parameter: str = "one", cidr: str = "10.9.0.0/24"
) -> Callable[[], None]:
    """A program with a chain of references: parameter -> subnet -> vpc."""

    def program() -> None:
        provider = aws.Provider(
            "aws",
            region=REGION,
            allowed_account_ids=["123456789012"],
            default_tags=aws.ProviderDefaultTagsArgs(tags={"project": "small"}),
        )
        options = pulumi.ResourceOptions(provider=provider)
        vpc = aws.ec2.Vpc(
            "vpc", cidr_block=cidr, enable_dns_hostnames=dns, tags={"Name": "v"}, opts=options
        )
        value: pulumi.Input[str] = parameter
        if subnet:
            made = aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="10.9.0.0/28", opts=options)
            value = pulumi.Output.concat(parameter, " ", made.id)
        seed = random.RandomUuid("seed")
        aws.ssm.Parameter("parameter", type="String", value=value, opts=options)
        pulumi.export("seed", seed.result)

    return program


def test_a_first_run_creates_everything_with_the_providers_tags(lab: Lab) -> None:
    changes = lab.up(small())
    assert sorted(names(changes.created)) == ["aws", "parameter", "seed", "subnet", "vpc"]
    (vpc,) = lab.vpcs()
    tags = {tag["Key"]: tag["Value"] for tag in vpc["Tags"]}
    assert tags == {"project": "small", "Name": "v"}
    dns = lab.client("ec2").describe_vpc_attribute(
        VpcId=vpc["VpcId"], Attribute="enableDnsHostnames"
    )
    assert dns["EnableDnsHostnames"]["Value"] is True


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    first = lab.up(small())
    before = lab.state()
    second = lab.up(small())
    assert not second.any
    assert len(second.unchanged) == 5
    assert second.outputs == first.outputs
    assert lab.state() == before


def test_one_changed_input_is_one_update(lab: Lab) -> None:
    lab.up(small())
    changes = lab.up(small(dns=False))
    assert names(changes.updated) == ["vpc"]
    assert list(changes.details.values()) == [["enableDnsHostnames"]]
    assert not changes.created
    assert not changes.replaced
    assert not changes.deleted
    assert len(lab.vpcs()) == 1


def test_a_changed_name_giving_input_replaces_and_the_dependents_follow(lab: Lab) -> None:
    lab.up(small())
    changes = lab.up(small(cidr="10.9.0.0/23"))
    assert names(changes.replaced) == ["vpc", "subnet"]
    assert names(changes.updated) == ["parameter"]
    assert [vpc["CidrBlock"] for vpc in lab.vpcs()] == ["10.9.0.0/23"]


def test_what_the_program_no_longer_declares_is_deleted_last_made_first(lab: Lab) -> None:
    lab.up(small())
    changes = lab.up(lambda: None)
    order = names(changes.deleted)
    assert sorted(order) == ["aws", "parameter", "seed", "subnet", "vpc"]
    chain = [name for name in order if name != "seed"]
    assert chain == ["parameter", "subnet", "vpc", "aws"]
    assert lab.vpcs() == []
    assert lab.state()["resources"] == []


def test_a_vanished_resource_goes_while_the_rest_stays(lab: Lab) -> None:
    lab.up(small())
    changes = lab.up(small(subnet=False))
    assert names(changes.deleted) == ["subnet"]
    assert names(changes.updated) == ["parameter"]


def test_a_plan_shows_the_changes_and_makes_none(lab: Lab) -> None:
    first = lab.up(small(), plan=True)
    assert len(first.created) == 5
    assert lab.vpcs() == []
    assert not lab.state_file.exists()
    lab.up(small())
    before = lab.state()
    assert not lab.up(small(), plan=True).any
    later = lab.up(small(cidr="10.9.0.0/23"), plan=True)
    assert names(later.replaced) == ["vpc", "subnet"]
    assert names(later.updated) == ["parameter"]
    assert lab.state() == before


def test_a_type_without_a_handler_is_refused_by_name(lab: Lab) -> None:
    def program() -> None:
        aws.sqs.Queue("queue")

    with pytest.raises(Exception, match="aws:sqs/queue:Queue: the lab has no handler"):
        lab.up(program)


def test_a_property_the_handler_does_not_know_is_refused(lab: Lab) -> None:
    def program() -> None:
        aws.ec2.Vpc("vpc", cidr_block="10.9.0.0/24", ipv4_netmask_length=24)

    with pytest.raises(Exception, match="Vpc: ipv4NetmaskLength"):
        lab.up(program)
    assert lab.vpcs() == []


def test_a_failing_program_deletes_nothing(lab: Lab) -> None:
    lab.up(small())

    def program() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        lab.up(program)
    assert len(lab.vpcs()) == 1


class Killed(Exception):  # noqa: N818 - what happens, not a mistake
    """Stands for a SIGKILL at the worst moment."""


@pytest.mark.parametrize("made", [True, False], ids=["after the call", "before the call"])
@pytest.mark.parametrize("type_", ["aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet"])
def test_a_run_killed_in_the_middle_is_taken_up_by_the_next(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, type_: str, *, made: bool
) -> None:
    real = resources.HANDLERS[type_]

    def dies(*arguments: Any) -> Any:
        if made:
            real.create(*arguments)
        raise Killed

    broken = dataclasses.replace(real, create=dies)
    with monkeypatch.context() as patch:
        patch.setitem(resources.HANDLERS, type_, broken)
        with pytest.raises(Killed):
            lab.up(small())
    begun = [r for r in lab.state()["resources"] if r["phase"] == "creating"]
    assert [r["type"] for r in begun] == [type_]
    lab.up(small())
    assert not lab.up(small()).any
    assert len(lab.vpcs()) == 1
    subnets = lab.client("ec2").describe_subnets(Filters=ec2.filters(vpc_id=lab.vpcs()[0]["VpcId"]))
    assert len(subnets["Subnets"]) == 1
    assert all(r["phase"] == "live" for r in lab.state()["resources"])


def test_a_run_killed_between_replacing_and_deleting_deletes_next_time(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.up(small())

    def dies(_: engine.Engine) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(engine.Engine, "finish", dies)
        with pytest.raises(Killed):
            lab.up(small(cidr="10.9.0.0/23"))
    assert len(lab.vpcs()) == 2
    changes = lab.up(small(cidr="10.9.0.0/23"))
    assert not changes.any
    assert [vpc["CidrBlock"] for vpc in lab.vpcs()] == ["10.9.0.0/23"]


def test_a_secret_never_gets_into_the_state(lab: Lab) -> None:
    def program() -> None:
        hidden = pulumi.Output.secret("hunter2")
        aws.ec2.Vpc("vpc", cidr_block="10.9.0.0/24", tags={"key": hidden})

    with pytest.raises(Exception, match=r"Vpc vpc\.tags\.key: it is a secret"):
        lab.up(program)
    assert not lab.state_file.exists() or "hunter2" not in lab.state_file.read_text()


def test_a_managed_policy_keeps_its_arn_and_no_more_versions_than_iam_does(lab: Lab) -> None:
    def program(action: str) -> None:
        document = {"Effect": "Allow", "Action": action, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [document]})
        made = aws.iam.Policy("policy", path="/small/", policy=policy, tags={"a": action[-1]})
        pulumi.export("arn", made.arn)

    def in_force(arn: str) -> tuple[Any, dict[str, str]]:
        iam = lab.client("iam")
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
        tags = iam.list_policy_tags(PolicyArn=arn)["Tags"]
        return found["Document"]["Statement"][0]["Action"], {t["Key"]: t["Value"] for t in tags}

    arn = lab.up(lambda: program("ec2:Do0")).outputs["arn"]
    assert arn.startswith("arn:aws:iam::123456789012:policy/small/policy-")
    for number in range(1, 7):
        changes = lab.up(lambda number=number: program(f"ec2:Do{number}"))
        assert (names(changes.updated), changes.outputs["arn"]) == (["policy"], arn)
        assert in_force(arn) == (f"ec2:Do{number}", {"a": str(number)})
    assert len(lab.client("iam").list_policy_versions(PolicyArn=arn)["Versions"]) == 5
    assert names(lab.up(lambda: None).deleted) == ["policy"]
    assert lab.client("iam").list_policies(Scope="Local")["Policies"] == []


def sealing(*, policy: str = "one", rotation: bool = True, alias: bool = True) -> Callable:
    """A program with a KMS key, and an alias for it."""

    def program() -> None:
        options = pulumi.ResourceOptions(provider=aws.Provider("aws", region=REGION))
        document = {"Version": "2012-10-17", "Statement": [{"Sid": policy}]}
        key = aws.kms.Key(
            "key",
            description=f"policy {policy}",
            enable_key_rotation=rotation,
            deletion_window_in_days=7,
            policy=json.dumps(document),
            tags={"policy": policy},
            opts=options,
        )
        if alias:
            aws.kms.Alias("alias", name="alias/x/lab", target_key_id=key.id, opts=options)
        pulumi.export("arn", key.arn)

    return program


def test_a_kms_key_is_changed_where_it_is_and_scheduled_for_deletion_when_it_goes(
    lab: Lab,
) -> None:
    arn = lab.up(sealing()).outputs["arn"]
    kms = lab.client("kms")

    def said() -> tuple[str, bool, list[dict[str, str]], str]:
        key = kms.describe_key(KeyId="alias/x/lab")["KeyMetadata"]
        id_ = key["KeyId"]
        assert key["Arn"] == arn, "it is not replaced: what it has encrypted would be lost"
        return (
            json.loads(kms.get_key_policy(KeyId=id_, PolicyName="default")["Policy"])["Statement"][
                0
            ]["Sid"],
            kms.get_key_rotation_status(KeyId=id_)["KeyRotationEnabled"],
            kms.list_resource_tags(KeyId=id_)["Tags"],
            key["Description"],
        )

    assert said() == ("one", True, [{"TagKey": "policy", "TagValue": "one"}], "policy one")
    lab.up(sealing(policy="two", rotation=False))
    assert said() == ("two", False, [{"TagKey": "policy", "TagValue": "two"}], "policy two")
    assert not lab.up(sealing(policy="two", rotation=False)).any
    lab.up(sealing(policy="two", rotation=False, alias=False))
    assert not [one for one in kms.list_aliases()["Aliases"] if one["AliasName"] == "alias/x/lab"]
    lab.up(lambda: None)
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_a_secure_parameter_is_refused(lab: Lab) -> None:
    def program() -> None:
        aws.ssm.Parameter("parameter", type="SecureString", value="hunter2")

    with pytest.raises(Exception, match="SecureString"):
        lab.up(program)
    assert not lab.state_file.exists()


def test_a_secret_stack_output_is_refused(lab: Lab) -> None:
    def program() -> None:
        pulumi.export("key", pulumi.Output.secret("hunter2"))

    with pytest.raises(Exception, match=r"output\.key: it is a secret"):
        lab.up(program)
    assert not lab.state_file.exists() or "hunter2" not in lab.state_file.read_text()


def test_the_state_file_is_its_owners_only(lab: Lab) -> None:
    lab.up(small())
    assert lab.state_file.stat().st_mode & 0o777 == 0o600


def test_names_are_logical_name_and_seven_hex_digits_and_stay(lab: Lab) -> None:
    lab.up(small())
    (parameter,) = lab.client("ssm").describe_parameters()["Parameters"]
    logical, _, suffix = parameter["Name"].rpartition("-")
    assert logical == "parameter"
    assert len(suffix) == 7
    int(suffix, 16)
    lab.up(small(parameter="two"))
    assert [p["Name"] for p in lab.client("ssm").describe_parameters()["Parameters"]] == [
        parameter["Name"]
    ]


def test_a_name_too_long_for_aws_is_refused(lab: Lab) -> None:
    def program() -> None:
        aws.lb.TargetGroup("a-name-that-is-much-too-long", port=1, protocol="UDP", vpc_id="x")

    with pytest.raises(Exception, match="36 characters with its suffix, at most 32"):
        lab.up(program)


def test_a_resource_without_a_provider_is_refused_where_defaults_are_disabled(lab: Lab) -> None:
    lab.config["pulumi:disable-default-providers"] = '["aws"]'
    lab.up(small())

    def program() -> None:
        aws.ec2.Vpc("vpc", cidr_block="10.9.0.0/24")

    with pytest.raises(Exception, match="the default provider of aws is disabled"):
        lab.up(program)


def test_a_lookup_is_refused(lab: Lab) -> None:
    def program() -> None:
        aws.get_availability_zones()

    with pytest.raises(Exception, match="a lookup"):
        lab.up(program)


def test_the_same_name_twice_is_refused(lab: Lab) -> None:
    def program() -> None:
        random.RandomUuid("seed")
        random.RandomUuid("seed")

    with pytest.raises(Exception, match="declared twice"):
        lab.up(program)


def test_another_account_than_the_stacks_is_refused(lab: Lab) -> None:
    def program() -> None:
        aws.Provider("aws", region=REGION, allowed_account_ids=["999999999999"])

    with pytest.raises(Exception, match="account 123456789012: accountIds of this stack are 9"):
        lab.up(program)


def test_a_protected_resource_is_neither_deleted_nor_replaced(lab: Lab) -> None:
    def program(cidr: str) -> None:
        options = pulumi.ResourceOptions(protect=True)
        aws.ec2.Vpc("vpc", cidr_block=cidr, opts=options)

    lab.up(lambda: program("10.9.0.0/24"))
    with pytest.raises(Exception, match="protected, and it must be replaced"):
        lab.up(lambda: program("10.8.0.0/24"))
    with pytest.raises(Refusal, match="protected; unprotect"):
        lab.up(lambda: None)
    assert len(lab.vpcs()) == 1


def test_a_retained_resource_is_forgotten_and_left(lab: Lab) -> None:
    def program() -> None:
        options = pulumi.ResourceOptions(retain_on_delete=True)
        aws.ec2.Vpc("vpc", cidr_block="10.9.0.0/24", opts=options)

    lab.up(program)
    assert names(lab.up(lambda: None).deleted) == ["vpc"]
    assert len(lab.vpcs()) == 1


def test_a_state_of_another_stack_is_refused(lab: Lab) -> None:
    other = {"version": 1, "stack": "x", "resources": [], "outputs": {}}
    lab.state_file.write_text(json.dumps(other))
    with pytest.raises(Refusal, match="version 1 of stack x"):
        lab.up(small())
    lab.state_file.write_text("{")
    with pytest.raises(Refusal, match="not a state file"):
        lab.up(small())


def test_the_report_names_what_changed_and_why(lab: Lab) -> None:
    lab.up(small())
    out = io.StringIO()
    engine.report(lab.up(small(dns=False), plan=True), plan=True, out=out)
    assert out.getvalue() == (
        " ~ aws:ec2/vpc:Vpc vpc [enableDnsHostnames]\n"
        "0 to create, 1 to update, 0 to replace, 0 to delete, 4 unchanged\n"
    )
