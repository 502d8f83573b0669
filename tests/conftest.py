"""Fixtures for every test. See tests/support/postgres.py for the server behind them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from app.accounts import passwords
from tests.support.application import running_client
from tests.support.events import event_faults
from tests.support.managed import Managed, drop_roles
from tests.support.postgres import (
    Clone,
    Connection,
    ServerInfo,
    discard,
    prepare,
    release,
    run_server,
    unique_name,
    violations,
)

Connect = Callable[..., Awaitable[Connection]]

SLOW = ("tests/faults/", "tests/platform/", "tests/properties/", "tests/realtime/")
"""Where the slowest tests are."""

_run = ExitStack()
"""What the process that started the server has to undo when the run ends."""
_info: ServerInfo | None = None

# Hashes of passwords as they are, but cheap ones: nearly every test of the API makes some.
passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
passwords.DUMMY_HASH = passwords._HASHER.hash("nobody's")

hypothesis_settings.register_profile(
    "tessera",
    deadline=None,  # a shared machine: time says nothing about right and wrong
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis_settings.load_profile("tessera")


def _start() -> ServerInfo:
    global _info
    if _info is None:
        _info = asyncio.run(prepare(_run.enter_context(run_server())))
        _run.callback(asyncio.run, _ignore_errors(discard, _info))
    return _info


async def _ignore_errors(work: Callable[[ServerInfo], Awaitable[None]], info: ServerInfo) -> None:
    with suppress(OSError, asyncpg.PostgresError):
        await work(info)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With xdist: the controller starts the server, before its workers, and tells them where it is."""
    node.workerinput["tessera_server"] = msgspec.to_builtins(_start())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest come first, so that all workers end together. CI leaves out what is marked long."""
    items.sort(key=lambda item: min((n for n, name in enumerate(SLOW) if name in item.nodeid), default=len(SLOW)))
    if os.environ.get("CI"):
        for item in items:
            if item.get_closest_marker("long") is not None:
                item.add_marker(pytest.mark.skip(reason="long: CI leaves it out"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server, in the process that started it."""
    _run.close()


@pytest_asyncio.fixture(scope="session")
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ServerInfo]:
    """The run's server and the template on it."""
    told = getattr(request.config, "workerinput", {}).get("tessera_server")
    yield msgspec.convert(told, ServerInfo) if told is not None else await asyncio.to_thread(_start)
    await release()


@pytest_asyncio.fixture
async def database(server: ServerInfo, request: pytest.FixtureRequest) -> AsyncIterator[Clone]:
    """A database of this test's own.

    Afterwards the auditor goes over its books (but for `breaks_ledger` tests), and each event that was written is held
    against app.realtime.events (but for `makes_events` tests).
    """
    clone = Clone(server, unique_name("clone"))
    await server.create(clone.name)
    try:
        yield clone
        await clone.close()
        auditor = await clone.connect()
        balances = request.node.get_closest_marker("breaks_ledger") is None
        declared = request.node.get_closest_marker("makes_events") is None
        found = await violations(auditor) if balances else []
        strange = await event_faults(auditor) if declared else []
        await clone.close()
        if found:
            pytest.fail("the auditor found:\n" + "\n".join(found), pytrace=False)
        if strange:
            pytest.fail("events are not as app/realtime/events.py has them:\n" + "\n".join(strange), pytrace=False)
    finally:
        await clone.close()
        await server.drop(clone.name)


@pytest_asyncio.fixture
async def empty_database(server: ServerInfo) -> AsyncIterator[Clone]:
    """A database with nothing in it: neither schemas nor tables."""
    clone = Clone(server, unique_name("empty"))
    await server.create(clone.name, template="template0")
    try:
        yield clone
    finally:
        await clone.close()
        await server.drop(clone.name)


@pytest_asyncio.fixture
async def managed(server: ServerInfo) -> AsyncIterator[Managed]:
    """An empty database whose logins are no superusers."""
    made = Managed(server)
    await server.create(made.clone.name, template="template0")
    try:
        yield made
    finally:
        await made.clone.close()
        await server.drop(made.clone.name)
        await drop_roles(server, made.prefix)


@pytest.fixture
def connect(database: Clone) -> Connect:
    """`await connect("app")`: a connection to this test's database, as `superuser` or a key of LOGINS."""
    return database.connect


@pytest.fixture
def db_url(database: Clone) -> str:
    """URL of this test's database, as superuser."""
    return database.url()


@pytest_asyncio.fixture
async def db(database: Clone) -> Connection:
    """A connection of the superuser."""
    return await database.connect()


@pytest_asyncio.fixture
async def app_conn(database: Clone) -> Connection:
    """A connection of tessera_app, as the API has."""
    return await database.connect("app")


@pytest_asyncio.fixture
async def dba_conn(database: Clone) -> Connection:
    """A connection of a person in the group tessera_dba."""
    return await database.connect("dba")


@pytest_asyncio.fixture
async def client(database: Clone) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the whole application on this test's database (in process, no network)."""
    async with running_client(database.settings()) as http:
        yield http
