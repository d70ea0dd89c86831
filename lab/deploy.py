"""`python -m lab.deploy`: the program's lab stack, deployed on the lab's cloud.

Runs the very `__main__.py` that `pulumi up` runs, with the stack file's configuration, in this
process. Run again it changes only what changed. Exit status: 0 done, 1 failed, 2 refused input,
3 a plan that has changes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import json
import logging
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi.runtime
from botocore.exceptions import BotoCoreError, ClientError
from pulumi.runtime.settings import SETTINGS, set_root_resource
from pulumi.runtime.stack import run_in_stack

from effects import Refusal
from lab import aws, paths, project
from lab.engine import Changes, Engine, report
from lab.resources.base import Context
from lab.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

STACK = "lab"


def deploy(
    target: project.Project,
    client: Callable[[str], Any],
    state_file: Path,
    *,
    plan: bool = False,
    program: Callable[[], None] | None = None,
) -> Changes:
    """Bring the cloud behind `client` (service name -> boto3 client) to what the program declares.

    `program` stands in for the project's `__main__.py` in tests. Raises what the program or a
    handler raised; what was done before is in `state_file`, and the next call goes on from there.
    """
    state = State(state_file, target.stack)
    account = client("sts").get_caller_identity()["Account"]
    engine = Engine(
        state,
        Context(client, target.region, account),
        plan=plan,
        no_default_providers=json.loads(
            target.config.get("pulumi:disable-default-providers", "[]")
        ),
    )
    body = program or (lambda: _run_main(target.program))
    # What a former run in this process left: its futures belong to a loop that is closed
    SETTINGS.outputs.clear()
    # A context of its own: the SDK keeps its settings in context variables
    contextvars.copy_context().run(lambda: asyncio.run(_run(engine, target, body, plan=plan)))
    return engine.finish()


async def _run(
    engine: Engine, target: project.Project, body: Callable[[], None], *, plan: bool
) -> None:
    # An Output in an f-string is a mistake that would otherwise end up in a resource as text
    os.environ.setdefault("PULUMI_ERROR_OUTPUT_STRING", "true")
    pulumi.runtime.set_all_config(target.config, [])
    pulumi.runtime.set_mocks(
        engine.mocks,
        project=target.name,
        stack=target.stack,
        preview=plan,
        monitor=engine,
        logger=logging.getLogger("pulumi"),
    )
    # set_mocks leaves a finished root behind; run_in_stack makes the one that takes the outputs
    set_root_resource(None)  # ty: ignore[invalid-argument-type]
    await run_in_stack(body)


def _run_main(program: Path) -> None:
    where = str(program.parent)
    if where not in sys.path:
        sys.path.insert(0, where)
    runpy.run_path(str(program), run_name="__main__")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="lab.deploy", description=__doc__)
    parser.add_argument("--plan", action="store_true", help="show what would change, do nothing")
    parser.add_argument("--stack", default=STACK, help="the stack's name")
    parser.add_argument("--stack-file", type=Path, help="a stack file in place of the usual one")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    try:
        target = project.load(paths.CHECKOUT, options.stack, options.stack_file)
        paths.prepare()
        changes = deploy(target, aws.client, paths.state(), plan=options.plan)
    except Refusal as err:
        sys.stderr.write(f"deploy: {err}\n")
        return 2
    except (ClientError, BotoCoreError) as err:
        sys.stderr.write(f"deploy: {err}\n")
        return 1
    if options.json:
        sys.stdout.write(json.dumps(vars(changes)) + "\n")
    else:
        report(changes, plan=options.plan)
    return 3 if options.plan and changes.any else 0


if __name__ == "__main__":
    sys.exit(main())
