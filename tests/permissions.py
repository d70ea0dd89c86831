"""Which permissions a request to AWS needs, and a recorder of those that commands make.

After the "Service Authorization Reference". A request that is not known here fails the test that
made it: whoever adds one says what it needs.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from iam_judge import Asked

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from registry.environment import Cloud

ACCOUNT, REGION = "123456789012", "eu-west-1"

PARTS = {
    "Put": ("PutItem", "Item"),
    "Update": ("UpdateItem", "Key"),
    "Delete": ("DeleteItem", "Key"),
    "ConditionCheck": ("ConditionCheckItem", "Key"),
}
"""Of a transaction: what each one's permission is called, and where its key stands."""

EVERYWHERE = {
    ("autoscaling", "DescribeAutoScalingGroups"): "autoscaling",
    ("autoscaling", "DescribeInstanceRefreshes"): "autoscaling",
    ("ec2", "DescribeInstances"): "ec2",
    ("ec2", "DescribeSecurityGroups"): "ec2",
    ("elbv2", "DescribeTargetHealth"): "elasticloadbalancing",
}
"""Operations without resources, with their service's name in IAM."""

FREE = {("sts", "GetCallerIdentity")}
"""Operations that AWS denies to nobody."""


def arn(service: str, resource: str) -> str:
    """Of something in the fake account."""
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def in_bucket(operation: str, params: Mapping[str, Any]) -> Asked:
    """What a request to S3 needs."""
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    match operation:
        case "PutObject":
            return Asked("s3:PutObject", f"{bucket}/{params['Key']}")
        case "ListObjectsV2":
            return Asked("s3:ListBucket", bucket)
    raise AssertionError(f"s3 {operation}: say here which permission it needs")


def group_arn(name: str) -> str:
    """Of an Auto Scaling group in the fake account."""
    return arn("autoscaling", f"autoScalingGroup:uuid:autoScalingGroupName/{name}")


class Recorder:
    """Collects the permissions that requests through `cloud` need."""

    def __init__(self, cloud: Cloud, services: Iterable[str]) -> None:
        self._cloud, self._services = cloud, tuple(services)
        self._looking = False
        self.asked: list[Asked] = []

    @contextmanager
    def listening(self) -> Generator[list[Asked]]:
        """Record until the end of the block; all that was recorded so far."""
        events = [self._cloud.client(service).meta.events for service in self._services]
        for one in events:
            one.register("provide-client-params", self._note, unique_id="permissions")
        try:
            yield self.asked
        finally:
            for one in events:
                one.unregister("provide-client-params", unique_id="permissions")

    @contextmanager
    def aside(self) -> Generator[None]:
        """What is asked in the block is not the command's."""
        before, self._looking = self._looking, True
        try:
            yield
        finally:
            self._looking = before

    def _note(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        if self._looking:
            return
        with self.aside():  # to find out tags more is asked
            self.asked += self._needed(model.service_model.service_name, model.name, params)

    def _needed(  # noqa: PLR0911 - one line each
        self, service: str, operation: str, params: Mapping[str, Any]
    ) -> list[Asked]:
        if (service, operation) in FREE:
            return []
        if prefix := EVERYWHERE.get((service, operation)):
            return [Asked(f"{prefix}:{operation}")]
        match service, operation:
            case "ssm", "GetParameter":
                name = params["Name"].lstrip("/")
                return [Asked("ssm:GetParameter", arn("ssm", f"parameter/{name}"))]
            case "dynamodb", _:
                return items(operation, params)
            case "s3", _:
                return [in_bucket(operation, params)]
            case "logs", "FilterLogEvents":
                name = params["logGroupName"]
                # with :*, as policies name groups (CloudWatch Logs user guide, "Resources")
                return [Asked("logs:FilterLogEvents", arn("logs", f"log-group:{name}:*"))]
            case "kms", "Encrypt":
                assert params["KeyId"].startswith("arn:"), "a policy names the key's ARN"
                given = {
                    f"kms:EncryptionContext:{name}": (value,)
                    for name, value in params["EncryptionContext"].items()
                }
                return [Asked("kms:Encrypt", params["KeyId"], given)]
            case "autoscaling", _:
                return [Asked(f"autoscaling:{operation}", self._group(params))]
            case "ec2", _:
                return self._of_ec2(operation, params)
        raise AssertionError(f"{service} {operation}: say here which permission it needs")

    def _group(self, params: Mapping[str, Any]) -> str:
        """Of the group that a request is about, or that its instance belongs to."""
        client = self._cloud.client("autoscaling")
        name = params.get("AutoScalingGroupName")
        if name is None:
            ids = [params["InstanceId"]]
            (own,) = client.describe_auto_scaling_instances(InstanceIds=ids)["AutoScalingInstances"]
            name = own["AutoScalingGroupName"]
        return group_arn(name)

    def _of_ec2(self, operation: str, params: Mapping[str, Any]) -> list[Asked]:
        match operation:
            case "CreateSecurityGroup":
                (spec,) = params["TagSpecifications"]
                assert spec["ResourceType"] == "security-group"
                given = {f"aws:RequestTag/{tag['Key']}": (tag["Value"],) for tag in spec["Tags"]}
                made = arn("ec2", "security-group/*")
                where = {"ec2:VpcID": (params["VpcId"],)}
                creating = {**given, "ec2:CreateAction": (operation,)}
                return [
                    Asked("ec2:CreateSecurityGroup", made, given),
                    Asked("ec2:CreateSecurityGroup", arn("ec2", f"vpc/{params['VpcId']}"), where),
                    Asked("ec2:CreateTags", made, creating),
                ]
            case "DeleteSecurityGroup" | "RevokeSecurityGroupIngress" | "RevokeSecurityGroupEgress":
                return [self._tagged(operation, "security-group", params["GroupId"])]
            case "ModifyNetworkInterfaceAttribute":
                interface = params["NetworkInterfaceId"]
                assert params.keys() == {"NetworkInterfaceId", "Groups"}
                return [
                    self._tagged(operation, "network-interface", interface),
                    self._tagged(operation, "instance", self._instance_of(interface)),
                    *(self._tagged(operation, "security-group", id_) for id_ in params["Groups"]),
                ]
            case "TerminateInstances":
                return [self._tagged(operation, "instance", id_) for id_ in params["InstanceIds"]]
        raise AssertionError(f"ec2 {operation}: say here which permission it needs")

    def _tagged(self, operation: str, kind: str, id_: str) -> Asked:
        """A permission on one of EC2's resources, with the tags that it has at this moment."""
        filters = [{"Name": "resource-id", "Values": [id_]}]
        tags = self._cloud.client("ec2").describe_tags(Filters=filters)["Tags"]
        context = {f"aws:ResourceTag/{tag['Key']}": (tag["Value"],) for tag in tags}
        return Asked(f"ec2:{operation}", arn("ec2", f"{kind}/{id_}"), context)

    def _instance_of(self, interface: str) -> str:
        found = self._cloud.client("ec2").describe_network_interfaces(
            NetworkInterfaceIds=[interface]
        )
        return found["NetworkInterfaces"][0]["Attachment"]["InstanceId"]


def items(operation: str, params: Mapping[str, Any]) -> list[Asked]:
    """Of a request to DynamoDB; the parts of a transaction are asked for one by one."""
    match operation:
        case "TransactWriteItems":
            return [
                on_items(
                    PARTS[kind][0],
                    part["TableName"],
                    [part[PARTS[kind][1]]["pk"]["S"]],
                    within=operation,
                )
                for entry in params["TransactItems"]
                for kind, part in entry.items()
            ]
        case "BatchGetItem":
            return [
                on_items(operation, table, [key["pk"]["S"] for key in request["Keys"]])
                for table, request in params["RequestItems"].items()
            ]
        case "Query":
            assert params["KeyConditionExpression"].startswith("pk = :pk")
            key = params["ExpressionAttributeValues"][":pk"]["S"]
            return [on_items(operation, params["TableName"], [key])]
        case "PutItem" | "UpdateItem" | "DeleteItem":
            key = params["Item" if operation == "PutItem" else "Key"]["pk"]["S"]
            return [on_items(operation, params["TableName"], [key])]
    raise AssertionError(f"dynamodb {operation}: say here which permission it needs")


def on_items(action: str, table: str, keys: Sequence[str], *, within: str = "") -> Asked:
    """A permission on items of a table, by their partition keys."""
    context: dict[str, Sequence[str]] = {"dynamodb:LeadingKeys": tuple(keys)}
    if within:
        context["dynamodb:EnclosingOperation"] = (within,)
    return Asked(f"dynamodb:{action}", arn("dynamodb", f"table/{table}"), context)
