"""The gateways: what they boot from, how they are replaced, what they are told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import plan as plans
from components import artifact
from recorder import public_address

if TYPE_CHECKING:
    from recorder import Recorder


def user_data(plan: Recorder) -> dict[str, Any]:
    text = base64.b64decode(plan.one("launchTemplate:LaunchTemplate").inputs["userData"]).decode()
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def told(plan: Recorder) -> dict[str, Any]:
    """/etc/gatepair/environment.json of a new gateway."""
    (entry,) = [f for f in user_data(plan)["write_files"] if f["path"].endswith("environment.json")]
    return json.loads(base64.b64decode(entry["content"]))


def test_a_gateway_boots_from_the_pinned_image_onto_an_encrypted_disk(mine: Recorder) -> None:
    template = mine.one("launchTemplate:LaunchTemplate").inputs
    assert template["imageId"] == "ami-0fedcba9876543210"
    assert template["instanceType"] == "m7i.large"
    assert template["iamInstanceProfile"] == {"arn": "arn:aws:mock:::gateway-profile"}
    assert template["vpcSecurityGroupIds"] == ["gateways-sg-id"]
    assert template["blockDeviceMappings"] == [
        {
            "deviceName": "/dev/xvda",
            "ebs": {
                "encrypted": "true",
                "volumeType": "gp3",
                "volumeSize": 8,
                "deleteOnTermination": "true",
            },
        }
    ]


def test_what_is_made_from_the_template_is_tagged_too(mine: Recorder) -> None:
    specified = mine.one("launchTemplate:LaunchTemplate").inputs["tagSpecifications"]
    assert [s["resourceType"] for s in specified] == ["instance", "volume", "network-interface"]
    for s in specified:
        wanted = {"project": "gatepair", "stack": "mine", "Name": "gateways-gateway"}
        assert s["tags"] == wanted


@pytest.mark.parametrize(("stack", "count", "most"), [("dev", 2, 3), ("mine", 3, 4)])
def test_the_group_has_the_gateways_asked_for_and_room_to_replace_one(
    stack: str, count: int, most: int
) -> None:
    group = plans.built(stack).one("autoscaling/group:Group").inputs
    assert (group["minSize"], group["desiredCapacity"], group["maxSize"]) == (count, count, most)


def test_the_group_spans_the_zones_and_feeds_both_slots(mine: Recorder) -> None:
    group = mine.one("autoscaling/group:Group").inputs
    assert group["vpcZoneIdentifiers"] == [
        "network-gateway-eu-central-1a-id",
        "network-gateway-eu-central-1b-id",
        "network-gateway-eu-central-1c-id",
    ]
    assert group["targetGroupArns"] == [
        "arn:aws:mock:::load-balancer-slot-0",
        "arn:aws:mock:::load-balancer-slot-1",
    ]


def test_the_group_runs_one_version_and_replaces_by_launching_first(plan: Recorder) -> None:
    group = plan.one("autoscaling/group:Group").inputs
    assert group["launchTemplate"] == {"id": "gateways-template-id", "version": "3"}
    assert group["healthCheckType"] == "EC2"
    refresh = group["instanceRefresh"]
    assert refresh["strategy"] == "Rolling"
    assert refresh["preferences"]["minHealthyPercentage"] == 100
    assert refresh["preferences"]["maxHealthyPercentage"] == 150


@pytest.mark.parametrize(("stack", "warmup"), [("lab", 20), ("prod", 120)])
def test_every_replacement_launches_first_whoever_asks_for_it(stack: str, warmup: int) -> None:
    group = plans.built(stack).one("autoscaling/group:Group").inputs
    assert group["instanceMaintenancePolicy"] == {
        "minHealthyPercentage": 100,
        "maxHealthyPercentage": 150,
    }
    assert group["defaultInstanceWarmup"] == warmup
    assert group["instanceRefresh"]["preferences"]["instanceWarmup"] == str(warmup)


def test_gateways_say_themselves_when_they_serve_and_when_they_have_drained(
    plan: Recorder,
) -> None:
    hooks = {d.inputs["name"]: d.inputs for d in plan.of("lifecycleHook:LifecycleHook")}
    assert set(hooks) == {"launch", "terminate"}
    for hook in hooks.values():
        assert hook["autoscalingGroupName"] == "gateways-group-name"
    launch, terminate = hooks["launch"], hooks["terminate"]
    assert launch["lifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    assert launch["defaultResult"] == "ABANDON"
    assert terminate["lifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert terminate["defaultResult"] == "CONTINUE"
    assert told(plan)["lifecycle_hooks"] == {"launch": "launch", "terminate": "terminate"}


def test_user_data_fits_and_installs_the_bootstrap_as_it_is_committed(plan: Recorder) -> None:
    raw = base64.b64decode(plan.one("launchTemplate:LaunchTemplate").inputs["userData"])
    assert len(raw) < 16 * 1024
    files = {
        f["path"]: base64.b64decode(f["content"])
        for f in user_data(plan)["write_files"]
        if f.get("encoding") == "b64"
    }
    committed = plans.ROOT / "gateway" / "cloud-init" / "bootstrap.py"
    assert files["/usr/local/sbin/gatepair-bootstrap"] == committed.read_bytes()


def test_the_serial_console_is_a_way_in_and_no_key_or_password_is_another(plan: Recorder) -> None:
    document = user_data(plan)
    (console,) = [f for f in document["write_files"] if "serial-getty@ttyS0" in f["path"]]
    cleared, command = console["content"].splitlines()[-2:]
    assert cleared == "ExecStart="
    assert "--autologin root" in command
    assert command.endswith("%I $TERM")
    assert not {"ssh_authorized_keys", "users", "password", "chpasswd", "ssh_pwauth"} & {*document}
    assert "keyName" not in plan.one("launchTemplate:LaunchTemplate").inputs


def test_a_gateway_is_told_exactly_where_it_belongs(mine: Recorder) -> None:
    made = artifact.build(plans.ROOT)
    assert told(mine) == {
        "stack": "mine",
        "region": "eu-central-1",
        "table": "peer-registry-table-name",
        "secret_arn": "arn:aws:mock:::gateway-key-secret",
        "key_seed": "5e6ab1d8-0000-4000-8000-00000000feed",
        "port": 4500,
        "health_port": 8080,
        "metrics_port": 9586,
        "gossip_port": 9600,
        "mtu": 1380,
        "client_pool": "10.99.0.0/24",
        "vpc_cidrs": ["172.20.0.0/20"],
        "routed_cidrs": ["10.60.0.0/16", "10.61.0.0/16"],
        "peer_to_peer": True,
        "connection_log": "audit-connections-name",
        "lifecycle_hooks": {"launch": "launch", "terminate": "terminate"},
        "artifact": {"bucket": "artifact-bucket-id", "key": made.key, "sha256": made.sha256},
    }


def test_the_artifact_is_uploaded_by_its_hash_and_an_older_one_stays(plan: Recorder) -> None:
    made = artifact.build(plans.ROOT)
    stored = plan.named("artifact-code")
    assert stored.inputs["key"] == f"gateway-{made.sha256}.tar"
    assert Path(stored.inputs["source"].path).read_bytes() == made.data
    assert stored.request.retainOnDelete


def test_the_image_waits_for_the_code_and_for_the_right_to_fetch_it(plan: Recorder) -> None:
    waits_for = plan.one("launchTemplate:LaunchTemplate").request.propertyDependencies
    assert any("BucketObjectv2" in urn for urn in waits_for["userData"].urns)
    profile = plan.one("instanceProfile:InstanceProfile").request.propertyDependencies
    assert any("RolePolicy" in urn for urn in profile["role"].urns)


def test_operators_find_the_whole_environment_in_one_parameter(mine: Recorder) -> None:
    parameter = mine.one("ssm/parameter:Parameter").inputs
    assert parameter["type"] == "String"
    assert json.loads(parameter["insecureValue"]) == {
        "stack": "mine",
        "region": "eu-central-1",
        "table": "peer-registry-table-name",
        "archive": "peer-registry-archive-bucket-id",
        "connection_log": "audit-connections-name",
        "secret_arn": "arn:aws:mock:::gateway-key-secret",
        "auto_scaling_group": "gateways-group-name",
        "load_balancer_arn": "arn:aws:mock:::load-balancer-nlb",
        "target_group_arns": [
            "arn:aws:mock:::load-balancer-slot-0",
            "arn:aws:mock:::load-balancer-slot-1",
        ],
        "endpoint": "vpn.example.com",
        "addresses": [
            public_address(f"load-balancer-address-eu-central-1{zone}") for zone in "abc"
        ],
        "port": 4500,
        "mtu": 1380,
        "client_pool": "10.99.0.0/24",
        "vpc_cidrs": ["172.20.0.0/20"],
        "routed_cidrs": ["10.60.0.0/16", "10.61.0.0/16"],
        "dns": {"servers": ["172.20.0.2", "10.60.0.53"], "search_domains": ["corp.example.com"]},
    }


def test_clients_dial_the_load_balancers_own_name_where_no_other_is_given() -> None:
    says = json.loads(plans.built("dev").one("ssm/parameter:Parameter").inputs["insecureValue"])
    assert says["endpoint"] == "load-balancer-nlb.example"
