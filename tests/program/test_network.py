"""The network of a new VPC, and the load balancer that stands in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import plan as plans

if TYPE_CHECKING:
    from recorder import Recorder

ZONES = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]


def test_each_zone_has_a_public_subnet_and_one_for_gateways(mine: Recorder) -> None:
    assert {
        d.name: (
            d.inputs["availabilityZone"],
            d.inputs["cidrBlock"],
            d.inputs["mapPublicIpOnLaunch"],
        )
        for d in mine.of("subnet:Subnet")
    } == {
        "network-public-eu-central-1a": (ZONES[0], "172.20.0.0/28", False),
        "network-public-eu-central-1b": (ZONES[1], "172.20.0.16/28", False),
        "network-public-eu-central-1c": (ZONES[2], "172.20.0.32/28", False),
        "network-gateway-eu-central-1a": (ZONES[0], "172.20.0.128/28", True),
        "network-gateway-eu-central-1b": (ZONES[1], "172.20.0.144/28", True),
        "network-gateway-eu-central-1c": (ZONES[2], "172.20.0.160/28", True),
    }


def test_both_kinds_of_subnet_are_routed_to_the_internet_gateway(mine: Recorder) -> None:
    for kind in ("public", "gateway"):
        route = mine.named(f"network-{kind}-default").inputs
        assert route == {
            "routeTableId": f"network-{kind}-routes-id",
            "destinationCidrBlock": "0.0.0.0/0",
            "gatewayId": "network-internet-id",
        }
        for zone in ZONES:
            assert mine.named(f"network-{kind}-{zone}-routes").inputs == {
                "routeTableId": f"network-{kind}-routes-id",
                "subnetId": f"network-{kind}-{zone}-id",
            }


def test_no_nat_gateway_is_paid_for(plan: Recorder) -> None:
    assert not plan.of("natGateway:NatGateway")


def test_gateways_reach_s3_and_dynamodb_without_leaving_aws(mine: Recorder) -> None:
    assert {
        (d.inputs["serviceName"], d.inputs["vpcEndpointType"], *d.inputs["routeTableIds"])
        for d in mine.of("vpcEndpoint:VpcEndpoint")
    } == {
        ("com.amazonaws.eu-central-1.s3", "Gateway", "network-gateway-routes-id"),
        ("com.amazonaws.eu-central-1.dynamodb", "Gateway", "network-gateway-routes-id"),
    }


def test_the_load_balancer_has_an_address_of_its_own_in_each_zone(mine: Recorder) -> None:
    assert {d.name for d in mine.of("eip:Eip")} == {f"load-balancer-address-{z}" for z in ZONES}
    assert mine.one("loadBalancer:LoadBalancer").inputs["subnetMappings"] == [
        {
            "subnetId": f"network-public-{zone}-id",
            "allocationId": f"load-balancer-address-{zone}-allocation",
        }
        for zone in ZONES
    ]


def test_the_load_balancer_crosses_zones_and_has_its_security_group_from_the_start(
    plan: Recorder,
) -> None:
    inputs = plan.one("loadBalancer:LoadBalancer").inputs
    assert inputs["loadBalancerType"] == "network"
    assert inputs["internal"] is False
    assert inputs["enableCrossZoneLoadBalancing"] is True
    assert inputs["securityGroups"] == ["load-balancer-sg-id"]
    assert "subnets" not in inputs


@pytest.mark.parametrize("slot", [0, 1])
def test_each_key_slot_has_a_listener_and_targets_of_its_own(mine: Recorder, slot: int) -> None:
    listener = mine.named(f"load-balancer-listener-{slot}").inputs
    assert listener["loadBalancerArn"] == "arn:aws:mock:::load-balancer-nlb"
    assert (listener["protocol"], listener["port"]) == ("UDP", 4500 + slot)
    assert listener["defaultActions"] == [
        {"type": "forward", "targetGroupArn": f"arn:aws:mock:::load-balancer-slot-{slot}"}
    ]
    targets = mine.named(f"load-balancer-slot-{slot}").inputs
    assert {key: value for key, value in targets.items() if key != "tags"} == {
        "vpcId": "network-vpc-id",
        "targetType": "instance",
        "protocol": "UDP",
        "port": 4500 + slot,
        "healthCheck": {
            "enabled": True,
            "protocol": "HTTP",
            "path": f"/healthz/{slot}",
            "port": "8080",
            "interval": 5,
            "timeout": 2,
            "healthyThreshold": 2,
            "unhealthyThreshold": 2,
            "matcher": "200",
        },
        "deregistrationDelay": 0,
        "connectionTermination": True,
        "preserveClientIp": "true",
    }


def test_there_are_two_slots_whatever_generations_are_served(plan: Recorder) -> None:
    assert len(plan.of("listener:Listener")) == 2
    assert len(plan.of("targetGroup:TargetGroup")) == 2


def test_the_vpc_of_everything_is_the_one_whose_internet_gateway_stands() -> None:
    """An internet-facing load balancer is refused in a VPC without one."""
    plan = plans.built("mine")
    for d in plan.of("subnet:Subnet") + plan.of("securityGroup:SecurityGroup"):
        waits_for = d.request.propertyDependencies["vpcId"].urns
        assert any("InternetGateway" in urn for urn in waits_for), d.urn
