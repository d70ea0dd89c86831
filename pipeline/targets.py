"""Where a stack is deployed to, and by whom: all of it follows from its stack file.

The names are fixed, so that workflows need no variable for an account, a bucket or a role:
`scripts/bootstrap` makes what is named here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from components.statements import partition
from effects import Refusal
from pipeline import stack_files
from registry.refusals import RefusedInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PROJECT = "gatepair"
"""Pulumi's name of it, and the value of the tag `project`."""

KEY_ALIAS = "alias/gatepair-state"
"""Of the KMS key for stack secrets: not below `alias/gatepair/`, where the stacks' own keys are."""

ACCOUNT = "gatepair:accountIds"


class Role(StrEnum):
    """What a workflow is to AWS."""

    PREVIEW = "preview"
    """On a pull request, whose code nobody has read yet: the stack's state, and nothing else."""
    WATCH = "watch"
    """On the main branch: reads what is there, changes nothing."""
    DEPLOY = "deploy"
    """In the stack's protected environment, after an approval."""


@dataclass(frozen=True)
class Target:
    """One stack's place in AWS."""

    stack: str
    account: str
    region: str

    @property
    def partition(self) -> str:
        """The part of AWS that the region is in, as ARNs name it."""
        return partition(self.region)

    @property
    def bucket(self) -> str:
        """Of the state, of all stacks in the account and region; S3's names are global."""
        return f"gatepair-state-{self.account}-{self.region}"

    @property
    def backend(self) -> str:
        """Pulumi's PULUMI_BACKEND_URL."""
        return f"s3://{self.bucket}?region={self.region}"

    @property
    def secrets_provider(self) -> str:
        """Of `pulumi stack init`. The context binds the stack's data key to the stack's name."""
        return f"awskms://{KEY_ALIAS}?region={self.region}&context_stack={self.stack}"

    @property
    def tags(self) -> dict[str, str]:
        """What the program gives to everything: with __main__.py."""
        return {"project": PROJECT, "stack": self.stack}

    def arns(self, names: Iterable[str], service: str = "") -> list[str]:
        """ARNs with this place filled in: partition, region, account, stack and service."""
        return [
            name.format(
                partition=self.partition,
                region=self.region,
                account=self.account,
                stack=self.stack,
                service=service,
            )
            for name in names
        ]

    def role_name(self, role: Role) -> str:
        """In IAM."""
        return f"gatepair-{self.stack}-{role}"

    def role_arn(self, role: Role) -> str:
        """What a workflow assumes."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.role_name(role)}"


def of(stack: str, root: Path) -> Target:
    """The target that a stack's file names. Raises `Refusal` or `RefusedInput`."""
    path = stack_files.path_of(stack, root)
    config = stack_files.config(path.read_text(), path.name)
    accounts, region = config.get(ACCOUNT), config.get("aws:region")
    faults = []
    one = accounts[0] if isinstance(accounts, list) and len(accounts) == 1 else None
    if not isinstance(one, str) or not re.fullmatch(r"\d{12}", one):
        cure = 'a pipeline deploys to one account; write it like ["123456789012"]'
        faults.append(Refusal(f"{path.name}: {ACCOUNT}", f"{accounts!r} is not one account", cure))
    if not isinstance(region, str) or not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", region):
        cure = "write it like eu-west-1"
        faults.append(Refusal(f"{path.name}: aws:region", f"{region!r} is no region", cure))
    if faults:
        raise RefusedInput(faults)
    return Target(stack, str(one), str(region))


def engine(root: Path) -> str:
    """The version of Pulumi's command that goes with the locked library. Raises `Refusal`."""
    path = root / "requirements.lock"
    found = re.search(r"^pulumi==([0-9.]+)", path.read_text(), re.MULTILINE)
    if found is None:
        raise Refusal(path.name, "pins no pulumi", "run make lock")
    return found[1]


def settings(target: Target, role: Role, root: Path) -> Iterator[str]:
    """NAME=VALUE lines that a workflow's next steps need, for `$GITHUB_OUTPUT`."""
    yield f"role={target.role_arn(role)}"
    yield f"region={target.region}"
    yield f"account={target.account}"
    yield f"backend={target.backend}"
    yield f"pulumi={engine(root)}"
