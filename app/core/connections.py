"""Where the database is and how to log in there, for every command, test and benchmark.

There are two kinds of service: on `DATABASE_URL`, or on the embedded server below `TESSERA_DATA`. A caller names
what it wants to do (an `Access`), and gets a URL and the session settings that give it just those rights.

    NotRunningError             the embedded server is needed and does not run
    RoleError                   the login may not become the role that is needed, or there is no such role
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

import asyncpg
import msgspec

from app.core.embedded import DataFolder, EmbeddedError, EmbeddedPostgres, running_url, server_is_running
from app.core.embedded.account import choose_account
from app.core.embedded.server import SUPERUSER
from app.core.secrets import Secrets, load_secrets, with_secrets
from app.settings import PROJECT_ROOT, Settings, load_settings

Access = Literal["app", "scheduler", "dba", "readonly", "migrate"]
"""What a connection is for. `migrate` may do everything: the superuser of the embedded server."""
ACCESSES: tuple[Access, ...] = get_args(Access)

DATABASE = "tessera"
"""Name of the database on the embedded server."""
SYSTEM_DATA = Path("/var/lib")

Notify = Callable[[str], None]


class NotRunningError(EmbeddedError):
    """The embedded server is needed and does not run."""

    def __init__(self, data: Path) -> None:
        super().__init__(
            f"no embedded PostgreSQL runs in {data}. Start the service with ./run up, or set DATABASE_URL to use a "
            f"server of your own."
        )


class RoleError(RuntimeError):
    """The login may not become the role that is needed, or there is no such role."""


class Target(msgspec.Struct, frozen=True):
    """How to connect: a URL, and the role to take on right away (None: the login's own)."""

    url: str
    role: str | None

    async def connect(self, application_name: str = "tessera") -> asyncpg.Connection[asyncpg.Record]:
        """A connection with the rights of this target."""
        session = {"application_name": application_name}
        if self.role is not None:
            session["role"] = self.role
        try:
            return await asyncpg.connect(self.url, server_settings=session)
        except asyncpg.InsufficientPrivilegeError as error:
            if self.role is None or "set role" not in str(error):
                raise
            login = login_of(self.url) or "the login"
            raise RoleError(
                f"{login} may not become {self.role}, which this needs. Either GRANT {self.role} TO {login}, or put "
                f"another login into DATABASE_URL (docs/operations-database.md, Logins)."
            ) from error
        except asyncpg.InvalidParameterValueError as error:
            if self.role is None or self.role not in str(error):
                raise
            raise RoleError(f"there is no role {self.role} on this server. Run ./run migrate.") from error


def located(settings: Settings, notify: Notify = lambda message: None) -> Settings:
    """The settings with a data folder that the embedded server can use.

    Only one case changes anything: Tessera is started by root in a checkout that the server's account cannot reach
    (below /root), and TESSERA_DATA is not set. Then the data is in /var/lib, named after the checkout.
    """
    default: Path = Settings().data
    if not settings.embedded or settings.data != default:
        return settings
    account = choose_account(settings.pg_user, DataFolder(settings.data).pgdata)
    nearest = next(folder for folder in (default, *default.parents) if folder.is_dir())
    if not account.switches or account.reaches(nearest if nearest != default else default.parent):
        return settings
    tag = hashlib.sha256(str(PROJECT_ROOT).encode()).hexdigest()[:8]
    data = SYSTEM_DATA / f"tessera-{tag}"
    notify(
        f"The account {account.name!r} cannot reach {default}, so the data is in {data} (TESSERA_DATA says otherwise)."
    )
    return msgspec.structs.replace(settings, data=data)


def service_settings(access: Access = "app", settings: Settings | None = None) -> Settings:
    """What a process of the service runs with: `database_url`, `token_secret` and `encryption_key` are filled in.

    Raises NotRunningError when that needs the embedded server and it does not run.
    """
    found = with_secrets(located(load_settings() if settings is None else settings))
    return msgspec.structs.replace(found, database_url=target(found, access).url)


def target(settings: Settings, access: Access) -> Target:
    """How to connect to the service's database. `settings` must be `located`. Raises NotRunningError."""
    role = None if access == "migrate" else f"{settings.role_prefix}_{access}"
    if settings.database_url is not None:
        url = settings.migrate_url or settings.database_url if access == "migrate" else settings.database_url
        return Target(url, None if login_of(url) == role else role)
    user, password = embedded_login(settings, load_secrets(settings.data), access)
    embedded = running_url(settings.data, user, password, DATABASE)
    if embedded is None:
        raise NotRunningError(settings.data)
    return Target(embedded, role if access == "readonly" else None)


def maintenance_url(settings: Settings) -> str:
    """The superuser of the running embedded server, in the database that every cluster has. Raises NotRunningError."""
    user, password = embedded_login(settings, load_secrets(settings.data), "migrate")
    url = running_url(settings.data, user, password, "postgres")
    if url is None:
        raise NotRunningError(settings.data)
    return url


def embedded_login(settings: Settings, secrets: Secrets, access: Access) -> tuple[str, str]:
    """Login and password on the embedded server. There the superuser takes on `readonly`."""
    logins: dict[Access, tuple[str, str]] = {
        "app": (f"{settings.role_prefix}_app", secrets.app_password),
        "scheduler": (f"{settings.role_prefix}_scheduler", secrets.scheduler_password),
        "dba": (local_dba(settings), secrets.dba_password),
        "migrate": (SUPERUSER, secrets.postgres_password),
    }
    return logins.get(access, logins["migrate"])


def local_dba(settings: Settings) -> str:
    """The login on the embedded server that is a member of the DBA group and nothing more."""
    return f"{settings.role_prefix}_local_dba"


def login_of(url: str) -> str:
    """The user name in a database URL ('' when it leaves it to the environment)."""
    return unquote(urlsplit(url).username or "")


def start_embedded(settings: Settings, notify: Notify = lambda message: None) -> EmbeddedPostgres:
    """Start the embedded server of these settings and make sure that our superuser password is its own."""
    server = EmbeddedPostgres(
        settings.data,
        superuser_password=load_secrets(settings.data).postgres_password,
        pg_bin=settings.pg_bin,
        account=settings.pg_user,
        port=settings.pg_port,
        notify=notify,
    )
    server.start()
    try:
        if not asyncio.run(_can_log_in(server.superuser_url())):
            notify("The secrets file is newer than the cluster: giving the cluster its passwords")
            server.stop()
            server.set_superuser_password()
            server.start()
    except BaseException:
        server.stop()
        raise
    return server


@contextmanager
def running_database(settings: Settings, notify: Notify = lambda message: None) -> Iterator[None]:
    """Inside, the service's database runs: already, or for as long as this lasts. `settings` must be `located`."""
    if not settings.embedded or server_is_running(settings.data):
        yield
        return
    notify("Starting the embedded PostgreSQL for this command")
    server = start_embedded(settings, notify)
    try:
        yield
    finally:
        server.stop()


async def _can_log_in(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidPasswordError:
        return False
    await connection.close()
    return True
