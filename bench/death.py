"""How a gateway dies in a bench: killed, or cut off in one step from everything, gossip included.

To all others the two are the same from then on: nothing comes from it and nothing reaches it. What
differs is what comes afterwards: a gateway that was killed is replaced by an empty one, half a
minute later and more; one that was cut off comes back with the sessions it had, and has to find out
that they are others' by now. So after a cut second outages are rather likelier, and a round takes a
tenth of the time.
"""

from __future__ import annotations

import time

from lab import machine, netns, vpc

_TABLE = "inet bench_cut"


def rules(interface: str) -> str:
    """For `nft -f -` in the VPC's router: nothing passes its link to a machine, in one step.

    Before conntrack and after NAT: the router itself, which is the metadata service and the clock,
    is behind it too.
    """
    return f"""table {_TABLE} {{
  chain from {{
    type filter hook prerouting priority -350; policy accept;
    iifname "{interface}" drop
  }}
  chain to {{
    type filter hook postrouting priority 400; policy accept;
    oifname "{interface}" drop
  }}
}}
"""


def cut(gateway: str) -> float:
    """Cut a gateway off; monotonic seconds when it was done."""
    netns.run_in(vpc.NAMESPACE, ["nft", "-f", "-"], stdin=rules(machine.link(gateway)))
    return time.monotonic()


def heal() -> None:
    """Let whoever was cut off come back; nothing happens if nobody was."""
    netns.run_in(vpc.NAMESPACE, ["nft", "delete", "table", *_TABLE.split()], check=False)


def kill(gateway: str) -> float:
    """Cut a gateway's power, as `scripts/lab kill` does; monotonic seconds when it was gone."""
    vpc.detach(machine.link(gateway))
    gone = time.monotonic()
    machine.power_off(gateway, machine.CUT)
    return gone
