"""Pre-shared keys: a KMS key where the stack wants them, that gateways alone decrypt with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from iam_judge import Asked, allowing

import plan as plans
from components.preshared_keys import key_policy
from registry.preshared import context

if TYPE_CHECKING:
    from recorder import Declared, Recorder

ON = {"gatepair:presharedKeys": "true", "gatepair:httpApi": "true"}
OFF = {"gatepair:httpApi": "true"}
KEY = "arn:aws:mock:::preshared-keys-key"
ROLE = "arn:aws:iam::123456789012:role/gateway-role-0123456"
ACCOUNT = {"AWS": "arn:aws:iam::123456789012:root"}
OURS = {"StringEquals": {"kms:EncryptionContext:stack": "mine"}}


@pytest.fixture(scope="module")
def on() -> Recorder:
    """A stack that is not the lab's, with pre-shared keys."""
    return plans.build("mine", preview=False, change=ON)


@pytest.fixture(scope="module")
def off() -> Recorder:
    """The same without them."""
    return plans.build("mine", preview=False, change=OFF)


def own(plan: Recorder) -> set[str]:
    return {child.name for parent, child in plan.children() if parent.name == "preshared-keys"}


def plain(declared: Declared) -> dict[str, Any]:
    """Its inputs, with files by their path."""
    return {key: getattr(value, "path", value) for key, value in declared.inputs.items()}


def statements(declared: Declared) -> list[dict[str, Any]]:
    return json.loads(declared.inputs["policy"])["Statement"]


def parameter(plan: Recorder) -> dict[str, Any]:
    return json.loads(plan.named("environment-parameter").inputs["insecureValue"])


def test_a_stack_that_does_not_ask_for_them_has_nothing_of_it() -> None:
    for stack in ("dev", "prod", "mine", "adopting"):
        plan = plans.built(stack)
        assert not [d for d in plan.declared.values() if "kms" in d.typ.lower()], stack
        assert "preshared_key_arn" not in parameter(plan)
        assert "kms:" not in "".join(str(d.inputs.get("policy")) for d in plan.declared.values())


def test_it_replaces_no_gateway_and_changes_only_who_may_encrypt(
    on: Recorder, off: Recorder
) -> None:
    added = {d.name for urn, d in on.declared.items() if urn not in off.declared}
    assert added == {"preshared-keys", *own(on)}
    assert own(on) == {f"preshared-keys-{part}" for part in ("key", "alias", "decrypt")}
    changed = {d.name for urn, d in off.declared.items() if plain(on.declared[urn]) != plain(d)}
    assert changed == {"environment-parameter", "http-api-policy", "operator-peer-admin"}


def test_commands_find_the_key_by_the_parameter(on: Recorder) -> None:
    assert parameter(on)["preshared_key_arn"] == KEY


def test_the_key_is_rotated_and_kept_for_a_while_when_it_is_deleted(on: Recorder) -> None:
    key = on.named("preshared-keys-key")
    assert key.inputs["enableKeyRotation"] is True
    assert key.inputs["deletionWindowInDays"] == 7
    assert not key.request.protect
    kept = plans.build("prod", preview=False, change=ON).named("preshared-keys-key")
    assert kept.inputs["deletionWindowInDays"] == 30
    assert kept.request.protect


def test_people_find_the_key_by_its_alias(on: Recorder) -> None:
    alias = on.named("preshared-keys-alias").inputs
    assert alias["name"] == "alias/gatepair/mine"
    assert alias["targetKeyId"] == "preshared-keys-key-id"


def test_gateways_decrypt_with_exactly_this_key_and_for_this_stack(on: Recorder) -> None:
    policy = on.named("preshared-keys-decrypt")
    assert policy.inputs["role"] == "gateway-role-id"
    (only,) = statements(policy)
    assert {name: only[name] for name in ("Effect", "Action", "Resource", "Condition")} == {
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": KEY,
        "Condition": OURS,
    }


@pytest.mark.parametrize("name", ["operator-peer-admin", "http-api-policy"])
def test_who_lets_peers_in_encrypts_and_decrypts_nothing(on: Recorder, name: str) -> None:
    found = [s for s in statements(on.named(name)) if "kms" in str(s["Action"])]
    assert [(s["Action"], s["Resource"], s["Condition"]) for s in found] == [
        ("kms:Encrypt", KEY, OURS)
    ]


@pytest.mark.parametrize("name", ["operator-viewer", "operator-gateway-admin", "gateway-policy"])
def test_nobody_else_uses_it(on: Recorder, name: str) -> None:
    assert "kms:" not in on.named(name).inputs["policy"]


def test_the_keys_own_policy_is_of_the_gateways_role(on: Recorder) -> None:
    made = on.named("preshared-keys-key").inputs["policy"]
    assert json.loads(made) == key_policy("arn:aws:mock:::gateway-role", "mine")


def test_the_keys_own_policy_lets_nobody_but_the_gateways_decrypt() -> None:
    keep, encrypt, decrypt = key_policy(ROLE, "mine")["Statement"]
    for statement in (keep, encrypt, decrypt):
        assert statement["Principal"] == ACCOUNT
        assert statement["Effect"] == "Allow"
    assert (encrypt["Action"], encrypt["Condition"]) == ("kms:Encrypt", OURS)
    assert decrypt["Action"] == "kms:Decrypt"
    assert decrypt["Condition"] == {**OURS, "ArnEquals": {"aws:PrincipalArn": ROLE}}
    assert not [
        action
        for action in keep["Action"]
        if "*" in action or action.partition(":")[2].startswith(("Encrypt", "Decrypt", "ReEncrypt"))
    ]
    assert "kms:CreateGrant" not in keep["Action"], "a grant would be a way to decrypt"
    assert "kms:PutKeyPolicy" in keep["Action"], "KMS refuses a key that nobody could manage"


def test_what_is_encrypted_carries_what_the_policies_ask_for(on: Recorder) -> None:
    (statement,) = statements(on.named("preshared-keys-decrypt"))
    document = {"Statement": [statement]}

    def asked(stack: str) -> Asked:
        said = {
            f"kms:EncryptionContext:{name}": (value,)
            for name, value in context(stack, "KEY").items()
        }
        return Asked("kms:Decrypt", KEY, said)

    assert allowing(document, asked("mine")) == ["OpenPresharedKeys"]
    assert allowing(document, asked("other")) == []


def test_arns_are_written_for_the_partition_of_the_role() -> None:
    policy = key_policy("arn:aws-us-gov:iam::123456789012:role/x", "mine")
    assert policy["Statement"][0]["Principal"]["AWS"].startswith("arn:aws-us-gov:iam::")
