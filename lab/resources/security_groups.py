"""Security groups and their rules, one resource per rule."""

from __future__ import annotations

from functools import partial
from typing import Any

from lab.resources.base import (
    Context,
    Handler,
    Made,
    Name,
    Properties,
    changed,
    given,
    gone_is_fine,
)
from lab.resources.ec2 import ec2, filters, retag, tag_specification

_DEFAULT_DESCRIPTION = "Managed by Pulumi"
_RULE_GONE = (
    "InvalidSecurityGroupRuleId.NotFound",
    "InvalidPermission.NotFound",
    "InvalidGroup.NotFound",
)


def _create_group(context: Context, inputs: Properties) -> Made:
    made = ec2(context).create_security_group(
        GroupName=inputs["name"],
        Description=inputs.get("description", _DEFAULT_DESCRIPTION),
        VpcId=inputs["vpcId"],
        TagSpecifications=tag_specification("security-group", inputs),
    )
    id_ = made["GroupId"]
    # AWS gives each new group a rule that lets everything out; the provider takes it away
    group = ec2(context).describe_security_groups(GroupIds=[id_])["SecurityGroups"][0]
    if group["IpPermissionsEgress"]:
        ec2(context).revoke_security_group_egress(
            GroupId=id_, IpPermissions=group["IpPermissionsEgress"]
        )
    return id_, {
        "arn": context.arn("ec2", f"security-group/{id_}"),
        "ownerId": context.account,
        "description": inputs.get("description", _DEFAULT_DESCRIPTION),
    }


def _update_group(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    retag(context, id_, old, new)
    return {}


def _delete_group(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidGroup.NotFound"):
        ec2(context).delete_security_group(GroupId=id_)


def _groups(context: Context, inputs: Properties) -> list[str]:
    wanted = filters(vpc_id=inputs["vpcId"], group_name=inputs["name"])
    found = ec2(context).describe_security_groups(Filters=wanted)["SecurityGroups"]
    return [group["GroupId"] for group in found]


def _create_default_group(context: Context, inputs: Properties) -> Made:
    # Adopted, not made; without rules among its inputs the provider takes all of them away
    wanted = filters(vpc_id=inputs["vpcId"], group_name="default")
    group = ec2(context).describe_security_groups(Filters=wanted)["SecurityGroups"][0]
    id_ = group["GroupId"]
    if group["IpPermissions"]:
        ec2(context).revoke_security_group_ingress(
            GroupId=id_, IpPermissions=group["IpPermissions"]
        )
    if group["IpPermissionsEgress"]:
        ec2(context).revoke_security_group_egress(
            GroupId=id_, IpPermissions=group["IpPermissionsEgress"]
        )
    retag(context, id_, {}, inputs)
    return id_, {"arn": context.arn("ec2", f"security-group/{id_}"), "name": "default"}


def _forget(_: Context, __: str, ___: Properties) -> None:
    """A VPC's default group goes with its VPC."""


def _permission(inputs: Properties) -> dict[str, Any]:
    description = given(inputs, Description="description")
    permission: dict[str, Any] = {
        "IpProtocol": inputs["ipProtocol"],
        **given(inputs, FromPort="fromPort", ToPort="toPort"),
    }
    if "cidrIpv4" in inputs:
        permission["IpRanges"] = [{"CidrIp": inputs["cidrIpv4"], **description}]
    if "cidrIpv6" in inputs:
        permission["Ipv6Ranges"] = [{"CidrIpv6": inputs["cidrIpv6"], **description}]
    if "prefixListId" in inputs:
        permission["PrefixListIds"] = [{"PrefixListId": inputs["prefixListId"], **description}]
    if "referencedSecurityGroupId" in inputs:
        pair = {"GroupId": inputs["referencedSecurityGroupId"], **description}
        permission["UserIdGroupPairs"] = [pair]
    return permission


def _create_rule(context: Context, inputs: Properties, *, direction: str) -> Made:
    client = ec2(context)
    group = inputs["securityGroupId"]
    call = getattr(client, f"authorize_security_group_{direction}")
    tags = tag_specification("security-group-rule", inputs)
    made = call(GroupId=group, IpPermissions=[_permission(inputs)], TagSpecifications=tags)
    id_ = made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    arn = context.arn("ec2", f"security-group-rule/{id_}")
    return id_, {"arn": arn, "securityGroupRuleId": id_}


def _update_rule(
    context: Context, id_: str, old: Properties, new: Properties, *, direction: str
) -> Properties:
    if changed(old, new, *_RULE_PROPERTIES):
        # The API changes a rule in place; in moto the rule is made anew, its id with it
        _delete_rule(context, id_, old, direction=direction)
        id_, outputs = _create_rule(context, new, direction=direction)
        return {"id": id_, **outputs}
    retag(context, id_, old, new)
    return {}


def _delete_rule(context: Context, id_: str, properties: Properties, *, direction: str) -> None:
    call = getattr(ec2(context), f"revoke_security_group_{direction}")
    with gone_is_fine(*_RULE_GONE):
        call(GroupId=properties["securityGroupId"], SecurityGroupRuleIds=[id_])


def _rules(context: Context, inputs: Properties, *, direction: str) -> list[str]:
    wanted = filters(group_id=inputs["securityGroupId"])
    found = ec2(context).describe_security_group_rules(Filters=wanted)["SecurityGroupRules"]
    egress = direction == "egress"
    return [rule["SecurityGroupRuleId"] for rule in found if rule["IsEgress"] is egress]


_RULE_PROPERTIES = frozenset(
    {
        "securityGroupId",
        "cidrIpv4",
        "cidrIpv6",
        "prefixListId",
        "referencedSecurityGroupId",
        "fromPort",
        "toPort",
        "ipProtocol",
        "description",
    }
)


def _rule_handler(direction: str) -> Handler:
    return Handler(
        create=partial(_create_rule, direction=direction),
        update=partial(_update_rule, direction=direction),
        delete=partial(_delete_rule, direction=direction),
        properties=_RULE_PROPERTIES,
        replaces=frozenset({"securityGroupId"}),
        tagged=True,
        leftovers=partial(_rules, direction=direction),
    )


HANDLERS = {
    "aws:ec2/securityGroup:SecurityGroup": Handler(
        create=_create_group,
        update=_update_group,
        delete=_delete_group,
        # How the provider deletes a group: nothing to do here
        properties=frozenset({"vpcId", "description", "revokeRulesOnDelete"}),
        replaces=frozenset({"vpcId", "name", "description"}),
        name=Name(),
        tagged=True,
        leftovers=_groups,
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Handler(
        create=_create_default_group,
        update=_update_group,
        delete=_forget,
        properties=frozenset({"vpcId"}),
        replaces=frozenset({"vpcId"}),
        tagged=True,
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _rule_handler("ingress"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _rule_handler("egress"),
}
