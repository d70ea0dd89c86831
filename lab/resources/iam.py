"""Roles, their inline policies, instance profiles; managed policies."""

from __future__ import annotations

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
    retag,
    tag_list,
)

_GONE = "NoSuchEntity"
_VERSIONS = 5
"""That IAM keeps of a managed policy (IAM user guide, "Versioning IAM policies")."""


def _iam(context: Context) -> Any:
    return context.client("iam")


def _create_role(context: Context, inputs: Properties) -> Made:
    role = _iam(context).create_role(
        RoleName=inputs["name"],
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Tags=tag_list(inputs.get("tagsAll")),
        **given(
            inputs,
            Description="description",
            Path="path",
            MaxSessionDuration="maxSessionDuration",
            PermissionsBoundary="permissionsBoundary",
        ),
    )["Role"]
    return role["RoleName"], {"arn": role["Arn"], "uniqueId": role["RoleId"]}


def _update_role(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _iam(context)
    if changed(old, new, "assumeRolePolicy"):
        client.update_assume_role_policy(RoleName=id_, PolicyDocument=new["assumeRolePolicy"])
    if changed(old, new, "description", "maxSessionDuration"):
        more = given(new, Description="description", MaxSessionDuration="maxSessionDuration")
        client.update_role(RoleName=id_, **more)
    retag(old, new, client.tag_role, client.untag_role, RoleName=id_)
    return {}


def _delete_role(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        for name in _iam(context).list_role_policies(RoleName=id_)["PolicyNames"]:
            _iam(context).delete_role_policy(RoleName=id_, PolicyName=name)
        _iam(context).delete_role(RoleName=id_)


def _roles(context: Context, inputs: Properties) -> list[str]:
    with gone_is_fine(_GONE):
        return [_iam(context).get_role(RoleName=inputs["name"])["Role"]["RoleName"]]
    return []


def _put_policy(context: Context, inputs: Properties) -> Made:
    _iam(context).put_role_policy(
        RoleName=inputs["role"], PolicyName=inputs["name"], PolicyDocument=inputs["policy"]
    )
    return f"{inputs['role']}:{inputs['name']}", {}


def _update_policy(context: Context, _: str, __: Properties, new: Properties) -> Properties:
    return _put_policy(context, new)[1]


def _delete_policy(context: Context, _: str, properties: Properties) -> None:
    with gone_is_fine(_GONE):
        _iam(context).delete_role_policy(RoleName=properties["role"], PolicyName=properties["name"])


def _create_profile(context: Context, inputs: Properties) -> Made:
    name = inputs["name"]
    made = _iam(context).create_instance_profile(
        InstanceProfileName=name,
        Tags=tag_list(inputs.get("tagsAll")),
        **given(inputs, Path="path"),
    )["InstanceProfile"]
    if "role" in inputs:
        _iam(context).add_role_to_instance_profile(
            InstanceProfileName=name, RoleName=inputs["role"]
        )
    return name, {"arn": made["Arn"], "uniqueId": made["InstanceProfileId"]}


def _update_profile(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _iam(context)
    if changed(old, new, "role"):
        if "role" in old:
            client.remove_role_from_instance_profile(InstanceProfileName=id_, RoleName=old["role"])
        if "role" in new:
            client.add_role_to_instance_profile(InstanceProfileName=id_, RoleName=new["role"])
    retag(
        old,
        new,
        client.tag_instance_profile,
        client.untag_instance_profile,
        InstanceProfileName=id_,
    )
    return {}


def _delete_profile(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        profile = _iam(context).get_instance_profile(InstanceProfileName=id_)["InstanceProfile"]
        for role in profile["Roles"]:
            _iam(context).remove_role_from_instance_profile(
                InstanceProfileName=id_, RoleName=role["RoleName"]
            )
        _iam(context).delete_instance_profile(InstanceProfileName=id_)


def _profiles(context: Context, inputs: Properties) -> list[str]:
    with gone_is_fine(_GONE):
        _iam(context).get_instance_profile(InstanceProfileName=inputs["name"])
        return [inputs["name"]]
    return []


def _create_managed(context: Context, inputs: Properties) -> Made:
    made = _iam(context).create_policy(
        PolicyName=inputs["name"],
        PolicyDocument=inputs["policy"],
        Tags=tag_list(inputs.get("tagsAll")),
        **given(inputs, Path="path", Description="description"),
    )["Policy"]
    return made["Arn"], {"arn": made["Arn"], "policyId": made["PolicyId"]}


def _update_managed(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _iam(context)
    if changed(old, new, "policy"):
        versions = _former_versions(context, id_)
        if len(versions) == _VERSIONS - 1:
            client.delete_policy_version(PolicyArn=id_, VersionId=versions[-1])
        client.create_policy_version(PolicyArn=id_, PolicyDocument=new["policy"], SetAsDefault=True)
    retag(old, new, client.tag_policy, client.untag_policy, PolicyArn=id_)
    return {}


def _delete_managed(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        for version in _former_versions(context, id_):
            _iam(context).delete_policy_version(PolicyArn=id_, VersionId=version)
        _iam(context).delete_policy(PolicyArn=id_)


def _former_versions(context: Context, arn: str) -> list[str]:
    """Ids of the versions that are not in force, newest first."""
    versions = _iam(context).list_policy_versions(PolicyArn=arn)["Versions"]
    former = [one["VersionId"] for one in versions if not one["IsDefaultVersion"]]
    return sorted(former, key=lambda name: int(name.removeprefix("v")), reverse=True)


def _managed(context: Context, inputs: Properties) -> list[str]:
    pages = _iam(context).get_paginator("list_policies").paginate(Scope="Local")
    found = [one for page in pages for one in page["Policies"]]
    return [one["Arn"] for one in found if one["PolicyName"] == inputs["name"]]


HANDLERS = {
    "aws:iam/role:Role": Handler(
        create=_create_role,
        update=_update_role,
        delete=_delete_role,
        # How the provider deletes: inline policies always go here
        properties=frozenset(
            {
                "assumeRolePolicy",
                "description",
                "path",
                "maxSessionDuration",
                "permissionsBoundary",
                "forceDetachPolicies",
            }
        ),
        replaces=frozenset({"name", "path", "permissionsBoundary"}),
        name=Name(limit=64),
        tagged=True,
        leftovers=_roles,
    ),
    "aws:iam/rolePolicy:RolePolicy": Handler(
        create=_put_policy,
        update=_update_policy,
        delete=_delete_policy,
        properties=frozenset({"role", "policy"}),
        replaces=frozenset({"name", "role"}),
        name=Name(limit=128),
    ),
    "aws:iam/policy:Policy": Handler(
        create=_create_managed,
        update=_update_managed,
        delete=_delete_managed,
        properties=frozenset({"policy", "path", "description"}),
        replaces=frozenset({"name", "path", "description"}),
        name=Name(limit=128),
        tagged=True,
        leftovers=_managed,
    ),
    "aws:iam/instanceProfile:InstanceProfile": Handler(
        create=_create_profile,
        update=_update_profile,
        delete=_delete_profile,
        properties=frozenset({"role", "path"}),
        replaces=frozenset({"name", "path"}),
        name=Name(limit=128),
        tagged=True,
        leftovers=_profiles,
    ),
}
