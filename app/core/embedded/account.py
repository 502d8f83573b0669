"""The operating system account the server runs as.

PostgreSQL refuses to run as root, so a Tessera that was started by root hands the server to another account.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.embedded.errors import AccountError

FALLBACK_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """Who the server runs as; `switches` when that is not who we are."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    switches: bool

    def process_options(self) -> dict[str, Any]:
        """Arguments for subprocess that start a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)} if self.switches else {}

    def own(self, path: Path) -> None:
        """Give a file or folder to this account."""
        if self.switches:
            os.chown(path, self.uid, self.gid)

    def can_run(self, command: Sequence[str]) -> bool:
        """Whether a short command exits with 0 when this account runs it."""
        try:
            result = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False, **self.process_options()
            )
        except OSError:
            return False
        return result.returncode == 0

    def reaches(self, path: Path) -> bool:
        """Whether this account may pass through the folder `path` and all above it."""
        return self.can_run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)])


def choose_account(wanted: str | None, pgdata: Path) -> Account:
    """The account to run the server as: ourselves, unless we are root.

    As root, in this order: `wanted` (TESSERA_PG_USER), the owner of the data if there is any, `postgres`, `nobody`.
    Raises AccountError when none fits.
    """
    if os.geteuid() != 0:
        entry = _entry(os.geteuid())
        if wanted is not None and entry is not None and entry.pw_name != wanted:
            raise AccountError(
                f"TESSERA_PG_USER is {wanted!r}, but only root can run the server as another account (this is "
                f"{entry.pw_name!r}). Leave it empty."
            )
        name = entry.pw_name if entry else str(os.geteuid())
        return Account(name, os.geteuid(), os.getegid(), tuple(os.getgroups()), switches=False)
    owner = pgdata.stat().st_uid if pgdata.is_dir() else 0
    for candidate in (wanted,) if wanted else (owner or None, *FALLBACK_ACCOUNTS):
        entry = None if candidate is None else _entry(candidate)
        if entry is None or entry.pw_uid == 0:
            continue
        if owner not in (0, entry.pw_uid):
            raise AccountError(
                f"{pgdata} belongs to user id {owner}, and TESSERA_PG_USER is {wanted!r}. Leave TESSERA_PG_USER empty."
            )
        groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, switches=True)
    names = repr(wanted) if wanted else " or ".join(map(repr, FALLBACK_ACCOUNTS))
    raise AccountError(
        f"PostgreSQL refuses to run as root and there is no account {names} to run it as. Make one (useradd --system "
        f"--no-create-home tessera) and set TESSERA_PG_USER to its name, or start Tessera as an ordinary user."
    )


def _entry(who: int | str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(who) if isinstance(who, int) else pwd.getpwnam(who)
    except KeyError:
        return None
