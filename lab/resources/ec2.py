"""VPC, subnets, routes, endpoints, addresses, launch templates."""

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
    tag_list,
    tags_changed,
)


def ec2(context: Context) -> Any:
    """The service's client."""
    return context.client("ec2")


def tag_specification(kind: str, inputs: Properties) -> list[dict[str, Any]]:
    """`TagSpecifications` of a create call; empty without tags (the API wants none then)."""
    tags = tag_list(inputs.get("tagsAll"))
    return [{"ResourceType": kind, "Tags": tags}] if tags else []


def retag(context: Context, id_: str, old: Properties, new: Properties) -> None:
    """Bring the tags of an EC2 resource up to date."""
    put, dropped = tags_changed(old, new)
    if put:
        ec2(context).create_tags(Resources=[id_], Tags=tag_list(put))
    if dropped:
        ec2(context).delete_tags(Resources=[id_], Tags=[{"Key": key} for key in dropped])


def filters(**values: str) -> list[dict[str, Any]]:
    """Filters of a describe call; `_` in a name stands for `-`."""
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in values.items()]


# VPC

_VPC_ATTRIBUTES = {
    "enableDnsHostnames": "EnableDnsHostnames",
    "enableDnsSupport": "EnableDnsSupport",
}


def _create_vpc(context: Context, inputs: Properties) -> Made:
    arguments = given(inputs, CidrBlock="cidrBlock", InstanceTenancy="instanceTenancy")
    tags = tag_specification("vpc", inputs)
    vpc = ec2(context).create_vpc(**arguments, TagSpecifications=tags)["Vpc"]
    id_ = vpc["VpcId"]
    _set_vpc_attributes(context, id_, {}, inputs)
    main = ec2(context).describe_route_tables(Filters=filters(vpc_id=id_))["RouteTables"][0]
    group = ec2(context).describe_security_groups(
        Filters=filters(vpc_id=id_, group_name="default")
    )["SecurityGroups"][0]
    return id_, {
        "arn": context.arn("ec2", f"vpc/{id_}"),
        "ownerId": context.account,
        "mainRouteTableId": main["RouteTableId"],
        "defaultRouteTableId": main["RouteTableId"],
        "defaultSecurityGroupId": group["GroupId"],
    }


def _update_vpc(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    _set_vpc_attributes(context, id_, old, new)
    retag(context, id_, old, new)
    return {}


def _set_vpc_attributes(context: Context, id_: str, old: Properties, new: Properties) -> None:
    for name, api in _VPC_ATTRIBUTES.items():
        if name in new and old.get(name) != new[name]:
            ec2(context).modify_vpc_attribute(VpcId=id_, **{api: {"Value": new[name]}})


def _delete_vpc(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidVpcID.NotFound"):
        ec2(context).delete_vpc(VpcId=id_)


def _vpcs(context: Context, inputs: Properties) -> list[str]:
    found = ec2(context).describe_vpcs(Filters=filters(cidr=inputs["cidrBlock"]))
    return [vpc["VpcId"] for vpc in found["Vpcs"] if not vpc["IsDefault"]]


# Subnet


def _create_subnet(context: Context, inputs: Properties) -> Made:
    arguments = given(
        inputs,
        VpcId="vpcId",
        CidrBlock="cidrBlock",
        AvailabilityZone="availabilityZone",
        AvailabilityZoneId="availabilityZoneId",
    )
    tags = tag_specification("subnet", inputs)
    subnet = ec2(context).create_subnet(**arguments, TagSpecifications=tags)["Subnet"]
    id_ = subnet["SubnetId"]
    _map_public(context, id_, {}, inputs)
    return id_, {
        "arn": context.arn("ec2", f"subnet/{id_}"),
        "ownerId": context.account,
        "availabilityZone": subnet["AvailabilityZone"],
        "availabilityZoneId": subnet["AvailabilityZoneId"],
    }


def _update_subnet(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    _map_public(context, id_, old, new)
    retag(context, id_, old, new)
    return {}


def _map_public(context: Context, id_: str, old: Properties, new: Properties) -> None:
    before, after = bool(old.get("mapPublicIpOnLaunch")), bool(new.get("mapPublicIpOnLaunch"))
    if before != after:
        ec2(context).modify_subnet_attribute(SubnetId=id_, MapPublicIpOnLaunch={"Value": after})


def _delete_subnet(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidSubnetID.NotFound"):
        ec2(context).delete_subnet(SubnetId=id_)


def _subnets(context: Context, inputs: Properties) -> list[str]:
    wanted = filters(vpc_id=inputs["vpcId"], cidr_block=inputs["cidrBlock"])
    return [s["SubnetId"] for s in ec2(context).describe_subnets(Filters=wanted)["Subnets"]]


# Internet gateway


def _create_gateway(context: Context, inputs: Properties) -> Made:
    tags = tag_specification("internet-gateway", inputs)
    made = ec2(context).create_internet_gateway(TagSpecifications=tags)["InternetGateway"]
    id_ = made["InternetGatewayId"]
    ec2(context).attach_internet_gateway(InternetGatewayId=id_, VpcId=inputs["vpcId"])
    return id_, {
        "arn": context.arn("ec2", f"internet-gateway/{id_}"),
        "ownerId": context.account,
    }


def _update_tags_only(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    retag(context, id_, old, new)
    return {}


def _delete_gateway(context: Context, id_: str, properties: Properties) -> None:
    with gone_is_fine("InvalidInternetGatewayID.NotFound", "Gateway.NotAttached"):
        ec2(context).detach_internet_gateway(InternetGatewayId=id_, VpcId=properties["vpcId"])
    with gone_is_fine("InvalidInternetGatewayID.NotFound"):
        ec2(context).delete_internet_gateway(InternetGatewayId=id_)


def _gateways(context: Context, _: Properties) -> list[str]:
    found = ec2(context).describe_internet_gateways()["InternetGateways"]
    return [gateway["InternetGatewayId"] for gateway in found]


# Route tables and routes


def _create_route_table(context: Context, inputs: Properties) -> Made:
    tags = tag_specification("route-table", inputs)
    made = ec2(context).create_route_table(VpcId=inputs["vpcId"], TagSpecifications=tags)
    id_ = made["RouteTable"]["RouteTableId"]
    return id_, {"arn": context.arn("ec2", f"route-table/{id_}"), "ownerId": context.account}


def _delete_route_table(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidRouteTableID.NotFound"):
        ec2(context).delete_route_table(RouteTableId=id_)


def _route_tables(context: Context, inputs: Properties) -> list[str]:
    found = ec2(context).describe_route_tables(Filters=filters(vpc_id=inputs["vpcId"]))
    return [
        table["RouteTableId"]
        for table in found["RouteTables"]
        if not any(link.get("Main") for link in table.get("Associations", []))
    ]


_ROUTE_TARGETS = {
    "GatewayId": "gatewayId",
    "NatGatewayId": "natGatewayId",
    "NetworkInterfaceId": "networkInterfaceId",
    "VpcEndpointId": "vpcEndpointId",
    "TransitGatewayId": "transitGatewayId",
    "VpcPeeringConnectionId": "vpcPeeringConnectionId",
}


def _create_route(context: Context, inputs: Properties) -> Made:
    # An entry with the same destination, left by a create that was cut short, is written over
    _delete_route(context, "", inputs)
    ec2(context).create_route(**_route(inputs), **given(inputs, **_ROUTE_TARGETS))
    # The provider's id is made of these two as well (it hashes the destination)
    return f"r-{inputs['routeTableId']}-{inputs['destinationCidrBlock']}", {"state": "active"}


def _update_route(context: Context, _: str, __: Properties, new: Properties) -> Properties:
    ec2(context).replace_route(**_route(new), **given(new, **_ROUTE_TARGETS))
    return {}


def _delete_route(context: Context, _: str, properties: Properties) -> None:
    with gone_is_fine("InvalidRoute.NotFound", "InvalidRouteTableID.NotFound"):
        ec2(context).delete_route(**_route(properties))


def _route(inputs: Properties) -> dict[str, Any]:
    return given(inputs, RouteTableId="routeTableId", DestinationCidrBlock="destinationCidrBlock")


def _create_association(context: Context, inputs: Properties) -> Made:
    for left in _associations(context, inputs):
        _delete_association(context, left, {})
    made = ec2(context).associate_route_table(
        **given(inputs, RouteTableId="routeTableId", SubnetId="subnetId")
    )
    return made["AssociationId"], {}


def _update_association(context: Context, id_: str, _: Properties, new: Properties) -> Properties:
    made = ec2(context).replace_route_table_association(
        AssociationId=id_, RouteTableId=new["routeTableId"]
    )
    # The id changes with the table: on AWS too
    return {"id": made["NewAssociationId"]}


def _delete_association(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidAssociationID.NotFound"):
        ec2(context).disassociate_route_table(AssociationId=id_)


def _associations(context: Context, inputs: Properties) -> list[str]:
    wanted = [{"Name": "association.subnet-id", "Values": [inputs["subnetId"]]}]
    return [
        link["RouteTableAssociationId"]
        for table in ec2(context).describe_route_tables(Filters=wanted)["RouteTables"]
        for link in table["Associations"]
        if link.get("SubnetId") == inputs["subnetId"]
    ]


# VPC endpoint

_ENDPOINT_LISTS = {
    "routeTableIds": "RouteTableIds",
    "subnetIds": "SubnetIds",
    "securityGroupIds": "SecurityGroupIds",
}


def _create_endpoint(context: Context, inputs: Properties) -> Made:
    arguments = given(
        inputs,
        VpcId="vpcId",
        ServiceName="serviceName",
        VpcEndpointType="vpcEndpointType",
        PolicyDocument="policy",
        PrivateDnsEnabled="privateDnsEnabled",
        **{api: name for name, api in _ENDPOINT_LISTS.items()},
    )
    tags = tag_specification("vpc-endpoint", inputs)
    made = ec2(context).create_vpc_endpoint(**arguments, TagSpecifications=tags)["VpcEndpoint"]
    id_ = made["VpcEndpointId"]
    return id_, {
        "arn": context.arn("ec2", f"vpc-endpoint/{id_}"),
        "ownerId": context.account,
        "state": made.get("State", "available"),
    }


def _update_endpoint(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    arguments: dict[str, Any] = {}
    for name, api in _ENDPOINT_LISTS.items():
        before, after = set(old.get(name, [])), set(new.get(name, []))
        if after - before:
            arguments[f"Add{api}"] = sorted(after - before)
        if before - after:
            arguments[f"Remove{api}"] = sorted(before - after)
    if changed(old, new, "policy"):
        arguments |= {"PolicyDocument": new["policy"]} if "policy" in new else {"ResetPolicy": True}
    if arguments:
        ec2(context).modify_vpc_endpoint(VpcEndpointId=id_, **arguments)
    retag(context, id_, old, new)
    return {}


def _delete_endpoint(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidVpcEndpointId.NotFound"):
        ec2(context).delete_vpc_endpoints(VpcEndpointIds=[id_])


def _endpoints(context: Context, inputs: Properties) -> list[str]:
    wanted = filters(vpc_id=inputs["vpcId"], service_name=inputs["serviceName"])
    found = ec2(context).describe_vpc_endpoints(Filters=wanted)["VpcEndpoints"]
    return [e["VpcEndpointId"] for e in found if e.get("State") not in {"deleted", "deleting"}]


# Elastic IP


def _create_address(context: Context, inputs: Properties) -> Made:
    tags = tag_specification("elastic-ip", inputs)
    made = ec2(context).allocate_address(Domain="vpc", TagSpecifications=tags)
    id_ = made["AllocationId"]
    return id_, {
        "arn": context.arn("ec2", f"elastic-ip/{id_}"),
        "allocationId": id_,
        "publicIp": made["PublicIp"],
    }


def _delete_address(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidAllocationID.NotFound"):
        ec2(context).release_address(AllocationId=id_)


def _addresses(context: Context, _: Properties) -> list[str]:
    return [address["AllocationId"] for address in ec2(context).describe_addresses()["Addresses"]]


# Launch template

_TEMPLATE = {
    "imageId": "ImageId",
    "instanceType": "InstanceType",
    "keyName": "KeyName",
    "userData": "UserData",
    "vpcSecurityGroupIds": "SecurityGroupIds",
    "disableApiTermination": "DisableApiTermination",
    "disableApiStop": "DisableApiStop",
    "instanceInitiatedShutdownBehavior": "InstanceInitiatedShutdownBehavior",
}
_FLAGS = {"associatePublicIpAddress", "deleteOnTermination", "encrypted"}
"""Booleans that the provider has as text."""


def pascal(value: Any) -> Any:
    """A nested input under the API's names: `httpTokens` -> `HttpTokens`, "true" -> True."""
    if isinstance(value, list):
        return [pascal(item) for item in value]
    if isinstance(value, dict):
        return {
            key[0].upper() + key[1:]: flag(item) if key in _FLAGS else pascal(item)
            for key, item in value.items()
        }
    return value


def template_data(inputs: Properties) -> dict[str, Any]:
    """`LaunchTemplateData` of the inputs."""
    data = {api: inputs[name] for name, api in _TEMPLATE.items() if name in inputs}
    if "ebsOptimized" in inputs:
        data["EbsOptimized"] = flag(inputs["ebsOptimized"])
    for name in ("iamInstanceProfile", "metadataOptions", "monitoring", "creditSpecification"):
        if name in inputs:
            data[name[0].upper() + name[1:]] = pascal(inputs[name])
    if "blockDeviceMappings" in inputs:
        data["BlockDeviceMappings"] = pascal(inputs["blockDeviceMappings"])
    if "networkInterfaces" in inputs:
        data["NetworkInterfaces"] = [_interface(nic) for nic in inputs["networkInterfaces"]]
    if "tagSpecifications" in inputs:
        data["TagSpecifications"] = [
            {"ResourceType": spec["resourceType"], "Tags": tag_list(spec.get("tags"))}
            for spec in inputs["tagSpecifications"]
        ]
    return data


def _interface(nic: Properties) -> dict[str, Any]:
    converted = pascal(nic)
    if "SecurityGroups" in converted:
        converted["Groups"] = converted.pop("SecurityGroups")
    # The provider fills this in for the first interface
    return {"DeviceIndex": 0, **converted}


def _create_template(context: Context, inputs: Properties) -> Made:
    made = ec2(context).create_launch_template(
        LaunchTemplateName=inputs["name"],
        LaunchTemplateData=template_data(inputs),
        TagSpecifications=tag_specification("launch-template", inputs),
        **given(inputs, VersionDescription="description"),
    )["LaunchTemplate"]
    id_ = made["LaunchTemplateId"]
    arn = context.arn("ec2", f"launch-template/{id_}")
    return id_, {"arn": arn, "latestVersion": 1, "defaultVersion": 1}


_TEMPLATE_META = {"tags", "tagsAll", "name", "updateDefaultVersion", "defaultVersion"}


def _update_template(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    retag(context, id_, old, new)
    names = _LAUNCH_TEMPLATE.properties - _TEMPLATE_META
    latest, default = old["latestVersion"], old["defaultVersion"]
    if changed(old, new, *names):
        version = ec2(context).create_launch_template_version(
            LaunchTemplateId=id_,
            LaunchTemplateData=template_data(new),
            **given(new, VersionDescription="description"),
        )["LaunchTemplateVersion"]
        latest = version["VersionNumber"]
    wanted = latest if new.get("updateDefaultVersion") else new.get("defaultVersion", default)
    if wanted != default:
        ec2(context).modify_launch_template(LaunchTemplateId=id_, DefaultVersion=str(wanted))
    return {"latestVersion": latest, "defaultVersion": wanted}


def _delete_template(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidLaunchTemplateId.NotFound"):
        ec2(context).delete_launch_template(LaunchTemplateId=id_)


def _templates(context: Context, inputs: Properties) -> list[str]:
    wanted = filters(launch_template_name=inputs["name"])
    found = ec2(context).describe_launch_templates(Filters=wanted)["LaunchTemplates"]
    return [template["LaunchTemplateId"] for template in found]


_LAUNCH_TEMPLATE = Handler(
    create=_create_template,
    update=_update_template,
    delete=_delete_template,
    properties=frozenset(
        {
            *_TEMPLATE,
            "blockDeviceMappings",
            "creditSpecification",
            "defaultVersion",
            "description",
            "ebsOptimized",
            "iamInstanceProfile",
            "metadataOptions",
            "monitoring",
            "networkInterfaces",
            "tagSpecifications",
            "updateDefaultVersion",
        }
    ),
    replaces=frozenset({"name"}),
    name=Name(limit=125),
    tagged=True,
    leftovers=_templates,
    unknown_after_update=frozenset({"latestVersion", "defaultVersion"}),
)

# flow logs

_WATCHED = {"vpcId": "VPC", "subnetId": "Subnet"}
"""What a flow log may be of, here, and how EC2 calls the kind."""


def _watched(inputs: Properties) -> tuple[str, str]:
    """Kind and id."""
    ((name, kind),) = ((name, kind) for name, kind in _WATCHED.items() if name in inputs)
    return kind, inputs[name]


def _log_group(inputs: Properties) -> str:
    """The provider gives the ARN; moto finds the group by its name."""
    return inputs["logDestination"].partition(":log-group:")[2]


def _create_flow_log(context: Context, inputs: Properties) -> Made:
    kind, watched = _watched(inputs)
    made = ec2(context).create_flow_logs(
        ResourceType=kind,
        ResourceIds=[watched],
        LogGroupName=_log_group(inputs),
        TagSpecifications=tag_specification("vpc-flow-log", inputs),
        **given(
            inputs,
            TrafficType="trafficType",
            LogDestinationType="logDestinationType",
            DeliverLogsPermissionArn="iamRoleArn",
            LogFormat="logFormat",
            MaxAggregationInterval="maxAggregationInterval",
        ),
    )
    (id_,) = made["FlowLogIds"]
    return id_, {"arn": context.arn("ec2", f"vpc-flow-log/{id_}")}


def _delete_flow_log(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("InvalidFlowLogId.NotFound"):
        ec2(context).delete_flow_logs(FlowLogIds=[id_])


def _flow_logs(context: Context, inputs: Properties) -> list[str]:
    wanted = filters(resource_id=_watched(inputs)[1], log_group_name=_log_group(inputs))
    found = ec2(context).describe_flow_logs(Filter=wanted)["FlowLogs"]
    return [one["FlowLogId"] for one in found]


_FLOW_LOG = frozenset(
    {
        *_WATCHED,
        "iamRoleArn",
        "logDestination",
        "logDestinationType",
        "logFormat",
        "maxAggregationInterval",
        "trafficType",
    }
)

HANDLERS = {
    "aws:ec2/flowLog:FlowLog": Handler(
        create=_create_flow_log,
        update=_update_tags_only,
        delete=_delete_flow_log,
        properties=_FLOW_LOG,
        # EC2 cannot change one
        replaces=_FLOW_LOG,
        tagged=True,
        leftovers=_flow_logs,
    ),
    "aws:ec2/vpc:Vpc": Handler(
        create=_create_vpc,
        update=_update_vpc,
        delete=_delete_vpc,
        properties=frozenset({"cidrBlock", "instanceTenancy", *_VPC_ATTRIBUTES}),
        replaces=frozenset({"cidrBlock"}),
        tagged=True,
        leftovers=_vpcs,
    ),
    "aws:ec2/subnet:Subnet": Handler(
        create=_create_subnet,
        update=_update_subnet,
        delete=_delete_subnet,
        properties=frozenset(
            {"vpcId", "cidrBlock", "availabilityZone", "availabilityZoneId", "mapPublicIpOnLaunch"}
        ),
        replaces=frozenset({"vpcId", "cidrBlock", "availabilityZone", "availabilityZoneId"}),
        tagged=True,
        leftovers=_subnets,
    ),
    "aws:ec2/internetGateway:InternetGateway": Handler(
        create=_create_gateway,
        update=_update_tags_only,
        delete=_delete_gateway,
        properties=frozenset({"vpcId"}),
        replaces=frozenset({"vpcId"}),
        tagged=True,
        leftovers=_gateways,
    ),
    "aws:ec2/routeTable:RouteTable": Handler(
        create=_create_route_table,
        update=_update_tags_only,
        delete=_delete_route_table,
        properties=frozenset({"vpcId"}),
        replaces=frozenset({"vpcId"}),
        tagged=True,
        leftovers=_route_tables,
    ),
    "aws:ec2/route:Route": Handler(
        create=_create_route,
        update=_update_route,
        delete=_delete_route,
        properties=frozenset({"routeTableId", "destinationCidrBlock", *_ROUTE_TARGETS.values()}),
        replaces=frozenset({"routeTableId", "destinationCidrBlock"}),
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Handler(
        create=_create_association,
        update=_update_association,
        delete=_delete_association,
        properties=frozenset({"routeTableId", "subnetId"}),
        replaces=frozenset({"subnetId"}),
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Handler(
        create=_create_endpoint,
        update=_update_endpoint,
        delete=_delete_endpoint,
        properties=frozenset(
            {
                "vpcId",
                "serviceName",
                "vpcEndpointType",
                "policy",
                "privateDnsEnabled",
                *_ENDPOINT_LISTS,
            }
        ),
        replaces=frozenset({"vpcId", "serviceName", "vpcEndpointType"}),
        tagged=True,
        leftovers=_endpoints,
    ),
    "aws:ec2/eip:Eip": Handler(
        create=_create_address,
        update=_update_tags_only,
        delete=_delete_address,
        properties=frozenset({"domain"}),
        replaces=frozenset({"domain"}),
        tagged=True,
        leftovers=_addresses,
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": _LAUNCH_TEMPLATE,
}
