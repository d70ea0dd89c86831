"""The daemon that keeps machines and VPC what moto says they are: `python -m lab.machines`.

Twice a second it compares moto's instances with the machines there are; once a second, and at once
when the cloud rings the bell (`lab.bell`), the security groups and route tables with what the VPC
router enforces. `decide` is pure. The daemon holds no state: started again after a crash it finds
what is there.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from effects import Failed, Refusal
from lab import aws, bell, inventory, machine, paths, process, vpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from lab.inventory import Instance
    from lab.machine import Machine

NAME = "machines"
LOST_AFTER = 30.0
"""Seconds without power until Auto Scaling hears of it. Sooner than on AWS, where each instance is
checked every minute and replaced after two failures (Auto Scaling user guide, "Health checks"), and
later than the load balancer's own checks take."""
_PERIOD = 0.5
_NETWORK_PERIOD = 1.0
_REST = 0.1
"""Seconds between two looks, however often the bell is rung: a deployment changes much."""
_END_WITHIN = 5.0
_log = logging.getLogger(NAME)


@dataclass(frozen=True)
class Action:
    """What to do with one machine: `destroy`, `off`, `cut`, `boot`, or `report` it as lost."""

    kind: str
    id: str


def decide(
    instances: Mapping[str, Instance], machines: Mapping[str, Machine], now: float
) -> list[Action]:
    """What brings the machines to where the instances are: what takes power away comes first.

    `now` is in seconds since the epoch.
    """
    actions = []
    for one in machines.values():
        instance = instances.get(one.id)
        if instance is None or instance.state in {"terminated", "shutting-down"}:
            actions.append(Action("destroy", one.id))
        elif instance.state in {"stopping", "stopped"} and (one.alive or one.power != machine.OFF):
            actions.append(Action("off", one.id))
        elif instance.state in inventory.LIVE and one.power == machine.ON and not one.alive:
            # It shut itself down or crashed. Nobody switches it on behind its owner's back.
            actions.append(Action("cut", one.id))
        elif instance.scaling_group and one.power == machine.CUT and now >= one.since + LOST_AFTER:
            actions.append(Action("report", one.id))
    for instance in instances.values():
        one = machines.get(instance.id)
        if instance.state in inventory.LIVE and (one is None or one.power in {"", machine.OFF}):
            actions.append(Action("boot", instance.id))
    return actions


def attached(instances: Iterable[Instance], machines: Mapping[str, Machine]) -> list[Instance]:
    """The instances whose machine has a link to the VPC."""
    return [one for one in instances if one.id in machines and machines[one.id].power == machine.ON]


def start(say: Callable[[str], None]) -> process.Process:
    """Start the daemon, after what machines boot from has been made if it is not there.

    Returns when the daemon has looked at the cloud once. Raises `Refusal` for what this host lacks,
    before anything is made.
    """
    machine.preflight()
    machine.ensure_image(say)
    _ready().unlink(missing_ok=True)
    return process.start(NAME, process.daemon(NAME), ready=_ready().exists)


class Keeper:
    """The daemon's loops over `decide`, with the effects: `round` and `follow`, a thread each."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._ec2 = aws.client("ec2")
        self._elbv2 = aws.client("elbv2")
        self._autoscaling = aws.client("autoscaling")
        self._network = inventory.Network()
        self._wired: set[str] = set()
        """Machines with a link to the VPC that are about to be switched on."""
        self._following = threading.Lock()

    def round(self) -> None:
        """Look at the instances once and do what follows for their machines.

        An action that fails is logged and comes again.
        """
        instances = inventory.read_instances(self._ec2)
        actions = decide(instances, machine.found(), time.time())
        for action in actions:
            if action.kind != "boot":
                self._try(action, instances)
        if not actions:
            return
        self._network = inventory.read_network(self._ec2, self._elbv2)
        boots = [action for action in actions if action.kind == "boot"]
        for action in boots:
            if self._try(replace(action, kind="wire"), instances):
                self._wired.add(action.id)
        # The filter stands before the first packet, and the routes find their links
        self.follow()
        for action in boots:
            if action.id in self._wired:
                self._try(action, instances)
                self._wired.discard(action.id)

    def follow(self) -> None:
        """Make filter, routes and names what the cloud says now."""
        # Looked at inside the lock, or an older picture could undo a newer one
        with self._following:
            instances = inventory.read_instances(self._ec2)
            network = inventory.read_network(self._ec2, self._elbv2)
            there = attached(instances.values(), machine.found())
            wired = [instances[one] for one in sorted(self._wired) if one in instances]
            there += [one for one in wired if one not in there]
            attachments = [one.attachment() for one in there] + vpc.hosts()
            if vpc.apply(attachments, network):
                _log.info("the VPC's filter and routes have been renewed")

    def _try(self, action: Action, instances: Mapping[str, Instance]) -> bool:
        try:
            self._do(action, instances)
        except (Failed, OSError, KeyError, ClientError) as err:
            _log.error("%s %s: %s: %s", action.kind, action.id, type(err).__name__, err)
            return False
        _log.info("%s %s", action.kind, action.id)
        return True

    def _do(self, action: Action, instances: Mapping[str, Instance]) -> None:
        match action.kind:
            case "destroy":
                machine.destroy(action.id)
            case "off":
                machine.power_off(action.id, machine.OFF)
            case "cut":
                machine.power_off(action.id, machine.CUT)
            case "report":
                self._autoscaling.terminate_instance_in_auto_scaling_group(
                    InstanceId=action.id, ShouldDecrementDesiredCapacity=False
                )
                machine.report(action.id)
            case "wire":
                instance = instances[action.id]
                machine.wire(instance, self._network.subnets[instance.subnet_id])
            case "boot":
                machine.boot(action.id, self._image)


def main() -> int:
    """Run until SIGTERM. The machines go on without the daemon."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr
    )
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        bell.ring()

    signal.signal(signal.SIGTERM, end)
    try:
        machine.preflight()
        keeper = Keeper(machine.ensure_image(_log.info))
        listener = bell.Listener()
    except (Refusal, Failed) as err:
        _log.error("%s", err)
        return 2 if isinstance(err, Refusal) else 1
    follower = threading.Thread(target=_follow, args=(keeper, listener, stop), daemon=True)
    follower.start()
    while not stop.is_set():
        if _attempt("round", keeper.round):
            _ready().touch()
        stop.wait(_PERIOD)
    follower.join(_END_WITHIN)
    return 0


def _follow(keeper: Keeper, listener: bell.Listener, stop: threading.Event) -> None:
    # Apart from the machines: to switch one on or off takes a while, and routes must not wait
    while not stop.is_set():
        _attempt("follow", keeper.follow)
        stop.wait(_REST)
        listener.wait(_NETWORK_PERIOD - _REST)


def _attempt(name: str, look: Callable[[], None]) -> bool:
    """Whether it went well; the same trouble is logged once until it is over."""
    try:
        look()
    except (BotoCoreError, ClientError, Failed, OSError) as err:
        # Without the cloud there is nothing to compare with: everything stays as it is
        if _troubles.get(name) != str(err):
            _troubles[name] = str(err)
            _log.error("%s: %s", type(err).__name__, err)
        return False
    _troubles.pop(name, None)
    return True


_troubles: dict[str, str] = {}


def _ready() -> Path:
    return paths.run() / "machines.ready"


if __name__ == "__main__":
    sys.exit(main())
