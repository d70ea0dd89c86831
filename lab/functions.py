"""Lambda functions of the lab's cloud, run from the code that was deployed there.

As on AWS a process serves one event at a time and is kept for the next; when all are busy another
one is started; one that takes longer than the function's timeout is ended.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import select
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from effects import Refusal
from lab import aws, paths, process
from registry import local_cloud

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME = Path(__file__).with_name("function_runtime.py")

START_LIMIT = 20.0
"""Seconds that importing the code may take on a busy machine, beside the function's own time."""


class FunctionFailed(Exception):  # noqa: N818 - named as a sentence: the function failed
    """The function raised, ran out of time, or its process ended."""


@dataclass(frozen=True)
class Function:
    """A function as it is deployed now."""

    name: str
    handler: str
    timeout: float
    """Seconds."""
    role: str
    variables: tuple[tuple[str, str], ...]
    sha256: str
    """Of its code, in base64 as Lambda has it."""

    @classmethod
    def read(cls, name: str) -> Function:
        """Ask the cloud."""
        found = aws.client("lambda").get_function(FunctionName=name)["Configuration"]
        variables = found.get("Environment", {}).get("Variables", {})
        return cls(
            name=name,
            handler=found["Handler"],
            timeout=float(found["Timeout"]),
            role=found["Role"],
            variables=tuple(sorted(variables.items())),
            sha256=found["CodeSha256"],
        )

    def unpacked(self) -> Path:
        """Its code as a directory. Raises `Refusal` when the cloud has other code than it says."""
        digest = base64.b64decode(self.sha256).hex()
        directory = paths.run() / "functions" / digest
        if directory.exists():
            return directory
        data = _code(self.name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise Refusal(f"function {self.name}", "its code has another hash", "deploy it again")
        partial = directory.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        zipfile.ZipFile(io.BytesIO(data)).extractall(partial)
        try:
            partial.rename(directory)
        except OSError:  # another thread was faster
            if not directory.exists():
                raise
        return directory

    def environment(self) -> dict[str, str]:
        """What the function sees: its own variables, its role's credentials, the lab's cloud."""
        credentials = aws.client("sts").assume_role(RoleArn=self.role, RoleSessionName=self.name)
        given = credentials["Credentials"]
        return {
            **dict(self.variables),
            "AWS_REGION": aws.REGION,
            "AWS_DEFAULT_REGION": aws.REGION,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
            "AWS_ENDPOINT_URL": local_cloud.endpoint(),
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
        }


def _code(name: str) -> bytes:
    """The zip file, from the bucket it was deployed to: moto says its key, and not the bucket."""
    location = aws.client("lambda").get_function(FunctionName=name)["Code"]["Location"]
    key = location.rpartition("/")[2]
    s3 = aws.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        try:
            return s3.get_object(Bucket=bucket["Name"], Key=key)["Body"].read()
        except ClientError as err:
            if err.response["Error"]["Code"] != "NoSuchKey":
                raise
    raise Refusal(f"function {name}", f"no bucket has its code, {key}", "deploy it again")


class _Worker:
    """One process with the function in it."""

    def __init__(self, function: Function) -> None:
        mark = {process.MARK: f"{paths.root()}:function-{function.name}"}
        command = [sys.executable, "-P", str(RUNTIME), str(function.unpacked()), function.handler]
        self._timeout = function.timeout
        self._child = subprocess.Popen(  # noqa: S603 - the lab's own code
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**function.environment(), **mark},
            cwd=paths.run(),
        )
        self._fresh = True

    def call(self, event: Mapping[str, Any]) -> Any:
        """What the function answers. Raises `FunctionFailed`; the worker is of no use after."""
        limit = self._timeout + (START_LIMIT if self._fresh else 0.0)
        self._fresh = False
        try:
            return self._ask(json.dumps(event).encode() + b"\n", time.monotonic() + limit)
        except (FunctionFailed, OSError, ValueError) as err:
            self.end()
            raise FunctionFailed(str(err)) from err

    def _ask(self, line: bytes, deadline: float) -> Any:
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise AssertionError("pipes were asked for")
        stdin.write(line)
        stdin.flush()
        said = b""
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise FunctionFailed("it ran out of time")
            part = os.read(stdout.fileno(), 1 << 16)
            if not part:
                raise FunctionFailed("its process ended")
            said += part
        answer = json.loads(said)
        if "error" in answer:
            raise FunctionFailed(answer["error"])
        return answer["answer"]

    def end(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.communicate()


class Pool:
    """Processes of one function, in the version that is deployed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._function: Function | None = None
        self._idle: list[_Worker] = []

    def call(self, event: Mapping[str, Any]) -> Any:
        """Have an event served. Raises `FunctionFailed`."""
        now = Function.read(self._name)
        with self._lock:
            if now != self._function:
                self._end_idle()
                self._function = now
            worker = self._idle.pop() if self._idle else None
        worker = worker or _Worker(now)
        answer = worker.call(event)
        with self._lock:
            if now == self._function:
                self._idle.append(worker)
                return answer
        worker.end()
        return answer

    def end(self) -> None:
        """End the processes that serve nothing."""
        with self._lock:
            self._end_idle()

    def _end_idle(self) -> None:
        while self._idle:
            self._idle.pop().end()
