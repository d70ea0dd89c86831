"""Whom the account trusts, and the roles that workflows take, as pipeline/policies.py says."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from pipeline import policies
from pipeline.ground import GONE, Ground, Step, code
from pipeline.targets import PROJECT, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.targets import Target

_VERSIONS = 5
"""Of a managed policy, at most (IAM user guide, "IAM and STS quotas")."""


def steps(ground: Ground) -> Iterator[Step]:
    """To GitHub's provider and the stack's three roles."""
    yield from _provider(ground)
    yield from _roles(ground)


def _provider(ground: Ground) -> Iterator[Step]:
    """GitHub's tokens are taken by the account; whoever else uses them is left in peace."""
    iam, target = ground.client("iam"), ground.target
    arn = f"arn:{target.partition}:iam::{target.account}:oidc-provider/{policies.ISSUER}"
    try:
        found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    except ClientError as err:
        if code(err) not in GONE:
            raise
        yield Step(
            f"make OIDC provider {policies.ISSUER}",
            partial(
                iam.create_open_id_connect_provider,
                Url=f"https://{policies.ISSUER}",
                ClientIDList=[policies.AUDIENCE],
                Tags=[{"Key": "project", "Value": PROJECT}],
            ),
        )
        return
    if policies.AUDIENCE not in found["ClientIDList"]:
        yield Step(
            f"OIDC provider {policies.ISSUER}: for {policies.AUDIENCE} too",
            partial(
                iam.add_client_id_to_open_id_connect_provider,
                OpenIDConnectProviderArn=arn,
                ClientID=policies.AUDIENCE,
            ),
        )


def _roles(ground: Ground) -> Iterator[Step]:
    for role in Role:
        documents = policies.role_policies(ground.target, role, vpc_id=ground.vpc_id)
        name = ground.target.role_name(role)
        wanted = {_policy_arn(ground.target, f"{name}-{word}") for word in documents}
        for word, document in documents.items():
            yield from _policy(ground, f"{name}-{word}", document)
        yield from _role(ground, role)
        yield from _attachments(ground.client("iam"), name, wanted)


def _policy_arn(target: Target, name: str) -> str:
    return f"arn:{target.partition}:iam::{target.account}:policy{policies.PATH}{name}"


def _policy(ground: Ground, name: str, document: Mapping[str, Any]) -> Iterator[Step]:
    iam, arn, text = ground.client("iam"), _policy_arn(ground.target, name), json.dumps(document)
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    except ClientError as err:
        if code(err) not in GONE:
            raise
        tags = [{"Key": "project", "Value": PROJECT}]
        yield Step(
            f"make policy {name}",
            partial(
                iam.create_policy,
                PolicyName=name,
                Path=policies.PATH,
                PolicyDocument=text,
                Tags=tags,
            ),
        )
        return
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    if found != document:
        yield Step(f"change policy {name}", partial(_new_version, iam, arn, text))


def _new_version(iam: Any, arn: str, text: str) -> None:
    """In the place of the oldest one, where there is no room for more."""
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    old = sorted(
        (one for one in versions if not one["IsDefaultVersion"]), key=lambda one: one["CreateDate"]
    )
    if len(versions) >= _VERSIONS:
        iam.delete_policy_version(PolicyArn=arn, VersionId=old[0]["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)


def _role(ground: Ground, role: Role) -> Iterator[Step]:
    iam, name = ground.client("iam"), ground.target.role_name(role)
    trust = policies.trust_policy(ground.target, ground.trust, role)
    text = json.dumps(trust)
    try:
        found = iam.get_role(RoleName=name)["Role"]
    except ClientError as err:
        if code(err) not in GONE:
            raise
        tags = [{"Key": "project", "Value": PROJECT}]
        yield Step(
            f"make role {name}",
            partial(
                iam.create_role,
                RoleName=name,
                AssumeRolePolicyDocument=text,
                Description=f"gatepair's workflows: {role} of stack {ground.target.stack}",
                Tags=tags,
            ),
        )
        return
    if found["AssumeRolePolicyDocument"] != trust:
        yield Step(
            f"role {name}: whom it trusts",
            partial(iam.update_assume_role_policy, RoleName=name, PolicyDocument=text),
        )


def _attachments(iam: Any, name: str, wanted: set[str]) -> Iterator[Step]:
    """Exactly these policies, and none written into the role."""
    try:
        attached = {
            one["PolicyArn"]
            for page in iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
            for one in page["AttachedPolicies"]
        }
        inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    except ClientError as err:
        if code(err) not in GONE:
            raise
        attached, inline = set(), []
    # what is denied first: nothing is allowed without it, however early this is interrupted
    for arn in sorted(wanted - attached, key=lambda one: (not one.endswith("-never"), one)):
        do = partial(iam.attach_role_policy, RoleName=name, PolicyArn=arn)
        yield Step(f"role {name}: give it {arn.rpartition('/')[2]}", do)
    for arn in sorted(attached - wanted):
        do = partial(iam.detach_role_policy, RoleName=name, PolicyArn=arn)
        yield Step(f"role {name}: take {arn} from it", do)
    for policy in inline:
        do = partial(iam.delete_role_policy, RoleName=name, PolicyName=policy)
        yield Step(f"role {name}: take its own policy {policy} from it", do)
