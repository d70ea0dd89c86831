"""What workflows may do in AWS, judged as IAM does: what each role needs, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from iam_judge import Asked, permitted

import plan
from pipeline import permissions, policies
from pipeline.policies import Trust
from pipeline.targets import KEY_ALIAS, Role, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TARGET = Target("prod", "123456789012", "eu-west-1")
BUCKET = "arn:aws:s3:::gatepair-state-123456789012-eu-west-1"
TAGS = {"project": "gatepair", "stack": "prod"}
PREVIEWED = [
    ("s3:GetObject", ".pulumi/meta.yaml"),
    ("s3:ListBucket", ""),
    ("s3:GetObject", ".pulumi/stacks/gatepair/prod.json"),
    ("s3:GetObject", ".pulumi/stacks/gatepair/prod.pulumi-tags"),
]
"""What `pulumi preview` 3.260 asked of the bucket, but for the key; it takes no lock."""
DEPLOYED = [
    *PREVIEWED,
    ("s3:PutObject", ".pulumi/locks/organization/gatepair/prod/3834baee.json"),
    ("s3:GetObject", ".pulumi/locks/organization/gatepair/prod/3834baee.json"),
    ("s3:DeleteObject", ".pulumi/locks/organization/gatepair/prod/3834baee.json"),
    ("s3:PutObject", ".pulumi/stacks/gatepair/prod.json"),
    ("s3:PutObject", ".pulumi/stacks/gatepair/prod.json.bak"),
    ("s3:PutObject", ".pulumi/backups/gatepair/prod/prod.1795424517314076915.json"),
    ("s3:PutObject", ".pulumi/history/gatepair/prod/prod-1795424517275220801.checkpoint.json"),
    ("s3:PutObject", ".pulumi/history/gatepair/prod/prod-1795424517275220801.history.json"),
]
"""The same of `pulumi up`."""


def may(role: Role, asked: Asked, target: Target = TARGET) -> bool:
    return permitted(policies.role_policies(target, role).values(), asked)


def on_state(action: str, key: str) -> Asked:
    return Asked(action, f"{BUCKET}/{key}" if key else BUCKET)


def here(service: str, resource: str, **tags: Mapping[str, str]) -> Asked:
    """A resource, by its ARN; `own` are the tags it has, `given` those that the request gives."""
    context: dict[str, Sequence[str]] = {"aws:RequestedRegion": ("eu-west-1",)}
    for name, key in (("own", "ResourceTag"), ("given", "RequestTag")):
        for tag, value in tags.get(name, {}).items():
            context[f"aws:{key}/{tag}"] = (value,)
    return Asked("", f"arn:aws:{service}:eu-west-1:123456789012:{resource}", context)


def decrypting(*, aliases: Sequence[str] = (KEY_ALIAS,), stack: str = "prod") -> Asked:
    context = {"kms:ResourceAliases": aliases, "kms:EncryptionContext:stack": (stack,)}
    return Asked("kms:Decrypt", "arn:aws:kms:eu-west-1:123456789012:key/1", context)


# ------------------------------------------------------------------ the state


@pytest.mark.parametrize("role", Role)
def test_every_role_can_preview(role: Role) -> None:
    assert all(may(role, on_state(*asked)) for asked in PREVIEWED)
    assert may(role, decrypting())


def test_the_deploying_role_alone_can_write_the_state() -> None:
    assert all(may(Role.DEPLOY, on_state(*asked)) for asked in DEPLOYED)
    for role in (Role.PREVIEW, Role.WATCH):
        writing = [asked for asked in DEPLOYED if asked[0] in ("s3:PutObject", "s3:DeleteObject")]
        assert not any(may(role, on_state(*asked)) for asked in writing)


@pytest.mark.parametrize("role", Role)
def test_another_stacks_state_stays_closed(role: Role) -> None:
    for action, key in DEPLOYED:
        if "prod" in key:
            assert not may(role, on_state(action, key.replace("/prod", "/dev")))
            assert not may(role, on_state(action, key.replace("/prod", "/prod2")))
    assert not may(role, decrypting(stack="dev"))


# ------------------------------------------------------------------ never


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", ["Get", "BatchGet", "Put"])
def test_no_role_reads_or_writes_a_secrets_value(role: Role, action: str) -> None:
    secret = here("secretsmanager", "secret:gateway-key-secret-1234567-abcdef", own=TAGS)
    assert not may(role, replace(secret, action=f"secretsmanager:{action}SecretValue"))
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    documents = [{"Statement": [everything]}, *policies.role_policies(TARGET, role).values()]
    assert not permitted(documents, replace(secret, action=f"secretsmanager:{action}SecretValue"))


@pytest.mark.parametrize("role", Role)
def test_no_other_key_opens_anything_whoever_allows_it(role: Role) -> None:
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    documents = [{"Statement": [everything]}, *policies.role_policies(TARGET, role).values()]
    assert permitted(documents, decrypting())
    assert not permitted(documents, decrypting(aliases=("alias/gatepair/prod",)))
    assert not permitted(documents, decrypting(aliases=()))
    for service, opens in (("dynamodb", True), ("secretsmanager", False), ("ssm", False)):
        asked = decrypting(aliases=("alias/aws/some",))
        via = {**asked.context, "kms:ViaService": (f"{service}.eu-west-1.amazonaws.com",)}
        assert permitted(documents, replace(asked, context=via)) is opens


def test_the_deploying_role_does_not_touch_what_it_stands_on() -> None:
    account = "arn:aws:iam::123456789012"
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    documents = [
        {"Statement": [everything]},
        *policies.role_policies(TARGET, Role.DEPLOY).values(),
    ]
    for action, resource in (
        ("iam:AttachRolePolicy", f"{account}:role/gatepair-prod-preview"),
        ("iam:UpdateAssumeRolePolicy", f"{account}:role/gatepair-dev-deploy"),
        (
            "iam:CreatePolicyVersion",
            f"{account}:policy/gatepair-pipeline/gatepair-prod-deploy-never",
        ),
        ("iam:DeleteOpenIDConnectProvider", f"{account}:oidc-provider/{policies.ISSUER}"),
    ):
        assert not permitted(documents, Asked(action, resource))
    key = here("kms", "key/1", own=TAGS)
    context = {**key.context, "kms:ResourceAliases": (KEY_ALIAS,)}
    for action in ("kms:ScheduleKeyDeletion", "kms:PutKeyPolicy", "kms:TagResource"):
        assert not permitted(documents, Asked(action, key.resource, context))
        assert permitted(documents, replace(key, action=action))


# ------------------------------------------------------------------ what the stack has


def named(kind: permissions.Kind, stack: str = "prod") -> Iterator[str]:
    """ARNs that resources of a kind may have."""
    for name in kind.names:
        filled = name.format(
            partition="aws",
            service=(*kind.make, *kind.change)[0].partition(":")[0],
            region="eu-west-1",
            account="123456789012",
            stack=stack,
        )
        yield filled.replace("*", "1a2b3c4")


def test_every_kind_that_a_stack_has_can_be_deployed() -> None:
    used = {one.typ for stack in plan.STACKS for one in plan.built(stack).declared.values()}
    ours = {one for one in used if one.startswith(("gatepair:", "pulumi:"))}
    assert used - ours - set(permissions.KINDS) == set(), "say in permissions.KINDS what it takes"


@pytest.mark.parametrize("kind", permissions.KINDS.values(), ids=list(permissions.KINDS))
def test_the_deploying_role_makes_and_changes_what_is_the_stacks_own(
    kind: permissions.Kind,
) -> None:
    given = {f"aws:RequestTag/{name}": (value,) for name, value in TAGS.items()}
    own = {f"aws:ResourceTag/{name}": (value,) for name, value in TAGS.items()}
    others = {"aws:ResourceTag/project": ("gatepair",), "aws:ResourceTag/stack": ("dev",)}
    for actions, right in ((kind.make, given), (kind.change, own)):
        for action in actions:
            for arn in named(kind) if (*kind.make, *kind.change) else ():
                if action.startswith("ec2:Authorize"):
                    arn = arn.replace(":1a2b3c4", ":security-group/sg-1")  # noqa: PLW2901
                assert may(Role.DEPLOY, Asked(action, arn, right)), action
                assert not may(Role.WATCH, Asked(action, arn, {**given, **own})), action
                assert not may(Role.PREVIEW, Asked(action, arn, {**given, **own})), action
                if kind.tagged:
                    assert not may(Role.DEPLOY, Asked(action, arn, others)), action
                    assert not may(Role.DEPLOY, Asked(action, arn)), action
                else:
                    foreign = arn.replace("1a2b3c4", "x").replace("/gatepair/prod", "/gatepair/dev")
                    foreign = foreign.replace(":::", ":::other-").replace("gatepair-prod", "other")
                    if foreign != arn.replace("1a2b3c4", "x"):
                        assert not may(Role.DEPLOY, Asked(action, foreign)), action


def test_tags_are_given_to_new_things_and_our_own_alone() -> None:
    network = here("ec2", "vpc/vpc-1", given=TAGS)
    tag = replace(network, action="ec2:CreateTags")
    assert not may(Role.DEPLOY, tag), "or anything could be made ours"
    made = {**network.context, "ec2:CreateAction": ("CreateVpc",)}
    assert may(Role.DEPLOY, replace(tag, context=made))
    ours = here("ec2", "vpc/vpc-1", own=TAGS)
    assert may(Role.DEPLOY, replace(ours, action="ec2:CreateTags"))
    assert may(Role.DEPLOY, replace(ours, action="ec2:DeleteTags"))


def test_roles_are_passed_to_the_service_they_are_for() -> None:
    role = "arn:aws:iam::123456789012:role/gateway-role-1a2b3c4"
    for service, allowed in (("ec2", True), ("lambda", False)):
        context = {"iam:PassedToService": (f"{service}.amazonaws.com",)}
        assert may(Role.DEPLOY, Asked("iam:PassRole", role, context)) is allowed
    flows = "arn:aws:iam::123456789012:role/network-flows-role-1a2b3c4"
    for service, allowed in (("vpc-flow-logs", True), ("ec2", False)):
        context = {"iam:PassedToService": (f"{service}.amazonaws.com",)}
        assert may(Role.DEPLOY, Asked("iam:PassRole", flows, context)) is allowed
    other = "arn:aws:iam::123456789012:role/admin"
    context = {"iam:PassedToService": ("ec2.amazonaws.com",)}
    assert not may(Role.DEPLOY, Asked("iam:PassRole", other, context))


def test_of_the_registry_a_deployment_writes_the_control_item_alone() -> None:
    table = "arn:aws:dynamodb:eu-west-1:123456789012:table/peer-registry-table-1a2b3c4"
    for keys, allowed in ((("control",), True), (("peer",), False), ((), False)):
        context = {"dynamodb:LeadingKeys": keys}
        assert may(Role.DEPLOY, Asked("dynamodb:PutItem", table, context)) is allowed
        assert not may(Role.WATCH, Asked("dynamodb:PutItem", table, context))


def test_an_adopted_vpc_takes_our_security_groups_and_no_other_does() -> None:
    documents = policies.role_policies(TARGET, Role.DEPLOY, vpc_id="vpc-9").values()
    for vpc, allowed in (("vpc-9", True), ("vpc-8", False)):
        asked = replace(here("ec2", f"vpc/{vpc}"), action="ec2:CreateSecurityGroup")
        assert permitted(documents, asked) is allowed


@pytest.mark.parametrize("role", Role)
def test_a_policy_is_as_long_as_iam_takes(role: Role) -> None:
    longest = Target("a" * 40, "123456789012", "ap-southeast-4")
    found = policies.role_policies(longest, role, vpc_id="vpc-0123456789abcdef0")
    assert len(found) <= 10, "as many as can be attached to a role"
    assert all(policies.size(one) < policies.LIMIT for one in found.values())
    for one in found.values():
        names = [statement["Sid"] for statement in one["Statement"]]
        assert len(set(names)) == len(names)
        assert all(name.isalnum() for name in names)


def test_code_that_nobody_has_read_opens_the_state_and_sees_nothing_else() -> None:
    allowed = [
        (statement["Action"], statement["Resource"])
        for document in policies.role_policies(TARGET, Role.PREVIEW).values()
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert [action for action, _ in allowed] == ["s3:ListBucket", "s3:GetObject", "kms:Decrypt"]
    assert "*" not in [resource for _, resource in allowed]


def test_nothing_that_may_change_is_in_a_role_that_looks() -> None:
    looking = ("Describe", "Get", "List", "BatchGet", "Query", "Decrypt")
    for role in (Role.PREVIEW, Role.WATCH):
        for document in policies.role_policies(TARGET, role).values():
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow":
                    actions = statement["Action"]
                    for action in [actions] if isinstance(actions, str) else actions:
                        assert action.partition(":")[2].startswith(looking), action


# ------------------------------------------------------------------ whom they trust


@pytest.mark.parametrize(
    ("role", "where"),
    [
        (Role.PREVIEW, "pull_request"),
        (Role.WATCH, "ref:refs/heads/main"),
        (Role.DEPLOY, "environment:prod"),
    ],
)
def test_a_role_trusts_one_repository_and_one_place_in_it(role: Role, where: str) -> None:
    document = policies.trust_policy(TARGET, Trust("acme@1/vpn@2"), role)
    (statement,) = document["Statement"]
    assert statement["Principal"] == {
        "Federated": f"arn:aws:iam::123456789012:oidc-provider/{policies.ISSUER}"
    }
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"].keys() == {"StringEquals"}, "a pattern would let others in"
    said = statement["Condition"]["StringEquals"]
    assert said[f"{policies.ISSUER}:aud"] == "sts.amazonaws.com"
    assert said[f"{policies.ISSUER}:sub"] == f"repo:acme@1/vpn@2:{where}"


def test_a_deployment_is_of_the_branch_as_well_where_aws_can_tell() -> None:
    said = Trust("acme/vpn", "release").conditions(TARGET, Role.DEPLOY)["StringEquals"]
    assert said[f"{policies.ISSUER}:ref"] == "refs/heads/release"
    china = replace(TARGET, region="cn-north-1")
    assert (
        f"{policies.ISSUER}:ref" not in Trust("a/b").conditions(china, Role.DEPLOY)["StringEquals"]
    )
