"""The whole program, run once for each stack: what it must be whatever the stack says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml

import plan as plans
from settings import WrongSettings

if TYPE_CHECKING:
    from recorder import Declared, Recorder

KEPT = {
    "aws:ec2/vpc:Vpc",
    "aws:ec2/eip:Eip",
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:kms/key:Key",
    "aws:secretsmanager/secret:Secret",
    "aws:dynamodb/table:Table",
    "random:index/randomUuid:RandomUuid",
}
"""What nobody can make again as it was."""
UNTAGGABLE = {
    "aws:autoscaling/lifecycleHook:LifecycleHook",
    "aws:cloudwatch/dashboard:Dashboard",
    "aws:dynamodb/tableItem:TableItem",
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:kms/alias:Alias",
    "aws:lambda/functionUrl:FunctionUrl",
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketVersioning:BucketVersioning",
    "aws:sns/topicPolicy:TopicPolicy",
    "aws:sns/topicSubscription:TopicSubscription",
}


def aws(plan: Recorder) -> list[Declared]:
    return [d for d in plan.declared.values() if d.typ.startswith("aws:")]


def tags_of(declared: Declared) -> dict[str, str]:
    tags: Any = declared.inputs["tags"]
    if isinstance(tags, list):  # an Auto Scaling group's
        return {tag["key"]: tag["value"] for tag in tags}
    return tags


def test_there_are_stacks_to_test() -> None:
    assert {"lab", "dev", "prod", "mine", "adopting", "routed"} <= set(plans.STACKS)


def test_each_stack_also_plans_before_anything_exists(stack: str) -> None:
    assert set(plans.built(stack, preview=True).declared) == set(plans.built(stack).declared)


def test_only_components_and_providers_hang_off_the_stack(plan: Recorder) -> None:
    for d in plan.declared.values():
        if d.parent not in plan.declared:
            assert d.is_component or d.is_provider, f"{d.urn} lost its parent"


def test_each_child_carries_the_name_of_its_component(plan: Recorder) -> None:
    assert list(plan.children())
    for parent, child in plan.children():
        assert child.name.startswith(f"{parent.name}-"), child.urn


def test_every_component_has_a_token_of_this_project(stack: str, plan: Recorder) -> None:
    tokens = {d.typ for d in plan.declared.values() if d.is_component}
    optional = {"gatepair:http_api:HttpApi", "gatepair:preshared_keys:PresharedKeys"}
    assert tokens & optional == (optional if stack == "lab" else set())
    tokens -= optional
    assert tokens == {
        "gatepair:artifact_store:ArtifactStore",
        "gatepair:audit_archive:AuditArchive",
        "gatepair:connection_log:ConnectionLog",
        "gatepair:environment:Environment",
        "gatepair:flow_logs:FlowLogs",
        "gatepair:gateway_key:GatewayKey",
        "gatepair:gateway_role:GatewayRole",
        "gatepair:gateways:Gateways",
        "gatepair:load_balancer:LoadBalancer",
        "gatepair:monitoring:Monitoring",
        "gatepair:network:Network",
        "gatepair:operator_policies:OperatorPolicies",
        "gatepair:peer_registry:PeerRegistry",
    }


def test_every_resource_uses_the_explicit_provider(plan: Recorder) -> None:
    for d in aws(plan):
        assert "pulumi:providers:aws::aws::" in d.provider, f"{d.urn}: {d.provider!r}"


def test_a_forgotten_provider_is_an_error_in_every_stack(stack: str) -> None:
    assert json.loads(plans.config(stack)["pulumi:disable-default-providers"]) == ["aws"]


def test_the_provider_stops_in_another_account_or_region(stack: str, plan: Recorder) -> None:
    inputs = plan.one("pulumi:providers:aws").inputs
    config = plans.config(stack)
    assert inputs["allowedAccountIds"] == config["gatepair:accountIds"].replace(",", ", ")
    assert inputs["region"] == config["aws:region"]


def test_everything_that_takes_tags_says_whose_it_is(stack: str, plan: Recorder) -> None:
    mine = {"project": "gatepair", "stack": stack}
    for d in aws(plan):
        if d.typ not in UNTAGGABLE:
            assert tags_of(d).items() >= mine.items(), d.urn
    provider = json.loads(plan.one("pulumi:providers:aws").inputs["defaultTags"])
    assert provider == {"tags": mine}


def test_no_name_in_aws_is_chosen_but_those_that_others_look_for(
    stack: str, plan: Recorder
) -> None:
    named = {d.name: d.inputs["name"] for d in aws(plan) if "name" in d.inputs}
    alias = {"preshared-keys-alias": f"alias/gatepair/{stack}"}
    assert named == {
        **(alias if stack == "lab" else {}),
        "environment-parameter": f"/gatepair/{stack}",
        "gateways-launch": "launch",
        "gateways-terminate": "terminate",
        "operator-viewer": f"gatepair-{stack}-viewer",
        "operator-auditor": f"gatepair-{stack}-auditor",
        "operator-peer-admin": f"gatepair-{stack}-peer-admin",
        "operator-gateway-admin": f"gatepair-{stack}-gateway-admin",
    }


def test_what_cannot_be_made_again_is_protected_where_the_stack_says_so(
    stack: str, plan: Recorder
) -> None:
    wanted = plans.config(stack)["gatepair:protect"] == "true"
    for d in plan.declared.values():
        kept = d.typ in KEPT or d.name in {
            "audit-connections",
            "network-flows-log",
            "peer-registry-archive-bucket",
        }
        assert bool(d.request.protect) == (wanted and kept), d.urn
    assert plan.one("dynamodb/table:Table").inputs["deletionProtectionEnabled"] is wanted
    assert plan.one("lb/loadBalancer:LoadBalancer").inputs["enableDeletionProtection"] is wanted
    buckets = plan.of("s3/bucket:Bucket")
    assert [bucket.inputs["forceDestroy"] for bucket in buckets] == [not wanted] * 2
    days = plan.one("secretsmanager/secret:Secret").inputs["recoveryWindowInDays"]
    assert days == (30 if wanted else 0)


def test_production_is_protected_and_the_lab_is_not() -> None:
    assert plans.config("prod")["gatepair:protect"] == "true"
    assert plans.config("lab")["gatepair:protect"] == "false"


def test_an_adopted_vpc_gets_nothing_but_what_must_stand_in_it() -> None:
    plan = plans.built("adopting")
    assert [c.name for p, c in plan.children() if p.name == "network"] == ["network-flows"]
    balancer = plan.one("lb/loadBalancer:LoadBalancer").inputs
    assert [m["subnetId"] for m in balancer["subnetMappings"]] == ["subnet-0a", "subnet-0b"]
    group = plan.one("autoscaling/group:Group").inputs
    assert group["vpcZoneIdentifiers"] == ["subnet-0c", "subnet-0d"]
    for kind in ("securityGroup:SecurityGroup", "targetGroup:TargetGroup"):
        assert {d.inputs["vpcId"] for d in plan.of(kind)} == {"vpc-0123456789abcdef0"}


def test_the_program_is_wiring_and_settings_alone_reads_configuration() -> None:
    assert len((plans.ROOT / "__main__.py").read_text().splitlines()) < 80
    for path in [plans.ROOT / "__main__.py", *(plans.ROOT / "components").glob("*.py")]:
        assert "Config(" not in path.read_text(), path


def test_wrong_settings_stop_the_program_before_it_declares_anything() -> None:
    with pytest.raises(WrongSettings, match="amiId"):
        plans.build("dev", preview=True, change={"gatepair:amiId": ""})


def test_a_wrong_setting_ends_pulumi_without_a_stack_trace() -> None:
    assert issubclass(WrongSettings, pulumi.RunError)


def test_the_engine_knows_every_type_the_project_file_declares() -> None:
    """After `simpleConfigType` of Pulumi's schema of project files."""
    project = yaml.safe_load((plans.ROOT / "Pulumi.yaml").read_text())
    for key, declared in project["config"].items():
        assert set(declared) <= {"type", "items", "default", "description"}, key
        assert declared["type"] in {"string", "integer", "boolean", "array", "object"}, key
        assert (declared["type"] == "array") == ("items" in declared), key
        assert "default" in declared, f"{key}: the engine would refuse it before settings.py can"
        assert declared["description"].strip(), key


@pytest.mark.parametrize("stack", [*plans.COMMITTED, "routed"])
def test_no_resource_changes_its_identity_unnoticed(stack: str) -> None:
    """A changed URN is a destroyed resource unless an alias goes with it.

    Not a change detector: the file is the list of live identities, and the diff of it is what a
    reviewer must see. Rewrite it with `UPDATE_URNS=1 pytest tests/program`.
    """
    golden = Path(__file__).with_name(f"urns.{stack}.txt")
    now = "".join(f"{urn}\n" for urn in sorted(plans.built(stack).declared))
    if os.environ.get("UPDATE_URNS"):
        golden.write_text(now)
    assert now == golden.read_text()
