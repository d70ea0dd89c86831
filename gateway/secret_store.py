"""The secret that holds the private keys: one version per key generation. A thin effect.

Always by VersionId: a stage label could point at another version, and a read by default stage may
be stale. Values are never logged and never part of an error.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

ABSENT = "ResourceNotFoundException"
TAKEN = "ResourceExistsException"


class SecretStore:
    """One secret in Secrets Manager. `client` is a boto3 client; its errors pass through."""

    def __init__(self, client: Any, secret: str) -> None:
        self._client, self._secret = client, secret

    def get(self, version: str) -> str | None:
        """The text of this version, or None when there is no such version."""
        try:
            answer = self._client.get_secret_value(SecretId=self._secret, VersionId=version)
        except ClientError as err:
            if _code(err) == ABSENT:
                return None
            raise
        return answer["SecretString"]

    def put(self, version: str, value: str, stage: str) -> bool:
        """Create this version with a label of its own; False when another writer was first.

        A version without a label is deleted by AWS in time; the label keeps it. AWSCURRENT is not
        moved: no reader goes by it.
        """
        try:
            self._client.put_secret_value(
                SecretId=self._secret,
                ClientRequestToken=version,
                SecretString=value,
                VersionStages=[stage],
            )
        except ClientError as err:
            if _code(err) == TAKEN:
                return False
            raise
        return True


def _code(err: ClientError) -> str:
    return err.response.get("Error", {}).get("Code", "")
