"""Network load balancers, target groups, listeners."""

from __future__ import annotations

from typing import Any

from lab.resources.base import (
    Context,
    Handler,
    Made,
    Name,
    Properties,
    changed,
    flag,
    given,
    gone_is_fine,
    retag,
    tag_list,
)


def _elb(context: Context) -> Any:
    return context.client("elbv2")


def _retag(context: Context, id_: str, old: Properties, new: Properties) -> None:
    client = _elb(context)
    retag(old, new, client.add_tags, client.remove_tags, ResourceArns=[id_])


def _tags(inputs: Properties) -> dict[str, Any]:
    tags = tag_list(inputs.get("tagsAll"))
    return {"Tags": tags} if tags else {}


def _attribute(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _attributes(inputs: Properties, names: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"Key": key, "Value": _attribute(inputs[name])}
        for name, key in names.items()
        if name in inputs
    ]


# Load balancer

_BALANCER_ATTRIBUTES = {
    "enableCrossZoneLoadBalancing": "load_balancing.cross_zone.enabled",
    "enableDeletionProtection": "deletion_protection.enabled",
    "dnsRecordClientRoutingPolicy": "dns_record.client_routing_policy",
}


def _create_balancer(context: Context, inputs: Properties) -> Made:
    arguments: dict[str, Any] = {
        "Name": inputs["name"],
        "Type": inputs.get("loadBalancerType", "application"),
        "Scheme": "internal" if inputs.get("internal") else "internet-facing",
        **given(
            inputs,
            IpAddressType="ipAddressType",
            SecurityGroups="securityGroups",
            Subnets="subnets",
        ),
        **_tags(inputs),
    }
    if "subnetMappings" in inputs:
        arguments["SubnetMappings"] = [
            given(
                mapping,
                SubnetId="subnetId",
                AllocationId="allocationId",
                PrivateIPv4Address="privateIpv4Address",
            )
            for mapping in inputs["subnetMappings"]
        ]
    made = _elb(context).create_load_balancer(**arguments)["LoadBalancers"][0]
    id_ = made["LoadBalancerArn"]
    _set_balancer_attributes(context, id_, {}, inputs)
    return id_, {
        "arn": id_,
        "arnSuffix": id_.split(":loadbalancer/")[-1],
        "dnsName": made["DNSName"],
        "zoneId": made["CanonicalHostedZoneId"],
        "vpcId": made["VpcId"],
    }


def _set_balancer_attributes(context: Context, id_: str, old: Properties, new: Properties) -> None:
    attributes = _attributes(new, _BALANCER_ATTRIBUTES)
    if attributes and changed(old, new, *_BALANCER_ATTRIBUTES):
        _elb(context).modify_load_balancer_attributes(LoadBalancerArn=id_, Attributes=attributes)


def _update_balancer(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    _set_balancer_attributes(context, id_, old, new)
    if changed(old, new, "securityGroups"):
        _elb(context).set_security_groups(
            LoadBalancerArn=id_, SecurityGroups=new.get("securityGroups", [])
        )
    _retag(context, id_, old, new)
    return {}


def _delete_balancer(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("LoadBalancerNotFound"):
        _elb(context).delete_load_balancer(LoadBalancerArn=id_)


def _balancers(context: Context, inputs: Properties) -> list[str]:
    found = _elb(context).describe_load_balancers()["LoadBalancers"]
    return [b["LoadBalancerArn"] for b in found if b["LoadBalancerName"] == inputs["name"]]


# Target group

_GROUP_ATTRIBUTES = {
    "deregistrationDelay": "deregistration_delay.timeout_seconds",
    "connectionTermination": "deregistration_delay.connection_termination.enabled",
    "preserveClientIp": "preserve_client_ip.enabled",
    "proxyProtocolV2": "proxy_protocol_v2.enabled",
    "loadBalancingCrossZoneEnabled": "load_balancing.cross_zone.enabled",
}
_HEALTH_CHECK = {
    "HealthCheckProtocol": "protocol",
    "HealthCheckPort": "port",
    "HealthCheckPath": "path",
    "HealthCheckIntervalSeconds": "interval",
    "HealthCheckTimeoutSeconds": "timeout",
    "HealthyThresholdCount": "healthyThreshold",
    "UnhealthyThresholdCount": "unhealthyThreshold",
    "HealthCheckEnabled": "enabled",
}


def _health_check(inputs: Properties) -> dict[str, Any]:
    check = inputs.get("healthCheck", {})
    arguments = given(check, **_HEALTH_CHECK)
    if "matcher" in check:
        arguments["Matcher"] = {"HttpCode": check["matcher"]}
    return arguments


def _group_attributes(inputs: Properties) -> list[dict[str, str]]:
    attributes = _attributes(inputs, _GROUP_ATTRIBUTES)
    stickiness = inputs.get("stickiness")
    if stickiness:
        enabled = _attribute(flag(stickiness.get("enabled", True)))
        attributes += [
            {"Key": "stickiness.enabled", "Value": enabled},
            {"Key": "stickiness.type", "Value": stickiness["type"]},
        ]
    for states in inputs.get("targetHealthStates", []):
        key = "target_health_state.unhealthy"
        terminated = _attribute(states["enableUnhealthyConnectionTermination"])
        attributes.append({"Key": f"{key}.connection_termination.enabled", "Value": terminated})
        if "unhealthyDrainingInterval" in states:
            seconds = str(states["unhealthyDrainingInterval"])
            attributes.append({"Key": f"{key}.draining_interval_seconds", "Value": seconds})
    return attributes


def _create_target_group(context: Context, inputs: Properties) -> Made:
    arguments = given(
        inputs,
        Name="name",
        Port="port",
        Protocol="protocol",
        VpcId="vpcId",
        TargetType="targetType",
        IpAddressType="ipAddressType",
    )
    made = _elb(context).create_target_group(**arguments, **_health_check(inputs), **_tags(inputs))[
        "TargetGroups"
    ][0]
    id_ = made["TargetGroupArn"]
    _set_group_attributes(context, id_, inputs)
    return id_, {"arn": id_, "arnSuffix": id_.split(":")[-1]}


def _set_group_attributes(context: Context, id_: str, inputs: Properties) -> None:
    attributes = _group_attributes(inputs)
    if attributes:
        _elb(context).modify_target_group_attributes(TargetGroupArn=id_, Attributes=attributes)


def _update_target_group(
    context: Context, id_: str, old: Properties, new: Properties
) -> Properties:
    if changed(old, new, "healthCheck"):
        _elb(context).modify_target_group(TargetGroupArn=id_, **_health_check(new))
    if changed(old, new, *_GROUP_ATTRIBUTES, "stickiness", "targetHealthStates"):
        _set_group_attributes(context, id_, new)
    _retag(context, id_, old, new)
    return {}


def _delete_target_group(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("TargetGroupNotFound"):
        _elb(context).delete_target_group(TargetGroupArn=id_)


def _target_groups(context: Context, inputs: Properties) -> list[str]:
    found = _elb(context).describe_target_groups()["TargetGroups"]
    return [g["TargetGroupArn"] for g in found if g["TargetGroupName"] == inputs["name"]]


# Listener


def _listener(inputs: Properties) -> dict[str, Any]:
    actions = [
        given(action, Type="type", TargetGroupArn="targetGroupArn")
        for action in inputs["defaultActions"]
    ]
    return {"DefaultActions": actions, **given(inputs, Port="port", Protocol="protocol")}


def _listener_attributes(context: Context, id_: str, inputs: Properties) -> None:
    if "tcpIdleTimeoutSeconds" in inputs:
        value = str(inputs["tcpIdleTimeoutSeconds"])
        _elb(context).modify_listener_attributes(
            ListenerArn=id_, Attributes=[{"Key": "tcp.idle_timeout.seconds", "Value": value}]
        )


def _create_listener(context: Context, inputs: Properties) -> Made:
    made = _elb(context).create_listener(
        LoadBalancerArn=inputs["loadBalancerArn"], **_listener(inputs), **_tags(inputs)
    )["Listeners"][0]
    id_ = made["ListenerArn"]
    _listener_attributes(context, id_, inputs)
    return id_, {"arn": id_}


def _update_listener(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    _elb(context).modify_listener(ListenerArn=id_, **_listener(new))
    _listener_attributes(context, id_, new)
    _retag(context, id_, old, new)
    return {}


def _delete_listener(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("ListenerNotFound", "LoadBalancerNotFound"):
        _elb(context).delete_listener(ListenerArn=id_)


def _listeners(context: Context, inputs: Properties) -> list[str]:
    found = _elb(context).describe_listeners(LoadBalancerArn=inputs["loadBalancerArn"])
    return [x["ListenerArn"] for x in found["Listeners"] if x["Port"] == inputs["port"]]


HANDLERS = {
    "aws:lb/loadBalancer:LoadBalancer": Handler(
        create=_create_balancer,
        update=_update_balancer,
        delete=_delete_balancer,
        properties=frozenset(
            {
                "internal",
                "ipAddressType",
                "loadBalancerType",
                "securityGroups",
                "subnetMappings",
                "subnets",
                *_BALANCER_ATTRIBUTES,
            }
        ),
        replaces=frozenset(
            {"name", "internal", "ipAddressType", "loadBalancerType", "subnetMappings", "subnets"}
        ),
        name=Name(limit=32),
        tagged=True,
        leftovers=_balancers,
    ),
    "aws:lb/targetGroup:TargetGroup": Handler(
        create=_create_target_group,
        update=_update_target_group,
        delete=_delete_target_group,
        properties=frozenset(
            {
                "port",
                "protocol",
                "vpcId",
                "targetType",
                "ipAddressType",
                "healthCheck",
                "stickiness",
                "targetHealthStates",
                *_GROUP_ATTRIBUTES,
            }
        ),
        replaces=frozenset({"name", "port", "protocol", "vpcId", "targetType", "ipAddressType"}),
        name=Name(limit=32),
        tagged=True,
        leftovers=_target_groups,
    ),
    "aws:lb/listener:Listener": Handler(
        create=_create_listener,
        update=_update_listener,
        delete=_delete_listener,
        properties=frozenset(
            {"loadBalancerArn", "port", "protocol", "defaultActions", "tcpIdleTimeoutSeconds"}
        ),
        replaces=frozenset({"loadBalancerArn"}),
        tagged=True,
        leftovers=_listeners,
    ),
}
