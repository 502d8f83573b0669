"""The tasks of `./run`, as they stand in pyproject.toml under [tool.tessera.tasks].

A task is `name = { help = "…", run = ["command", …] }`. Its commands run in order at the root of the checkout, with
the programs of .venv first on the path; the first that fails ends it. Arguments go to the last command.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib

import msgspec

from app.settings import PROJECT_ROOT

PRIVATE_UV = PROJECT_ROOT / ".tessera" / "uv" / "bin"
"""Where `run` put uv, on a machine that has none."""


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One task: what it is for, and its commands."""

    help: str
    run: list[str]


def load_tasks() -> dict[str, Task]:
    """All tasks by name."""
    with (PROJECT_ROOT / "pyproject.toml").open("rb") as file:
        table = tomllib.load(file)["tool"]["tessera"]["tasks"]
    return msgspec.convert(table, dict[str, Task])


def run_task(task: Task, arguments: list[str]) -> int:
    """Exit code of the task's first command that fails, or 0."""
    programs = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath), str(PRIVATE_UV)]
    environment = {**os.environ, "PATH": os.pathsep.join(programs)}
    commands = [shlex.split(text) for text in task.run]
    commands[-1] += arguments
    for command in commands:
        code = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, check=False).returncode
        if code != 0:
            return code if code > 0 else 128 - code
    return 0


def main() -> int:
    """Run the task that the first argument names; without one, list what there is."""
    tasks = load_tasks()
    if len(sys.argv) > 1:
        return run_task(tasks[sys.argv[1]], sys.argv[2:])
    print("./run TASK [ARGUMENTS]\n\nThe service (./run COMMAND --help explains each):")
    print("  up                the whole service, with its own PostgreSQL, on http://127.0.0.1:8000")
    print("  demo, psql, audit, doctor, create-admin, grant, migrate, api, scheduler\n\nWork on it:")
    for name, task in tasks.items():
        print(f"  {name:<17} {task.help}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
