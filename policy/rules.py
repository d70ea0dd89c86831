"""The pack's rules, each with the name that a violation is reported under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy import (
    all_protocols,
    buckets,
    encryption,
    health_checks,
    iam_wildcards,
    instance_metadata,
    key_material,
    open_ingress,
    protection,
    required_tags,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from policy.model import Resource, Violation


@dataclass(frozen=True)
class Rule:
    """One about each resource alone, judged before the resource is made or changed."""

    name: str
    says: str
    judge: Callable[[Resource], Iterable[Violation]]


@dataclass(frozen=True)
class StackRule:
    """One about all resources of a stack together, judged when all are known."""

    name: str
    says: str
    judge: Callable[[Sequence[Resource]], Iterable[Violation]]


RULES = (
    Rule(
        "open-ingress",
        "The world may reach two UDP ports at most, and path MTU discovery.",
        open_ingress.judge,
    ),
    Rule(
        "all-protocols",
        "Every protocol is let in from private addresses only.",
        all_protocols.judge,
    ),
    Rule(
        "instance-metadata",
        "Machines give their role's credentials out by IMDSv2, within one hop.",
        instance_metadata.judge,
    ),
    Rule("encryption", "Disks, tables and keys are encrypted or rotated.", encryption.judge),
    Rule(
        "iam-wildcards",
        "No policy allows everything on everything, nor to everybody.",
        iam_wildcards.judge,
    ),
    Rule("required-tags", "Whatever takes tags says project and stack.", required_tags.judge),
    Rule(
        "health-checks",
        "Target groups check the gateways' own answer, in the design's time.",
        health_checks.judge,
    ),
    Rule("key-material", "No property holds a private key or AWS credentials.", key_material.judge),
)
STACK_RULES = (
    StackRule(
        "open-ingress-place",
        "What is open to the world is open at the load balancer, where it listens.",
        open_ingress.judge_place,
    ),
    StackRule("public-buckets", "No bucket can be made public.", buckets.judge_public),
    StackRule("bucket-encryption", "Every bucket encrypts by default.", buckets.judge_encryption),
    StackRule(
        "health-check-slots",
        "Each key slot has a health check of its own.",
        health_checks.judge_slots,
    ),
    StackRule(
        "protection",
        "In production what nobody can make again is protected.",
        protection.judge,
    ),
)
