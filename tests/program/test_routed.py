"""Clients' own addresses in the VPC: what a stack gets for it, and what switching changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from iam_judge import Asked, allowing

import plan as plans

if TYPE_CHECKING:
    from recorder import Recorder

ACCOUNT = "210987654321"
TABLES = [f"arn:aws:ec2:eu-west-1:{ACCOUNT}:route-table/rtb-{number}" for number in ("0e", "0f")]
MADE = ["arn:aws:mock:::network-public-routes", "arn:aws:mock:::network-gateway-routes"]
REGISTRY = "arn:aws:mock:::peer-registry-table"
TAKING = ["ec2:CreateRoute", "ec2:ReplaceRoute"]
GIVING_UP = ["ec2:DeleteRoute"]
STATEMENTS = {
    "GiveUpRoutes",
    "ForgetRoutes",
    "SeeRoutes",
    "SwitchOwnCheck",
    "TakeRoutes",
    "HoldRoutes",
    "SeeOtherGateways",
}


def changed(stack: str, *, preview: bool = False, **config: Any) -> Recorder:
    change = {
        f"gatepair:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in config.items()
    }
    return plans.build(stack, preview=preview, change=change)


def rights(plan: Recorder) -> dict[str, Any]:
    return json.loads(plan.named("gateway-policy").inputs["policy"])


def instance(name: str, region: str = "eu-west-1") -> str:
    return f"arn:aws:ec2:{region}:{ACCOUNT}:instance/{name}"


def switching(asking: str, asked: str, **attributes: str) -> Asked:
    """ModifyInstanceAttribute of `asked` by `asking`, as AWS describes it to IAM."""
    context = {
        "ec2:SourceInstanceARN": [instance(asking)],
        "ec2:InstanceID": [asked],
        **{f"ec2:Attribute/{name}": [value] for name, value in attributes.items()},
    }
    return Asked("ec2:ModifyInstanceAttribute", instance(asked), context)


def on_item(action: str, key: str) -> Asked:
    return Asked(f"dynamodb:{action}", REGISTRY, {"dynamodb:LeadingKeys": [key]})


@pytest.fixture(scope="module")
def routed() -> dict[str, Any]:
    return rights(plans.built("routed"))


@pytest.fixture(scope="module")
def translating() -> dict[str, Any]:
    """The same stack, switched back."""
    return rights(changed("routed", egress="snat", connectionsToClients="false"))


@pytest.mark.parametrize("action", [*TAKING, *GIVING_UP])
@pytest.mark.parametrize("table", TABLES)
def test_a_gateway_may_change_the_routes_of_exactly_these_tables(
    routed: dict[str, Any], action: str, table: str
) -> None:
    assert len(allowing(routed, Asked(action, table))) == 1
    for other in (
        f"{table}0",
        table.replace("rtb-0", "rtb-1"),
        table.replace(ACCOUNT, "999999999999"),
        table.replace("eu-west-1", "eu-west-2"),
    ):
        assert not allowing(routed, Asked(action, other))


@pytest.mark.parametrize(
    "action",
    [
        "ec2:AssociateRouteTable",
        "ec2:DeleteRouteTable",
        "ec2:ReplaceRouteTableAssociation",
        "ec2:ModifyNetworkInterfaceAttribute",
        "ec2:AttachNetworkInterface",
        "ec2:CreateTags",
    ],
)
def test_nothing_else_of_the_network_is_a_gateways_to_change(
    routed: dict[str, Any], action: str
) -> None:
    for resource in ("*", *TABLES, instance("i-1")):
        assert not allowing(routed, Asked(action, resource))


def test_the_tables_of_a_new_vpc_are_named_by_their_own_arns() -> None:
    document = rights(changed("lab", egress="routed"))
    for action in (*TAKING, *GIVING_UP):
        assert [one for one in MADE if allowing(document, Asked(action, one))] == MADE
    (taking,) = [s for s in document["Statement"] if s["Sid"] == "TakeRoutes"]
    assert taking["Resource"] == MADE


def test_an_adopted_table_is_named_in_each_account_of_the_stack_and_in_no_other() -> None:
    document = rights(changed("routed", accountIds=["111111111111", "222222222222"]))
    (taking,) = [s for s in document["Statement"] if s["Sid"] == "TakeRoutes"]
    assert taking["Resource"] == [
        table.replace(ACCOUNT, account)
        for account in ("111111111111", "222222222222")
        for table in TABLES
    ]


def test_a_gateway_switches_its_own_check_off_and_nobody_elses(routed: dict[str, Any]) -> None:
    assert allowing(routed, switching("i-1", "i-1", SourceDestCheck="false")) == ["SwitchOwnCheck"]
    assert not allowing(routed, switching("i-1", "i-2", SourceDestCheck="false"))
    assert not allowing(routed, switching("i-1", "i-11", SourceDestCheck="false"))


@pytest.mark.parametrize("attribute", ["UserData", "InstanceType", "DisableApiTermination"])
def test_no_other_attribute_of_itself_is_a_gateways_to_modify(
    routed: dict[str, Any], translating: dict[str, Any], attribute: str
) -> None:
    for document in (routed, translating):
        for value in ("false", "true", "x"):
            assert not allowing(document, switching("i-1", "i-1", **{attribute: value}))
        assert not allowing(document, switching("i-1", "i-1"))


def test_who_holds_no_gateways_credentials_on_a_gateway_switches_nothing(
    routed: dict[str, Any],
) -> None:
    """Stolen and used elsewhere, they come without `ec2:SourceInstanceARN` of the target."""
    context = {"ec2:InstanceID": ["i-1"], "ec2:Attribute/SourceDestCheck": ["false"]}
    assert not allowing(routed, Asked("ec2:ModifyInstanceAttribute", instance("i-1"), context))


@pytest.mark.parametrize("action", ["UpdateItem", "DeleteItem"])
def test_gateways_arbitrate_in_the_items_of_routes_and_in_no_others(
    routed: dict[str, Any], action: str
) -> None:
    assert len(allowing(routed, on_item(action, "route"))) == 1
    for key in ("control", "peer", "generation", "command", "routes", "route#"):
        assert not allowing(routed, on_item(action, key))
    nothing_said = Asked(f"dynamodb:{action}", REGISTRY, {})
    assert not allowing(routed, nothing_said)
    assert not allowing(routed, on_item("PutItem", "route"))


@pytest.mark.parametrize(
    "action",
    [
        "ec2:DescribeRouteTables",
        "ec2:DescribeInstances",
        "elasticloadbalancing:DescribeTargetHealth",
    ],
)
def test_a_gateway_sees_what_decides_about_a_route(routed: dict[str, Any], action: str) -> None:
    assert len(allowing(routed, Asked(action))) == 1


def test_switched_back_gateways_can_still_give_up_what_they_hold_and_take_nothing(
    translating: dict[str, Any],
) -> None:
    for table in TABLES:
        assert allowing(translating, Asked("ec2:DeleteRoute", table)) == ["GiveUpRoutes"]
        assert not [a for a in TAKING if allowing(translating, Asked(a, table))]
    assert allowing(translating, on_item("DeleteItem", "route")) == ["ForgetRoutes"]
    assert not allowing(translating, on_item("UpdateItem", "route"))
    assert allowing(translating, switching("i-1", "i-1", SourceDestCheck="true"))
    assert not allowing(translating, switching("i-1", "i-1", SourceDestCheck="false"))
    assert not allowing(translating, switching("i-1", "i-2", SourceDestCheck="true"))


def test_a_stack_without_tables_gives_its_gateways_nothing_of_all_this() -> None:
    vpc = json.loads(plans.config("adopting")["gatepair:vpc"])
    del vpc["routeTableIds"]
    document = rights(changed("adopting", vpc=vpc))
    assert not STATEMENTS & {s["Sid"] for s in document["Statement"]}


def test_arns_of_routes_are_written_for_the_partition_of_the_region() -> None:
    document = rights(plans.built("adopting"))
    said = {s["Sid"]: s for s in document["Statement"]}
    assert said["GiveUpRoutes"]["Resource"] == [
        f"arn:aws-us-gov:ec2:us-gov-west-1:{ACCOUNT}:route-table/rtb-0e"
    ]
    where = "arn:aws-us-gov:ec2:us-gov-west-1:*:instance/"
    assert said["SwitchOwnCheck"]["Resource"] == f"{where}*"
    condition = said["SwitchOwnCheck"]["Condition"]["ArnLike"]
    assert condition == {"ec2:SourceInstanceARN": f"{where}${{ec2:InstanceID}}"}


# ------------------------------------------------------------------ security groups


def test_answers_to_clients_may_come_to_any_gateway_and_packets_cross_between_them() -> None:
    plan = plans.built("routed")
    routed_only = {
        d.name: {k: v for k, v in d.inputs.items() if k not in ("tags", "description")}
        for d in plan.of("securityGroupIngressRule:SecurityGroupIngressRule")
        if "to-clients" in d.name or "forwarded" in d.name
    }
    group = {"securityGroupId": "gateways-sg-id"}
    own = {"referencedSecurityGroupId": "gateways-sg-id"}
    assert routed_only == {
        "gateways-forwarded": {
            **group,
            **own,
            "ipProtocol": "udp",
            "fromPort": 4789,
            "toPort": 4789,
        },
        **{
            f"gateways-to-clients-from-{name}": {**group, "ipProtocol": "-1", "cidrIpv4": cidr}
            for name, cidr in (
                ("10.70.0.0-16", "10.70.0.0/16"),
                ("10.71.0.0-16", "10.71.0.0/16"),
                ("10.60.0.0-16", "10.60.0.0/16"),
            )
        },
    }


# ------------------------------------------------------------------ switching


def inputs(plan: Recorder) -> dict[str, Any]:
    return {urn: d.inputs for urn, d in plan.declared.items() if not urn.endswith("-code")}


@pytest.mark.parametrize("stack", ["lab", "dev", "prod", "routed"])
def test_switching_changes_what_gateways_are_told_and_may_do_and_replaces_none(stack: str) -> None:
    """Neither the launch template nor the group: both modes boot from the same user data."""
    snat = inputs(changed(stack, egress="snat", connectionsToClients="false"))
    routed = inputs(changed(stack, egress="routed"))
    assert not snat.keys() - routed.keys()
    added = {urn.rpartition("::")[2] for urn in routed.keys() - snat.keys()}
    assert all(name.startswith("gateways-to-clients-from-") for name in added - FORWARDED)
    assert added > FORWARDED
    touched = {urn.rpartition("::")[2] for urn in snat if snat[urn] != routed[urn]}
    assert touched == {"peer-registry-control", "gateway-policy"}


FORWARDED = {"gateways-forwarded"}


@pytest.mark.parametrize("stack", ["lab", "prod"])
def test_a_routed_stack_in_a_new_vpc_also_plans_before_anything_exists(stack: str) -> None:
    plan = changed(stack, egress="routed", preview=True)
    assert set(plan.declared) == set(changed(stack, egress="routed").declared)


def test_letting_hosts_call_clients_is_said_to_gateways_and_to_nobody_else() -> None:
    off = inputs(changed("routed", connectionsToClients="false"))
    on = inputs(plans.built("routed"))
    assert off.keys() == on.keys()
    (only,) = [urn for urn in on if on[urn] != off[urn]]
    assert only.endswith("::peer-registry-control")


# ------------------------------------------------------------------ the end of a stack


def outlives(plan: Recorder, name: str) -> set[str]:
    """Names of all that is made before `name`, and so deleted after it."""
    urns = {d.name: urn for urn, d in plan.declared.items()}
    found: set[str] = set()
    waiting = [urns[name]]
    while waiting:
        for urn in plan.declared[waiting.pop()].request.dependencies:
            if urn in plan.declared and urn not in found:
                found.add(urn)
                waiting.append(urn)
    return {plan.declared[urn].name for urn in found}


def test_all_that_a_gateway_needs_to_give_up_its_routes_outlives_the_last_gateway(
    stack: str, plan: Recorder
) -> None:
    kept = outlives(plan, "gateways-group")
    assert kept >= {
        "gateway-role",
        "gateway-policy",
        "gateway-profile",
        "gateways-to-https",
        "gateways-gossip",
        "peer-registry-table",
        "peer-registry-control",
    }
    rules = {
        d.name
        for kind in ("Ingress", "Egress")
        for d in plan.of(f"securityGroup{kind}Rule:SecurityGroup{kind}Rule")
        if d.name.startswith("gateways-")
    }
    assert kept >= rules
    if plan.of("ec2/vpc:Vpc"):
        zones = json.loads(plans.config(stack)["gatepair:vpc"])["availabilityZones"]
        ways = {f"network-gateway-{zone}-routes" for zone in zones}
        assert kept >= ways | {"network-gateway-default", "network-gateway-routes"}


def test_gateways_are_told_what_to_do_when_they_may_do_it(plan: Recorder) -> None:
    """Told first, they would let no packet through until IAM lets them take a route."""
    assert "gateway-policy" in outlives(plan, "peer-registry-control")


def test_a_gateway_that_a_destroy_ends_is_still_given_time_to_drain(plan: Recorder) -> None:
    """The hooks go with the group; deleted ahead of it they would no longer hold anything up."""
    group = plan.named("gateways-group").urn
    hooks = plan.of("lifecycleHook:LifecycleHook")
    assert [hook.request.deletedWith for hook in hooks] == [group, group]


def test_routes_are_never_inline_in_a_table_that_gateways_change(plan: Recorder) -> None:
    """Inline, Pulumi would take the gateways' routes out of the table at its next update."""
    for table in plan.of("ec2/routeTable:RouteTable"):
        assert "routes" not in table.inputs
    assert len(plan.of("ec2/route:Route")) in (0, 2)
