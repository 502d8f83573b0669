"""The data folder: where everything of one embedded server is, and the lock that gives it one supervisor."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from app.core.embedded.account import Account
from app.core.embedded.errors import AccountError, DataInUseError

SOCKET_PATH_MAX = 103
"""Longest path of a Unix socket that every supported system takes (macOS: 104 bytes with the final zero)."""
DEFAULT_PORT = 5432
"""Names the socket; no TCP port is opened unless one is asked for."""
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+@~ -]+")
"""Paths that need no quoting in a connection URL or in postgresql.conf (a comma separates hosts in both)."""


class DataFolder:
    """Paths inside one data folder, and who may supervise it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.pgdata = self.path / "postgres"
        self.lock_file = self.path / "supervisor.lock"
        self.start_log = self.path / "postgres-start.log"
        self.tag = hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        self._lock: int | None = None

    @property
    def cluster_name(self) -> str:
        """Shown in the title of each server process, which is how strays of this folder are told apart."""
        return f"tessera-{self.tag}"

    @property
    def initialised(self) -> bool:
        """Whether initdb has finished here once."""
        return (self.pgdata / "PG_VERSION").is_file()

    @property
    def socket_dir(self) -> Path:
        """The socket's folder: inside the data folder if that path is short and plain, else a private one in /tmp."""
        inside = self.path / "run"
        short = len(os.fsencode(inside / ".s.PGSQL.65535")) <= SOCKET_PATH_MAX
        if short and PLAIN_PATH.fullmatch(str(inside)):
            return inside
        return Path("/tmp") / f"tessera-{self.tag}"  # its owner and mode are checked before use

    def create(self, account: Account) -> None:
        """Make the folder, so that `account` may pass through it and nobody else may look inside."""
        make_folder(self.path)
        with contextlib.suppress(PermissionError):
            self.path.chmod(0o711 if account.switches else 0o700)
        if not account.reaches(self.path):
            raise AccountError(
                f"the account {account.name!r}, as which the embedded PostgreSQL runs when Tessera is started by "
                f"root, cannot reach {self.path}. Choose a folder it can reach with TESSERA_DATA (such as "
                f"/var/lib/tessera), or another account with TESSERA_PG_USER."
            )

    def create_socket_dir(self, account: Account) -> Path:
        """Make the socket's folder, private to the account; refuses one that somebody else put there."""
        path = self.socket_dir
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            account.own(path)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()):
            raise AccountError(f"{path} must be a folder of the account {account.name!r}; remove it and start again.")
        account.own(path)
        path.chmod(0o700)
        return path

    def lock(self) -> None:
        """Become the one supervisor of this folder, until `unlock` or the end of the process.

        Raises DataInUseError when another process is. The kernel drops the lock of a process that died.
        """
        if self._lock is not None:
            raise DataInUseError(str(self.path), os.getpid())
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = self.supervisor_pid()
            os.close(descriptor)
            raise DataInUseError(str(self.path), pid) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def unlock(self) -> None:
        """Let go of the folder; does nothing when it is not ours."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def supervisor_pid(self) -> int | None:
        """Process id of whoever wrote the lock last."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.lock_file.read_text().strip())
        return None

    def remove_leftovers(self) -> None:
        """Remove what a start that was cut short has left. Only under the lock."""
        for stale in (*self.path.glob("postgres.new-*"), *self.path.glob("server.new-*")):
            shutil.rmtree(stale, ignore_errors=True)
        if self.pgdata.is_dir() and not any(self.pgdata.iterdir()):
            self.pgdata.rmdir()

    def new_pgdata(self, account: Account) -> Path:
        """An empty folder of the account's own, which becomes `pgdata` by a rename once it is complete."""
        path = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.path))
        account.own(path)
        return path

    def adopt_pgdata(self, complete: Path) -> None:
        """Put a finished folder in its place, in a way that survives a power cut."""
        complete.rename(self.pgdata)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, which anybody may pass through whatever the umask is."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(0o755 if folder != path else 0o711)
