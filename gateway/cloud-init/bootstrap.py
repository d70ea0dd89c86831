#!/usr/bin/python3
"""Brings the gateway's code onto a fresh Debian machine and starts it.

Installs the packages that are missing, fetches the artifact named in the environment file, checks
its SHA-256, unpacks it beside older ones and hands over to its own installer. Each step is retried
for ever, slower and slower; doing it all again changes nothing. Standard library only, until boto3
is installed.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ENVIRONMENT = Path("/etc/gatepair/environment.json")
HOME = Path("/opt/gatepair")
PACKAGES = ["chrony", "conntrack", "iproute2", "nftables", "wireguard-tools"]
PACKAGES += ["python3-boto3", "python3-prometheus-client"]
LONGEST_PAUSE = 30.0  # seconds


def retried(what, step, pause=time.sleep):
    """The result of `step()`, called until it works."""
    wait = 1.0
    while True:
        try:
            return step()
        except Exception as err:  # noqa: BLE001 - whatever it was: said, and tried again
            sys.stderr.write(f"gatepair-bootstrap: {what}: {err}; again in {wait:.0f} s\n")
            pause(wait)
            wait = min(wait * 2, LONGEST_PAUSE)


def run(command, **options):
    """Runs `command` without a shell; an ending other than 0 is an error."""
    return subprocess.run(command, check=True, text=True, **options)  # noqa: S603 - fixed programs


def missing_packages():
    """Those of PACKAGES that are not fully installed."""
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"]
    lines = run(query, stdout=subprocess.PIPE, timeout=60).stdout.splitlines()
    return [name for name in PACKAGES if f"{name} installed" not in lines]


def install_packages():
    """Installs what is missing; asks no mirror when nothing is."""
    missing = missing_packages()
    if not missing:
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    run([*apt, "update"], env=env, timeout=600)
    run([*apt, "install", "-y", "--no-install-recommends", *missing], env=env, timeout=1800)


def fetch(region, bucket, key):
    """The artifact's bytes, read with the instance's role. One try: what failed is said at once."""
    importlib.invalidate_caches()
    boto3 = importlib.import_module("boto3")
    limits = {"connect_timeout": 5, "read_timeout": 20, "retries": {"total_max_attempts": 1}}
    config = importlib.import_module("botocore.config").Config(**limits)
    client = boto3.client("s3", region_name=region, config=config)
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


def unpack(data, sha256, home=HOME):
    """Unpacks `data` to home/<sha256>; never anything whose hash is another one."""
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise ValueError(f"the artifact's SHA-256 is {got}, not {sha256}: it is not run")
    fresh = home / f".{sha256}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(fresh, filter="data")
    fresh.rename(home / sha256)  # the last step: a directory with this name is whole


def make_current(sha256, home=HOME):
    """Points home/current at this version, in one step."""
    link = home / ".current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(sha256)
    link.replace(home / "current")


def main():
    """All steps, in order."""
    environment = json.loads(ENVIRONMENT.read_text())
    artifact = environment["artifact"]
    sha256 = artifact["sha256"]
    retried("packages", install_packages)
    if not (HOME / sha256).is_dir():

        def step():
            unpack(fetch(environment["region"], artifact["bucket"], artifact["key"]), sha256)

        retried(f"artifact s3://{artifact['bucket']}/{artifact['key']}", step)
    make_current(sha256)
    command = [sys.executable, "-m", "gateway.install"]
    retried("install", lambda: run(command, cwd=HOME / "current", timeout=120))
    return 0


if __name__ == "__main__":
    sys.exit(main())
