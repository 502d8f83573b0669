"""The server's configuration: for a money ledger on a small machine.

`tessera.conf` is written anew at each start. An operator's own settings go into `local.conf` beside it, which
is read after it; ALTER SYSTEM works too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from app.core.embedded.files import DEFAULT_PORT, DataFolder
from app.core.embedded.install import Installation

MIB = 1024 * 1024
INCLUDES = """
# Tessera
include_if_exists = 'tessera.conf'   # written anew at each start
include_if_exists = 'local.conf'     # your own settings
"""


def memory_bytes() -> int:
    """Memory this machine or container has."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return min(physical, int(text))
    return physical


def server_options(
    folder: DataFolder, installation: Installation, port: int, memory: int, overrides: Mapping[str, str]
) -> dict[str, str]:
    """All settings of `tessera.conf`. `port` 0 means the socket only."""
    options = {
        # A commit that was answered is never lost.
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        # Reached through a socket that only its account can open, unless a port was asked for.
        "listen_addresses": "127.0.0.1" if port else "",
        "port": str(port or DEFAULT_PORT),
        "unix_socket_directories": str(folder.socket_dir),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "max_connections": "200",
        "cluster_name": folder.cluster_name,
        # A quarter of a big server's memory is usual; this one shares a small machine with the API.
        "shared_buffers": _mebibytes(memory // 8, 64, 4096),
        "effective_cache_size": _mebibytes(memory // 2, 128, 65536),
        "maintenance_work_mem": _mebibytes(memory // 32, 32, 512),
        "work_mem": "8MB",
        # Few checkpoints: each makes every page it finds be written whole once more.
        "checkpoint_timeout": "15min",
        "max_wal_size": "4GB",
        "min_wal_size": "256MB",
        "wal_compression": "lz4" if installation.lz4 else "off",
        # Short statements: compiling them costs more than running them.
        "jit": "off",
        "random_page_cost": "1.1",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # A week of logs in the data folder, one file a weekday. Parameters may be secrets, so they are never logged.
        "logging_collector": "on",
        "log_directory": "log",
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "log_lock_waits": "on",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }
    return {**options, **overrides}


def write_options(pgdata: Path, options: Mapping[str, str]) -> None:
    """Write `tessera.conf`, whole or not at all."""
    lines = ["# Written by Tessera at each start. Put your own settings into local.conf.\n"]
    lines += [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in options.items()]
    partial = pgdata / "tessera.conf.new"
    partial.write_text("".join(lines))
    partial.chmod(0o644)
    partial.replace(pgdata / "tessera.conf")


def include_options(pgdata: Path) -> None:
    """Make a new cluster's postgresql.conf read `tessera.conf` and `local.conf`."""
    with (pgdata / "postgresql.conf").open("a") as main:
        main.write(INCLUDES)


def _mebibytes(size: int, least: int, most: int) -> str:
    return f"{max(least, min(most, size // MIB))}MB"
