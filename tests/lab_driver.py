"""How the end-to-end tests drive the lab: the operator's commands, and the cloud behind them."""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effects import Ran, run
from registry import environment
from registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

ROOT = Path(__file__).resolve().parents[1]
HOST = "10.20.32.10"
"""The private host."""
UP_LIMIT = 420.0
"""Seconds that the lab may take to come up, its base image included."""


def eventually(what: str, seen: Callable[[], Any], *, within: float, every: float = 0.25) -> Any:
    """The first true value of `seen()`. Fails, saying what was awaited, after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        last = seen()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what} (last seen: {last!r})")
        time.sleep(every)


class LabDriver:
    """The lab as its operator sees it."""

    def script(self, name: str, *words: str, timeout: float = 60, check: bool = True) -> Ran:
        """One of the operator's commands."""
        return run([str(ROOT / "scripts" / name), *words], timeout=timeout, check=check, cwd=ROOT)

    def lab(self, *words: str, timeout: float = 60, check: bool = True) -> Ran:
        """`scripts/lab ...`."""
        return self.script("lab", *words, timeout=timeout, check=check)

    def peers(self, *words: str, check: bool = True) -> Ran:
        """`scripts/peers --stack lab ...`."""
        return self.script("peers", "--stack", "lab", *words, check=check)

    def on(self, machine: str, *command: str, timeout: float = 60, check: bool = True) -> Ran:
        """A command on a gateway, the private host or a client."""
        return self.lab("exec", machine, *command, timeout=timeout, check=check)

    def answered(self, client: str, within: float = 60) -> None:
        """Await that the private host answers a client.

        A client whose flow has come to the other gateway is silent for WireGuard's 15 s and more.
        """

        def reply() -> bool:
            return self.on(client, "ping", "-c", "1", "-W", "1", HOST, check=False).status == 0

        eventually(f"the private host answers {client}", reply, within=within)

    def replies(self, client: str, seconds: int) -> list[float]:
        """Ping the private host from a client; when the answers came, in epoch seconds."""
        command = ["ping", "-D", "-i", "0.05", "-w", str(seconds), HOST]
        ping = self.on(client, *command, timeout=seconds + 30, check=False)
        times = re.findall(r"^\[([\d.]+)\] \d+ bytes from", ping.stdout, re.MULTILINE)
        return [float(at) for at in times]

    def serving(self, client: str) -> str:
        """Instance id of the gateway that a client last shook hands with."""
        key = self.on(client, "wg", "show", "all", "public-key").stdout.split()[1]
        shook = {}
        for gateway in self.gateways():
            lines = self.on(gateway, "wg", "show", "all", "latest-handshakes").stdout.splitlines()
            shook[gateway] = max(
                (int(at) for _, of, at in map(str.split, lines) if of == key), default=0
            )
        assert any(shook.values()), f"{client} has no session"
        return max(shook, key=lambda gateway: shook[gateway])

    @contextmanager
    def cutting(self, gateway: str) -> Generator[Callable[[str], object]]:
        """Drop what a gateway sends and gets: the function takes nft's words for which packets.

        Mended at the end, if the gateway is still there. The agent owns no table but its own.
        """
        table = "inet severed"

        def nft(*commands: str, check: bool = True) -> None:
            self.on(gateway, "nft", " ; ".join(commands), check=check)

        def drop(which: str) -> None:
            nft(*(f"add rule {table} {hook} {which} drop" for hook in ("input", "output")))

        base = "{{ type filter hook {0} priority 0 ; }}"
        chains = [f"add chain {table} {hook} {base.format(hook)}" for hook in ("input", "output")]
        nft(f"add table {table}", *chains)
        try:
            yield drop
        finally:
            nft(f"delete table {table}", check=False)

    def status(self) -> dict[str, Any]:
        """`scripts/lab status --json`."""
        return json.loads(self.lab("status", "--json").stdout)

    def gateways(self) -> list[str]:
        """Instance ids of the gateways that are there."""
        return [gateway["id"] for gateway in self.status()["gateways"]]

    def public_keys(self) -> list[dict[str, str]]:
        """For each gateway, generation to public key, as it says of itself."""
        return [gateway["public_key"] for gateway in self.status()["gateways"]]

    def healthy(self) -> list[str]:
        """Instance ids of the gateways that the load balancer sends clients to."""
        return [g["id"] for g in self.status()["gateways"] if g["healthy"]]

    def both_healthy(self, *, but: str = "", within: float = 90) -> list[str]:
        """Await two healthy gateways, none of them `but`; their ids."""
        return self.all_healthy(2, but=but, within=within)

    def all_healthy(self, number: int, *, but: str = "", within: float) -> list[str]:
        """The same of any number."""

        def there() -> list[str]:
            ids = self.healthy()
            return ids if len(ids) == number and but not in ids else []

        return eventually(f"{number} healthy gateways", there, within=within)

    def health(self, gateway: str, slot: int = 0) -> tuple[int, str]:
        """Status and text of a gateway's own health answer."""
        code = (
            "import urllib.request as r, urllib.error as e\n"
            f"u = 'http://127.0.0.1:9585/healthz/{slot}'\n"
            "try:\n a = r.urlopen(u, timeout=5)\nexcept e.HTTPError as x:\n a = x\n"
            "print(a.status, a.read().decode())"
        )
        status, _, text = self.on(gateway, "python3", "-c", code).stdout.partition(" ")
        return int(status), text

    def page(self, gateway: str, path: str = "/metrics") -> str:
        """A page of a gateway's metrics, as it is served."""
        code = (
            "import urllib.request as r\n"
            f"u = 'http://127.0.0.1:9586{path}'\n"
            "print(r.urlopen(u, timeout=5).read().decode(), end='')"
        )
        return self.on(gateway, "python3", "-c", code).stdout

    def metrics(self, gateway: str) -> dict[str, float]:
        """A gateway's metrics: series to value."""
        lines = self.page(gateway).splitlines()
        series = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in series}

    @cached_property
    def cloud(self) -> environment.Cloud:
        """The lab's AWS."""
        return environment.session("lab")

    @cached_property
    def stack(self) -> environment.Environment:
        """What the program has written about the lab's stack."""
        return environment.find("lab", self.cloud)

    @cached_property
    def dynamodb(self) -> Any:
        """A client for the registry's table."""
        return self.cloud.client("dynamodb")

    @property
    def registry(self) -> Registry:
        """The registry."""
        return Registry(self.dynamodb, self.stack.table)

    def faults(self, gateway: str) -> str:
        """What a gateway says is wrong with it."""
        found = [g for g in self.status()["gateways"] if g["id"] == gateway]
        return "; ".join(fault for g in found for fault in g["faults"])

    def secret_versions(self) -> dict[str, str]:
        """Every version of the gateways' secret: VersionId to private key."""
        client, arn = self.cloud.client("secretsmanager"), self.stack.secret_arn
        found = client.list_secret_version_ids(SecretId=arn, IncludeDeprecated=True)["Versions"]
        return {
            v["VersionId"]: client.get_secret_value(SecretId=arn, VersionId=v["VersionId"])[
                "SecretString"
            ]
            for v in found
        }
