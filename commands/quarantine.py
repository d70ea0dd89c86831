"""Cutting an instance off from the network: a security group without rules, then its end.

Security groups are stateful: a flow that is tracked already may go on for a while after its rule is
gone (EC2 user guide, "Untracked connections"), which is why termination follows at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from registry.errors import RegistryError


class NoInstance(RegistryError):  # noqa: N818 - named as a sentence
    """EC2 does not know the instance."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"instance {instance_id}: EC2 does not know it")


@dataclass(frozen=True)
class Quarantine:
    """The means of one stack. `client` is a boto3 EC2 client."""

    client: Any
    stack: str

    @property
    def name(self) -> str:
        """Of the security group."""
        return f"gatepair-{self.stack}-fence"

    def isolate(self, instance_id: str) -> None:
        """Leave every network interface of the instance in no group but the one without rules."""
        answer = self.client.describe_instances(InstanceIds=[instance_id])
        found = [one for part in answer["Reservations"] for one in part["Instances"]]
        if not found or "VpcId" not in found[0]:
            raise NoInstance(instance_id)
        group = self._group(found[0]["VpcId"])
        for interface in found[0]["NetworkInterfaces"]:
            self.client.modify_network_interface_attribute(
                NetworkInterfaceId=interface["NetworkInterfaceId"], Groups=[group]
            )

    def terminate(self, instance_id: str) -> None:
        """End it now, without the group's lifecycle hooks: it is not to be waited for."""
        self.client.terminate_instances(InstanceIds=[instance_id])

    def dissolve(self) -> None:
        """Delete the group once nothing is in it: left behind it would keep its VPC."""
        for group in self._found():
            try:
                self.client.delete_security_group(GroupId=group["GroupId"])
            except ClientError as err:
                if _code(err) not in {"DependencyViolation", "InvalidGroup.NotFound"}:
                    raise

    def _group(self, vpc: str) -> str:
        """The group in that VPC, made if it is missing, emptied if somebody has put rules in it."""
        found = [group for group in self._found() if group["VpcId"] == vpc]
        if not found:
            found = [self._made(vpc)]
        group = found[0]
        self._empty(group)
        return group["GroupId"]

    def _found(self) -> list[dict[str, Any]]:
        filters = [{"Name": "group-name", "Values": [self.name]}]
        return self.client.describe_security_groups(Filters=filters)["SecurityGroups"]

    def _made(self, vpc: str) -> dict[str, Any]:
        try:
            self.client.create_security_group(
                GroupName=self.name,
                Description="Without rules: gateways that have been cut off",
                VpcId=vpc,
                TagSpecifications=[
                    {
                        "ResourceType": "security-group",
                        "Tags": [
                            {"Key": "Name", "Value": self.name},
                            {"Key": "project", "Value": "gatepair"},
                            {"Key": "stack", "Value": self.stack},
                        ],
                    }
                ],
            )
        except ClientError as err:
            if _code(err) != "InvalidGroup.Duplicate":
                raise
        # a new group may go out anywhere: its rules are read back and taken away
        (group,) = [group for group in self._found() if group["VpcId"] == vpc]
        return group

    def _empty(self, group: dict[str, Any]) -> None:
        if rules := group["IpPermissions"]:
            self.client.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=rules)
        if rules := group["IpPermissionsEgress"]:
            self.client.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=rules)


def _code(err: ClientError) -> str:
    return str(err.response.get("Error", {}).get("Code"))
