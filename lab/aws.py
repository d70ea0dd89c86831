"""boto3 clients that talk to the lab's cloud and to nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from registry import local_cloud

REGION = "eu-west-1"
ACCOUNT = "123456789012"
CREDENTIALS = "testing"
"""moto takes any; this one says what it is."""


def client(service: str) -> Any:
    """A client of `service`, made once per process and endpoint."""
    return _client(service, local_cloud.endpoint())


@cache
def _client(service: str, url: str) -> Any:
    session = boto3.Session(
        aws_access_key_id=CREDENTIALS, aws_secret_access_key=CREDENTIALS, region_name=REGION
    )
    config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 3})
    return session.client(service, endpoint_url=url, config=config)
