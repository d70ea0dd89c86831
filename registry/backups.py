"""An earlier minute of a table, by DynamoDB's point-in-time recovery, in a table beside it.

The table's name has the moment in it, so whoever is interrupted finds it again. Permissions: see
docs/runbooks/registry-lost.md.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from effects import Refusal
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE = 5.0
"""Seconds between looks at a table that is being made; AWS takes many minutes."""

PATIENCE = 6 * 3600.0
"""Seconds. AWS gives no limit; the largest registry is far smaller than what takes an hour."""

READY, DELETING, MISSING = "ACTIVE", "DELETING", "missing"

sleep, monotonic = time.sleep, time.monotonic


class Stuck(RegistryError):  # noqa: N818 - it is a state of the table
    """A table that does not become what it should be."""


def name_of(table: str, to: datetime) -> str:
    """The name of the table that holds `table` as it was at `to` (UTC)."""
    return f"{table}-restore-{to:%Y%m%dT%H%M%SZ}"


def bring(client: Any, table: str, to: datetime, tell: Callable[[str], None]) -> str:
    """Have `table` as it was at `to`, in a table beside it; the name of that.

    `tell` gets each new status. Called again, it waits for what the call before has begun. Raises
    `Refusal` where there is no such moment, and `Stuck`.
    """
    name, said = name_of(table, to), ""
    deadline = monotonic() + PATIENCE
    while True:
        status = _status(client, name, table)
        if status == MISSING:
            _request(client, table, name, to)
        if status == READY:
            return name
        if status not in (MISSING, said):
            tell(f"{name}: {status.lower()}")
            said = status
        if monotonic() > deadline:
            raise Stuck(f"table {name}: {status.lower()} after {PATIENCE / 3600:.0f} hours")
        if status != MISSING:
            sleep(PAUSE)


def delete(client: Any, name: str) -> None:
    """Delete the table if it is there. Refuses any table that is not one of `bring`'s."""
    if "-restore-" not in name:
        raise ValueError(name)
    try:
        client.delete_table(TableName=name)
    except ClientError as err:
        if _code(err) != "ResourceNotFoundException":
            raise


def _status(client: Any, name: str, source: str) -> str:
    try:
        found = client.describe_table(TableName=name)["Table"]
    except ClientError as err:
        if _code(err) == "ResourceNotFoundException":
            return MISSING
        raise
    origin = found.get("RestoreSummary", {}).get("SourceTableArn", "")
    if not origin.endswith(f":table/{source}"):
        raise Refusal(
            f"table {name}",
            f"is in the way: it was not restored from {source}",
            "delete or rename it, or restore to another second",
        )
    return found["TableStatus"]


def _request(client: Any, table: str, name: str, to: datetime) -> None:
    what = f"--to {to:%Y-%m-%dT%H:%M:%SZ}"
    try:
        client.restore_table_to_point_in_time(
            SourceTableName=table, TargetTableName=name, RestoreDateTime=to
        )
    except ClientError as err:
        match _code(err):
            case "InvalidRestoreTimeException":
                cure = f"choose a moment {_window(client, table)}"
                raise Refusal(what, "the table cannot be restored to it", cure) from err
            case "PointInTimeRecoveryUnavailableException":
                cure = "deploy the stack again; earlier moments are lost"
                raise Refusal(f"table {table}", "has no point-in-time recovery", cure) from err
            case "TableNotFoundException" | "ResourceNotFoundException":
                cure = "see docs/runbooks/registry-lost.md, `The table was deleted`"
                raise Refusal(f"table {table}", "is not there", cure) from err
            case "TableAlreadyExistsException" | "TableInUseException":
                return  # another call was faster
        raise


def _window(client: Any, table: str) -> str:
    answer = client.describe_continuous_backups(TableName=table)
    window = answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    first, last = window["EarliestRestorableDateTime"], window["LatestRestorableDateTime"]
    return f"from {_utc(first)} to {_utc(last)}"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _code(err: ClientError) -> str:
    return err.response.get("Error", {}).get("Code", "")
