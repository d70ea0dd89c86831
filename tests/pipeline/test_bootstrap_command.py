"""scripts/bootstrap on an in-process fake of AWS: no socket is opened."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from command import Run
from moto import mock_aws

import plan
from pipeline import bootstrap, bootstrapping, policies, state_key, targets
from pipeline.targets import KEY_ALIAS, Role
from registry import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCOUNT = "123456789012"
BUCKET = f"gatepair-state-{ACCOUNT}-eu-west-1"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{policies.ISSUER}"
NAMES = [f"gatepair-prod-{role}" for role in Role]


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "us-east-2")  # not the stack's, which counts
        patch.delenv("AWS_PROFILE", raising=False)
        yield {}


@pytest.fixture(autouse=True)
def aws(clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """An empty account's clients, by service; clients take long to make."""
    from moto.core.models import DEFAULT_ACCOUNT_ID  # noqa: PLC0415 - once moto is mocked
    from moto.moto_api._internal import moto_api_backend  # noqa: PLC0415

    assert DEFAULT_ACCOUNT_ID == ACCOUNT
    moto_api_backend.reset()
    make = environment.Cloud.client

    def client(self: environment.Cloud, service: str) -> Any:
        assert self.region == "eu-west-1"
        if service not in clients:
            clients[service] = make(self, service)
        return clients[service]

    monkeypatch.setattr(environment.Cloud, "client", client)
    cloud = environment.session("prod")
    cloud.session.set_config_variable("region", "eu-west-1")
    return cloud.client


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose stack prod is of the fake's account."""
    shutil.copytree(plan.ROOT / "stacks", tmp_path / "stacks")
    path = tmp_path / "stacks" / "Pulumi.prod.yaml"
    path.write_text(path.read_text().replace("444455556666", ACCOUNT))
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def run(root: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del root
    given = ("--stack", "prod", "--repository", "acme/vpn")
    return lambda *argv: Run(bootstrap.main, capfd, (*given, *argv))


def steps(run: Callable[..., Run]) -> list[str]:
    return run("--plan", "--json").json["steps"]


def allowing(action: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


# ------------------------------------------------------------------ an empty account


def test_a_plan_says_all_and_does_nothing(
    run: Callable[..., Run], aws: Callable[[str], Any]
) -> None:
    planned = run("--plan")
    assert planned.status == 3
    assert f"would: make a KMS key, {KEY_ALIAS}" in planned.stdout
    assert f"would: make bucket {BUCKET}" in planned.stdout
    assert "would: role gatepair-prod-watch: give it gatepair-prod-watch-read" in planned.stdout
    assert aws("s3").list_buckets()["Buckets"] == []
    assert aws("kms").list_keys()["Keys"] == []
    assert aws("iam").list_roles()["Roles"] == []
    assert aws("iam").list_policies(Scope="Local")["Policies"] == []
    assert aws("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"] == []


def test_what_was_planned_is_done_and_then_there_is_nothing_to_do(run: Callable[..., Run]) -> None:
    planned = steps(run)
    done = run("--json")
    assert done.status == 0
    assert done.json["steps"] == planned
    assert [line.removeprefix("bootstrap: ") for line in done.stderr.splitlines()] == planned
    assert done.json["roles"]["deploy"] == f"arn:aws:iam::{ACCOUNT}:role/gatepair-prod-deploy"
    again = run("--plan")
    assert again.status == 0
    assert "nothing to do" in again.stdout
    assert run().status == 0


def test_the_bucket_is_private_encrypted_and_keeps_what_it_had(
    run: Callable[..., Run], aws: Callable[[str], Any]
) -> None:
    run()
    s3 = aws("s3")
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == "eu-west-1"
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    blocked = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    assert list(blocked.values()) == [True] * 4
    (rule,) = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    assert "Expiration" not in rule, "what is current never ends"


def test_the_key_is_rotated_and_carries_no_stacks_tag(
    run: Callable[..., Run], aws: Callable[[str], Any]
) -> None:
    run()
    kms = aws("kms")
    key = kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]["KeyId"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=key)["Tags"]}
    assert tags == {"project": "gatepair", "component": "state"}


def test_the_roles_have_their_policies_and_no_others(
    run: Callable[..., Run], aws: Callable[[str], Any], root: Path
) -> None:
    run()
    iam, target = aws("iam"), targets.of("prod", root)
    provider = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=PROVIDER)
    assert provider["ClientIDList"] == ["sts.amazonaws.com"]
    for role in Role:
        name = f"gatepair-prod-{role}"
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        assert trust == policies.trust_policy(target, policies.Trust("acme/vpn"), role)
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        found = {}
        for one in attached:
            arn = one["PolicyArn"]
            assert ":policy/gatepair-pipeline/" in arn
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            said = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
            found[one["PolicyName"].removeprefix(f"{name}-")] = said["Document"]
        assert found == policies.role_policies(target, role)


# ------------------------------------------------------------------ what is there already


def test_every_setting_that_somebody_changed_is_put_right(
    run: Callable[..., Run], aws: Callable[[str], Any]
) -> None:
    run()
    s3, iam, kms = aws("s3"), aws("iam"), aws("kms")
    arn = f"arn:aws:iam::{ACCOUNT}:policy/gatepair-pipeline/gatepair-prod-watch-never"
    open_to_all = allowing("*")
    other = iam.create_policy(PolicyName="other", PolicyDocument=json.dumps(open_to_all))["Policy"]
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.delete_bucket_policy(Bucket=BUCKET)
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    s3.delete_bucket_encryption(Bucket=BUCKET)
    s3.delete_bucket_tagging(Bucket=BUCKET)
    kms.disable_key_rotation(KeyId=kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]["KeyId"])
    iam.attach_role_policy(RoleName="gatepair-prod-preview", PolicyArn=other["Arn"])
    iam.put_role_policy(
        RoleName="gatepair-prod-preview",
        PolicyName="mine",
        PolicyDocument=json.dumps(open_to_all),
    )
    iam.detach_role_policy(RoleName="gatepair-prod-watch", PolicyArn=arn)
    stranger = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "210987654321"}}
    iam.update_assume_role_policy(
        RoleName="gatepair-prod-deploy",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [stranger]}),
    )
    iam.create_policy_version(
        PolicyArn=arn, PolicyDocument=json.dumps(open_to_all), SetAsDefault=True
    )
    assert steps(run) == [
        f"rotate KMS key {KEY_ALIAS} every year",
        f"bucket {BUCKET}: no public access",
        f"bucket {BUCKET}: keep older versions",
        f"bucket {BUCKET}: encrypted",
        f"bucket {BUCKET}: older versions end after 90 days",
        f"bucket {BUCKET}: encrypted connections only",
        f"bucket {BUCKET}: tags",
        f"role gatepair-prod-preview: take {other['Arn']} from it",
        "role gatepair-prod-preview: take its own policy mine from it",
        "change policy gatepair-prod-watch-never",
        "role gatepair-prod-watch: give it gatepair-prod-watch-never",
        "role gatepair-prod-deploy: whom it trusts",
    ]
    assert run().status == 0
    assert steps(run) == []


def test_a_policy_that_has_changed_often_loses_its_oldest_version(
    run: Callable[..., Run], aws: Callable[[str], Any]
) -> None:
    run()
    iam = aws("iam")
    arn = f"arn:aws:iam::{ACCOUNT}:policy/gatepair-pipeline/gatepair-prod-watch-never"
    for number in range(4):
        said = allowing(f"s3:Get{number}")
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(said), SetAsDefault=True)
    assert run().status == 0
    assert steps(run) == []
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert len(versions) == 5
    assert "v1" not in {one["VersionId"] for one in versions}


def test_a_provider_that_others_use_stays_theirs(
    run: Callable[..., Run], aws: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto cannot add an audience: the request is looked at instead."""
    iam, added = aws("iam"), []
    iam.create_open_id_connect_provider(
        Url=f"https://{policies.ISSUER}", ClientIDList=["somebody-elses"]
    )
    monkeypatch.setattr(
        iam, "add_client_id_to_open_id_connect_provider", lambda **given: added.append(given)
    )
    assert f"OIDC provider {policies.ISSUER}: for sts.amazonaws.com too" in steps(run)
    assert run().status == 0
    assert added == [{"OpenIDConnectProviderArn": PROVIDER, "ClientID": "sts.amazonaws.com"}]


def test_a_second_stack_of_the_account_shares_the_bucket_and_the_key(
    run: Callable[..., Run], root: Path, aws: Callable[[str], Any], capfd: Any
) -> None:
    run()
    shutil.copy(root / "stacks" / "Pulumi.prod.yaml", root / "stacks" / "Pulumi.beta.yaml")
    argv = ("--stack", "beta", "--repository", "acme/vpn")
    planned = Run(bootstrap.main, capfd, (*argv, "--plan", "--json")).json["steps"]
    assert planned
    assert all("gatepair-beta-" in one for one in planned)
    assert Run(bootstrap.main, capfd, argv).status == 0
    assert len(aws("kms").list_keys()["Keys"]) == 1
    assert steps(run) == [], "the first one's roles are as they were"


# ------------------------------------------------------------------ interrupted


def test_wherever_it_is_interrupted_it_goes_on_from_there(
    run: Callable[..., Run], aws: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step at a time, each run cut off after its first; nothing is made twice."""
    total = len(steps(run))
    told = bootstrapping.tell

    def once(*words: str) -> None:
        seen.append(words)
        if len(seen) > 1:
            raise KeyboardInterrupt
        told(*words)

    monkeypatch.setattr(bootstrapping, "tell", once)
    for left in range(total, 1, -1):
        seen: list[Any] = []
        stopped = run()
        assert stopped.status == 130
        assert f"interrupted after 1 of {left} steps; run it again" in stopped.stderr
    monkeypatch.setattr(bootstrapping, "tell", told)
    assert len(steps(run)) == 1
    assert run().status == 0
    assert steps(run) == []
    assert len(aws("kms").list_keys()["Keys"]) == 1


def test_a_key_that_was_made_and_not_named_is_named(
    run: Callable[..., Run], aws: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(state_key, "_name", cut)
        assert run().status == 130
    other = aws("kms").create_key(Description="somebody's")["KeyMetadata"]["KeyId"]
    first = steps(run)[0]
    assert first.startswith("name KMS key ")
    assert other not in first
    assert run().status == 0
    assert len(aws("kms").list_keys()["Keys"]) == 2


# ------------------------------------------------------------------ refused


def test_another_account_is_refused(run: Callable[..., Run], root: Path) -> None:
    path = root / "stacks" / "Pulumi.prod.yaml"
    path.write_text(path.read_text().replace(ACCOUNT, "210987654321"))
    refused = run()
    assert refused.status == 2
    assert "its account is 210987654321, these credentials are of 123456789012" in refused.stderr


def test_somebody_elses_bucket_is_refused_before_anything_is_made(
    run: Callable[..., Run], aws: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(**given: str) -> None:
        assert given == {"Bucket": BUCKET, "ExpectedBucketOwner": ACCOUNT}
        raise ClientError({"Error": {"Code": "403"}}, "HeadBucket")

    monkeypatch.setattr(aws("s3"), "head_bucket", taken)
    refused = run()
    assert refused.status == 2
    assert f"bucket {BUCKET}: belongs to another account" in refused.stderr
    assert aws("kms").list_keys()["Keys"] == []


def test_a_key_that_is_about_to_be_deleted_is_refused(
    run: Callable[..., Run], aws: Callable[[str], Any]
) -> None:
    run()
    kms = aws("kms")
    key = kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
    refused = run()
    assert refused.status == 2
    assert "is PendingDeletion: states cannot be opened with it" in refused.stderr


def test_what_aws_refuses_is_told_in_one_line(
    run: Callable[..., Run], aws: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_: str) -> None:
        said = {"Error": {"Code": "AccessDenied", "Message": "no"}}
        raise ClientError(said, "GetCallerIdentity")

    monkeypatch.setattr(aws("sts"), "get_caller_identity", denied)
    failed = run()
    assert failed.status == 1
    assert failed.stderr.count("\n") == 1
    assert "ask for the role that may" in failed.stderr


@pytest.mark.parametrize(
    "name",
    ["acme", "acme/*", "*/vpn", "acme/vpn:ref", "a/b/c", "acme@1/vpn", "acme/vpn@2", "", "a b/c"],
)
def test_a_repository_that_would_let_others_in_is_refused(
    name: str, root: Path, capfd: Any
) -> None:
    del root
    refused = Run(bootstrap.main, capfd, ("--stack", "prod", "--repository", name))
    assert refused.status == 2
    assert "is no name of a repository" in refused.stderr


@pytest.mark.parametrize("name", ["acme/vpn", "acme@12/vpn@34", "a-b.c/d_e"])
def test_a_repositorys_name_is_taken_as_github_writes_it(name: str) -> None:
    assert bootstrapping.repository(name) == name


def test_all_that_is_wrong_is_said_at_once(root: Path, capfd: Any) -> None:
    del root
    argv = ("--stack", "nope", "--repository", "*", "--branch", "x*")
    refused = Run(bootstrap.main, capfd, argv)
    assert refused.status == 2
    assert refused.stderr.count("bootstrap: ") == 3
