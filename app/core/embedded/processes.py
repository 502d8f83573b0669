"""Which server processes of a data folder are alive, however their supervisor ended.

A process id in a lock file proves nothing: after a crash it may belong to any other program. What a process
calls itself does: a postmaster by its `-D` argument, its children by the cluster name in their title.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class PidFile:
    """What `postmaster.pid` says. `status` is 'starting', 'stopping', 'ready' or 'standby'; empty when too early."""

    pid: int
    port: int
    socket_dir: str
    status: str


def read_pid_file(pgdata: Path) -> PidFile | None:
    """The postmaster's own lock file, or None when there is none that can be read."""
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        lines += [""] * (8 - len(lines))
        return PidFile(abs(int(lines[0])), int(lines[3] or 0), lines[4], lines[7].strip())
    except (OSError, ValueError):
        return None


def command_lines() -> Iterator[tuple[int, str]]:
    """Process id and command line of every process, arguments separated by spaces."""
    proc = Path("/proc")
    if (proc / "self/cmdline").exists():
        for entry in proc.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    raw = (entry / "cmdline").read_bytes()
                    yield int(entry.name), raw.replace(b"\0", b" ").decode(errors="replace").strip()
        return
    listing = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.strip()


def find_postmaster(pgdata: Path) -> int | None:
    """Process id of the living postmaster of this data, or None.

    Only the process that `postmaster.pid` names can be it: a server that finds another's file does not start.
    """
    found = read_pid_file(pgdata)
    if found is None:
        return None
    if _working_directory(found.pid) == str(pgdata.resolve()):
        return found.pid
    command = next((text for pid, text in command_lines() if pid == found.pid), "")
    program = command.partition(" ")[0].rsplit("/", 1)[-1]
    return found.pid if program in ("postgres", "postmaster") and f"-D {pgdata}" in command else None


def find_orphans(cluster_name: str) -> list[int]:
    """Process ids of the postmaster's children that are still there."""
    return [pid for pid, text in command_lines() if text.startswith(f"postgres: {cluster_name}: ")]


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def die_with_parent(number: signal.Signals, parent: int | None = None) -> Callable[[], None] | None:
    """For `preexec_fn`: have the kernel send `number` to the child when the thread that starts it ends.

    A child that runs already and asks for itself says who its `parent` is.

    None where the system cannot (it is Linux's own); there a survivor is found and stopped by the next start.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    expected = os.getpid() if parent is None else parent

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != expected:
            os._exit(1)

    return ask


def _working_directory(pid: int) -> str | None:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/cwd").readlink())
    return None
