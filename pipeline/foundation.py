"""What pipelines stand on in an account: what is there, and the steps to what should be.

Looking changes nothing. Each step says what it does, can be done again, and leaves the rest to the
next look: whoever is interrupted looks again and goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from effects import Refusal
from pipeline import identities, state_bucket, state_key

if TYPE_CHECKING:
    from pipeline.ground import Ground, Step


def steps(ground: Ground) -> list[Step]:
    """All that is to be done. Raises `Refusal` where it must not be, `ClientError` as AWS does."""
    check_account(ground)
    return [*state_key.steps(ground), *state_bucket.steps(ground), *identities.steps(ground)]


def check_account(ground: Ground) -> None:
    """Raises `Refusal` unless the credentials are of the stack's account."""
    account = ground.client("sts").get_caller_identity()["Account"]
    if account != ground.target.account:
        raise Refusal(
            f"stack {ground.target.stack}",
            f"its account is {ground.target.account}, these credentials are of {account}",
            "choose the account with AWS_PROFILE",
        )
