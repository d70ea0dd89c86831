"""`scripts/lab`: the local cloud, brought up, looked at, and ended.

Exit status: 0 done, 1 failed, 2 refused (nothing was created), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from effects import Failed, Refusal
from lab import (
    clients,
    edge,
    flow_records,
    host,
    kinds,
    machine,
    netns,
    process,
    proofs,
    session,
    status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

LOOK_AROUND = """
Look around:
  scripts/lab status                        gateways, load balancer, clients (--json for programs)
  scripts/lab exec alice ping -c 3 {host}
  scripts/lab exec {gateway} journalctl -u gatepair-agent
  scripts/peers --stack lab list            who may enter
  scripts/lab client carol                  one more client
  scripts/lab kill {gateway}
  make down                                 ends it all"""


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(argv)
    process.end_as_if_interrupted()
    try:
        return options.command(options)
    except Refusal as err:
        return _tell(REFUSED, str(err))
    except (Failed, TimeoutError, OSError, ClientError, BotoCoreError) as err:
        return _tell(FAILED, f"{err}; scripts/lab up goes on from here, scripts/lab down ends it")
    except KeyboardInterrupt:
        return _tell(
            INTERRUPTED, "interrupted: scripts/lab up goes on from here, scripts/lab down ends it"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, call: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=call)
        return made

    one = add("up", _up, "bring the lab up, or what of it is missing, and prove that it works")
    one.add_argument("--stack-file", type=Path, help="in place of stacks/Pulumi.lab.yaml")
    one.add_argument(
        "--kernel",
        action="store_true",
        help="begin with machines that have Debian's cloud kernel, under QEMU (slow)",
    )
    one.add_argument("--json", action="store_true", help="print the proofs as JSON")
    one = add("down", _down, "end the lab; keeps only the cached base image")
    one.add_argument("--all", action="store_true", help="remove the base image too")
    one = add("status", _status, "what there is, and how it is")
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one = add("exec", _exec, "run a command as root in a machine, as a client, or on the host")
    one.add_argument("machine", help="the beginning of a gateway's id, a client's name, or host")
    one.add_argument("words", nargs=argparse.REMAINDER, metavar="CMD", help="default: a shell")
    one = add("kill", _kill, "cut a machine's power")
    one.add_argument("machine", help="the beginning of a gateway's id")
    one = add("flows", _flows, "flow records of the VPC's interfaces, like VPC flow logs")
    one.add_argument(
        "--of", metavar="CIDR", help="only what is from or to these addresses, or this one"
    )
    one.add_argument("--json", action="store_true", help="print them as JSON")
    one = add("client", _client, "one more client: a peer, a config, a tunnel")
    one.add_argument("name", help="1 to 15 of a-z, 0-9 and -")
    return parser


def _up(options: argparse.Namespace) -> int:
    say = session.progress()
    kind = kinds.wanted(kernel=options.kernel)
    session.preflight(options.stack_file, kind)
    with session.alone("up"):
        scene = session.up(options.stack_file, say, kind)
        say("proving")
        rows = []
        for row in proofs.prove(scene):
            rows.append(row)
            if not options.json:
                say(f"{'ok  ' if row.passed else 'FAIL'} {row.what}")
    passed = all(row.passed for row in rows)
    say("all proved" if passed else "not everything could be proved")
    if options.json:
        sys.stdout.write(json.dumps({"passed": passed, "rows": proofs.as_json(rows)}, indent=2))
        sys.stdout.write("\n")
    else:
        gateway = next(iter(machine.found()), "GATEWAY")[:10]
        around = LOOK_AROUND.format(host=scene.host, gateway=gateway)
        sys.stdout.write("\n".join([*proofs.table(rows), around, ""]))
    return DONE if passed else FAILED


def _down(options: argparse.Namespace) -> int:
    say = session.progress()
    _need_root()
    with session.alone("down"):
        left = session.clear()
        if options.all:
            session.remove_image()
    if left:
        return _tell(FAILED, f"still there: {', '.join(left)}")
    say("nothing is left: no namespace, mount, process or file of a run")
    return DONE


def _status(options: argparse.Namespace) -> int:
    _need_root()
    now = status.read()
    text = json.dumps(now.as_json(), indent=2) if options.json else "\n".join(status.lines(now))
    sys.stdout.write(f"{text}\n")
    return DONE


def _exec(options: argparse.Namespace) -> NoReturn:
    _need_root()
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    command = _place(options.machine, words or ["bash"])
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606 - it becomes the command


def _place(name: str, words: list[str]) -> list[str]:
    tunnel = clients.find(name)
    if tunnel is not None:
        return tunnel.command(words)
    if name == host.NAME and netns.exists(host.NAMESPACE):
        return netns.within(host.NAMESPACE, words)
    if name in {"lb", "vpc", "inet", "nat"} and netns.exists(netns.PREFIX + name):
        return netns.within(netns.PREFIX + name, words)
    known = [*machine.found(), *(one.name for one in edge.clients()), host.NAME]
    if not any(one.startswith(name) for one in known):
        raise Refusal(f"machine {name!r}", "there is none", f"there are: {', '.join(known)}")
    return machine.command_in(machine.match(name), words)


def _kill(options: argparse.Namespace) -> int:
    _need_root()
    found = machine.match(options.machine)
    machine.power_off(found, machine.CUT)
    return _tell(DONE, f"{found} has lost its power; watch it go: scripts/lab status")


def _flows(options: argparse.Namespace) -> int:
    _need_root()
    records = flow_records.read(_cidr(options.of))
    if options.json:
        text = json.dumps({"records": [one.as_json() for one in records]}, indent=2)
    else:
        text = "\n".join(flow_records.lines(records))
    sys.stdout.write(f"{text}\n")
    return DONE


def _cidr(text: str | None) -> IPv4Network | None:
    try:
        return IPv4Network(text) if text else None
    except ValueError as err:
        raise Refusal(f"--of {text!r}", str(err), "give 10.20.32.10 or 10.20.32.0/24") from None


def _client(options: argparse.Namespace) -> int:
    _need_root()
    with session.alone(f"client {options.name}"):
        tunnel = clients.up(options.name, session.applied)
    sys.stdout.write(
        f"{tunnel.config}: what its owner would get\n"
        f"scripts/lab exec {options.name} CMD: as that client, through its tunnel\n"
    )
    return DONE


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Refusal("lab", "needs root for namespaces and machines", "run it with sudo")


def _tell(code: int, message: str) -> int:
    sys.stderr.write(f"lab: {message.removeprefix('lab: ')}\n")
    return code
