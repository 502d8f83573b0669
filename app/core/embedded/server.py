"""Starting and stopping the embedded server.

What a start has to cope with, and does:

- initdb was cut short (killed, disk full): it worked in a folder of its own that becomes the data by a rename;
- supervisor and server were killed: the server recovers from its log, which may take any time;
- only the supervisor was killed: the surviving server is stopped and started again under the new one;
- only the postmaster was killed: its children are ended before a new one touches their files;
- the process id in `postmaster.pid` belongs to some other program by now: the file is put right.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode

from app.core.embedded.account import Account, choose_account
from app.core.embedded.config import include_options, memory_bytes, server_options, write_options
from app.core.embedded.errors import DataVersionError, EmbeddedError, StartError
from app.core.embedded.files import DEFAULT_PORT, DataFolder
from app.core.embedded.install import Installation, find_installation, reachable_installation
from app.core.embedded.processes import (
    die_with_parent,
    find_orphans,
    find_postmaster,
    is_alive,
    read_pid_file,
    send,
)

SUPERUSER = "postgres"
POLL_SECONDS = 0.05
NOTICE_SECONDS = 5.0
"""How often a start or stop that takes long says that it is still at work."""
ORPHAN_SECONDS = 10.0
"""How long the children of a dead postmaster get to leave by themselves before they are killed."""
LOG_TAIL_BYTES = 4000

Notify = Callable[[str], None]


class EmbeddedPostgres:
    """One embedded server. `start` and `stop` block; both may be called again after the other.

    The server ends with the thread that started it (Linux), so start it from one that lives as long as needed.
    """

    def __init__(
        self,
        data: Path,
        *,
        superuser_password: str,
        pg_bin: Path | None = None,
        account: str | None = None,
        port: int = 0,
        options: Mapping[str, str] | None = None,
        notify: Notify = lambda message: None,
    ) -> None:
        self.folder = DataFolder(data)
        self.port = port or DEFAULT_PORT
        self._tcp_port = port
        self._password = superuser_password
        self._pg_bin = pg_bin
        self._account_name = account
        self._options = dict(options or {})
        self._notify = notify
        self._process: subprocess.Popen[bytes] | None = None
        self._installation: Installation | None = None

    @property
    def installation(self) -> Installation:
        """The binaries in use. Raises EmbeddedError before the first start."""
        if self._installation is None:
            raise EmbeddedError("the embedded PostgreSQL has not been started")
        return self._installation

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    def url(self, user: str, password: str, database: str) -> str:
        """Connection URL through the socket, for asyncpg and for psql."""
        return socket_url(self.folder.socket_dir, self.port, user, password, database)

    def superuser_url(self, database: str = "postgres") -> str:
        """Connection URL of the cluster's superuser."""
        return self.url(SUPERUSER, self._password, database)

    def start(self) -> None:
        """Make the cluster if there is none, start the server, and return once it takes connections.

        Waits for recovery, or for a restore to a moment, as long as it takes. Raises EmbeddedError; then nothing runs
        and the folder is free.
        """
        account = self._prepare_folder()
        self.folder.lock()
        try:
            self._start_locked(account)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server in an orderly way (a checkpoint, then gone) and let go of the folder. May be repeated."""
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT)
                self._wait(lambda: process.poll() is not None, "PostgreSQL is still shutting down")
        finally:
            self.folder.unlock()

    def set_superuser_password(self) -> None:
        """Give the stopped cluster the password this object has: for data whose secrets file was lost."""
        account = self._prepare_folder()
        self.folder.lock()
        try:
            self._end_survivors()
            self._install(account)
            self._configure()
            statement = f"ALTER ROLE {SUPERUSER} PASSWORD '{self._password.replace(chr(39), chr(39) * 2)}'"
            command = [self.installation.program("postgres"), "--single", "-D", str(self.folder.pgdata)]
            command += ["-c", "exit_on_error=on", "-c", "logging_collector=off", "postgres"]
            self._run(command, account, "could not set the password of the superuser", input_text=statement + "\n")
        finally:
            self.folder.unlock()

    def _prepare_folder(self) -> Account:
        account = choose_account(self._account_name, self.folder.pgdata)
        self.folder.create(account)
        return account

    def _start_locked(self, account: Account) -> None:
        self.folder.remove_leftovers()
        self._install(account)
        if not self.folder.initialised:
            self._initdb(account)
        self._check_version()
        self._end_survivors()
        self.folder.create_socket_dir(account)
        self._configure()
        restoring = (self.folder.pgdata / "recovery.signal").exists()
        self._spawn(account)
        self._wait_until_ready()
        if restoring:
            self._wait_until_restored(account)

    def _install(self, account: Account) -> None:
        found = find_installation(self._pg_bin)
        self._installation = reachable_installation(found, account, self.folder.path)

    def _initdb(self, account: Account) -> None:
        self._notify(f"Making a new PostgreSQL {self.installation.version} cluster in {self.folder.pgdata}")
        partial = self.folder.new_pgdata(account)
        with tempfile.NamedTemporaryFile("w", prefix="postgres.new-", dir=self.folder.path) as password_file:
            password_file.write(self._password + "\n")
            password_file.flush()
            account.own(Path(password_file.name))
            command = [self.installation.program("initdb"), "--pgdata", str(partial), "--username", SUPERUSER]
            command += ["--auth", "scram-sha-256", "--pwfile", password_file.name, "--data-checksums"]
            command += ["--encoding", "UTF8", "--locale", "C"]
            self._run(command, account, f"initdb failed. {self._free_space()}")
        include_options(partial)
        self.folder.adopt_pgdata(partial)

    def _check_version(self) -> None:
        major = int((self.folder.pgdata / "PG_VERSION").read_text())
        if major != self.installation.major:
            raise DataVersionError(str(self.folder.pgdata), major, self.installation.major)

    def _configure(self) -> None:
        options = server_options(self.folder, self.installation, self._tcp_port, memory_bytes(), self._options)
        write_options(self.folder.pgdata, options)

    def _end_survivors(self) -> None:
        """Leave no process of an earlier start, nor a lock file that names a stranger."""
        survivor = find_postmaster(self.folder.pgdata)
        if survivor is not None:
            self._notify(f"Stopping the PostgreSQL (process {survivor}) that outlived its supervisor")
            send(survivor, signal.SIGINT)
            self._wait(lambda: not is_alive(survivor), "The earlier PostgreSQL is still shutting down")
        self._end_orphans()
        pid_file = self.folder.pgdata / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            # A server takes its parent's id there for its own past life, so the file loses its power to stop the
            # start and keeps the shared memory key by which the server itself looks for processes still attached.
            rest = pid_file.read_text().partition("\n")[2]
            pid_file.write_text(f"{os.getpid()}\n{rest}")
        for stale in self.folder.socket_dir.glob(".s.PGSQL.*") if self.folder.socket_dir.is_dir() else ():
            stale.unlink(missing_ok=True)

    def _end_orphans(self) -> None:
        deadline = time.monotonic() + ORPHAN_SECONDS
        while orphans := find_orphans(self.folder.cluster_name):
            number = signal.SIGQUIT if time.monotonic() < deadline else signal.SIGKILL
            for pid in orphans:
                send(pid, number)
            time.sleep(POLL_SECONDS)

    def _spawn(self, account: Account) -> None:
        with self.folder.start_log.open("wb") as log:
            self._process = subprocess.Popen(
                [self.installation.program("postgres"), "-D", str(self.folder.pgdata)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                umask=0o077,
                preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - one system call, no lock is taken
                **account.process_options(),
            )

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None

        def settled() -> bool:
            if process.poll() is not None:
                return True
            found = read_pid_file(self.folder.pgdata)
            return found is not None and found.pid == process.pid and found.status == "ready"

        self._wait(settled, "PostgreSQL is still starting (after a crash it first recovers from its log)")
        self._require_life()

    def _wait_until_restored(self, account: Account) -> None:
        """Wait until a restore to a moment (recovery.signal) has ended: the server takes readers long before.

        Stopped right at the end, after it took that file away and before its checkpoint, it would go on beyond the
        moment at the next start.
        """
        process = self._process
        assert process is not None
        command = [self.installation.program("pg_controldata"), "-D", str(self.folder.pgdata)]

        def restored() -> bool:
            if process.poll() is not None:
                return True
            said = self._run(command, account, "could not see how far the restore is")
            return re.search(r"^Database cluster state: +in production$", said, re.MULTILINE) is not None

        self._wait(restored, "PostgreSQL is still restoring to the moment asked for")
        self._require_life()

    def _require_life(self) -> None:
        if self._process is not None and self._process.returncode is not None:
            raise StartError(
                f"PostgreSQL did not start (exit code {self._process.returncode}). {self._free_space()}",
                self._log_tail(),
            )

    def _wait(self, done: Callable[[], bool], notice: str) -> None:
        started = time.monotonic()
        noticed = started
        while not done():
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            if now - noticed >= NOTICE_SECONDS:
                noticed = now
                self._notify(f"{notice}: {now - started:.0f} s")

    def _run(self, command: list[str], account: Account, failure: str, input_text: str = "") -> str:
        """What a program says."""
        result: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            input=input_text,
            capture_output=True,
            text=True,
            cwd="/",
            env=_environment(),
            umask=0o077,
            start_new_session=True,
            check=False,
            **account.process_options(),
        )
        if result.returncode != 0:
            raise StartError(failure, (result.stdout + result.stderr)[-LOG_TAIL_BYTES:])
        return result.stdout

    def _free_space(self) -> str:
        space = os.statvfs(self.folder.path)
        return f"({space.f_bavail * space.f_frsize // (1024 * 1024)} MiB are free in {self.folder.path}.)"

    def _log_tail(self) -> str:
        """The end of what the server said: before it had its log file, and there."""
        logs = sorted((self.folder.pgdata / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)[-1:]
        texts = []
        for path in (self.folder.start_log, *logs):
            with contextlib.suppress(OSError), path.open("rb") as file:
                texts.append(_tail(file))
        return "\n".join(text for text in texts if text)


def socket_url(socket_dir: Path | str, port: int, user: str, password: str, database: str) -> str:
    """Connection URL through a Unix socket, in the form both asyncpg and libpq take."""
    where = urlencode({"host": str(socket_dir), "port": str(port)}, quote_via=quote)
    return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@/{quote(database, safe='')}?{where}"


def server_is_running(data: Path) -> bool:
    """Whether a server on this data folder takes connections, whoever started it."""
    folder = DataFolder(data)
    found = read_pid_file(folder.pgdata)
    if found is None or found.status != "ready":
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(f"{found.socket_dir}/.s.PGSQL.{found.port}")
        return True
    return False


def running_url(data: Path, user: str, password: str, database: str) -> str | None:
    """Connection URL of the server that runs on this data folder, or None when none does."""
    if not server_is_running(data):
        return None
    found = read_pid_file(DataFolder(data).pgdata)
    return None if found is None else socket_url(found.socket_dir, found.port, user, password, database)


def _environment() -> dict[str, str]:
    """The server inherits nothing but what it needs: no PG* variable, no locale, no secret."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _tail(file: IO[bytes]) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
    return file.read().decode(errors="replace").strip()
