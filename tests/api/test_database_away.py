"""The database goes away and comes back: nothing hangs, every answer says so, and the service recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit, urlunsplit

import httpx
import pytest

from app.core import database as database_module
from app.core.errors import TesseraError, Unavailable
from tests.api.people import api, log_in, register, slug, who
from tests.support.application import running_client
from tests.support.postgres import Clone


class Proxy:
    """A TCP proxy in front of the server, that can refuse, cut, or fall silent."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = 0

    @property
    def url(self) -> str:
        """The database URL that leads through here."""
        parts = urlsplit(self._url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self.port}", query=""))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut all connections and refuse new ones."""
        self._flowing.set()
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fall_silent(self) -> None:
        """Accept everything, pass nothing on: like a network that drops packets."""
        self._flowing.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._url)
        folder = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
        port = parts.port or int(parse_qs(parts.query).get("port", ["5432"])[0])
        if folder.startswith("/"):
            behind = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        else:
            behind = await asyncio.open_connection(folder, port)
        self._writers |= {writer, behind[1]}
        await asyncio.gather(self._pump(reader, behind[1]), self._pump(behind[0], writer), return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


@asynccontextmanager
async def proxied(database: Clone) -> AsyncIterator[tuple[Proxy, httpx.AsyncClient]]:
    proxy = Proxy(database.url("app"))
    await proxy.start()
    settings = database.settings(database_url=proxy.url, statement_timeout_ms=1000)
    async with running_client(settings) as client:
        try:
            yield proxy, client
        finally:
            await proxy.stop()


async def until_ready(client: httpx.AsyncClient) -> None:
    for _ in range(100):
        if (await client.get(api("/public/health/ready"))).status_code == 200:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the service did not recover")


async def assert_unavailable(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """All of many requests at once are answered, with 503 and Retry-After; the process is alive but not ready."""
    answers = await asyncio.wait_for(asyncio.gather(*(who(client, headers) for _ in range(20))), 30)
    for answer in answers:
        assert (answer.status_code, slug(answer)) == (503, "DATABASE_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) >= 1
    assert (await client.get(api("/public/health"))).status_code == 200
    ready = await client.get(api("/public/health/ready"))
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "unavailable")
    assert "retry-after" in ready.headers


async def test_a_database_that_is_cut_off_and_comes_back(database: Clone) -> None:
    async with proxied(database) as (proxy, client):
        person = await register(client)
        assert (await who(client, person.headers)).status_code == 200
        await proxy.stop()
        await assert_unavailable(client, person.headers)
        assert slug(await log_in(client, person.email)) == "DATABASE_UNAVAILABLE"
        await proxy.start()
        await until_ready(client)
        assert (await who(client, person.headers)).status_code == 200
        assert (await log_in(client, person.email)).status_code == 200


async def test_a_database_that_falls_silent(database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACQUIRE_SECONDS", "CONNECT_SECONDS", "COMMAND_SLACK_SECONDS", "RELEASE_SECONDS", "CLOSE_SECONDS"):
        monkeypatch.setattr(database_module, name, 0.3)
    async with proxied(database) as (proxy, client):
        person = await register(client)
        proxy.fall_silent()
        await asyncio.wait_for(log_in(client, person.email), 30)
        await asyncio.wait_for(who(client, {"Authorization": "Bearer tsk_x"}), 30)
        ready = await asyncio.wait_for(client.get(api("/public/health/ready")), 30)
        assert ready.status_code == 503
        await proxy.stop()
        await proxy.start()
        await until_ready(client)
        assert (await log_in(client, person.email)).status_code == 200


async def test_it_starts_without_a_database(database: Clone) -> None:
    proxy = Proxy(database.url("app"))
    await proxy.start()
    await proxy.stop()
    async with running_client(database.settings(database_url=proxy.url)) as client:
        assert (await client.get(api("/public/health"))).status_code == 200
        assert (await client.get(api("/public/health/ready"))).status_code == 503
        assert slug(await log_in(client, "nobody@example.com")) == "DATABASE_UNAVAILABLE"
        await proxy.start()
        await until_ready(client)
        await register(client)
        await proxy.stop()


async def test_connections_that_the_server_ends_are_replaced(database: Clone, client: httpx.AsyncClient) -> None:
    person = await register(client)
    admin = await database.connect()
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    in_a_row = 0
    for _ in range(200):
        answer = await who(client, person.headers)
        assert answer.status_code in (200, 503), answer.text
        in_a_row = in_a_row + 1 if answer.status_code == 200 else 0
        if in_a_row == 10:
            break
    assert in_a_row == 10


async def test_a_pool_that_is_used_up_says_so(database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "ACQUIRE_SECONDS", 0.2)
    pool = database_module.Database(database.settings(pool_min=1, pool_max=1))
    await pool.open()
    try:
        async with pool.connection():
            with pytest.raises(Unavailable) as raised:
                await pool.fetchval("SELECT 1")
        assert raised.value.slug == "DATABASE_BUSY"
        assert await pool.fetchval("SELECT 1") == 1
    finally:
        await pool.close()


async def test_timeouts_and_conflicts_of_the_server_are_typed(database: Clone) -> None:
    pool = database_module.Database(database.settings(statement_timeout_ms=200, lock_timeout_ms=100))
    await pool.open()
    try:
        for sql, expected in (
            ("SELECT pg_sleep(5)", "DATABASE_BUSY"),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$", "TRANSACTION_CONFLICT"),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$", "TRANSACTION_CONFLICT"),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '55P03'; END $$", "DATABASE_BUSY"),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53300'; END $$", "DATABASE_BUSY"),
            ("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P01'; END $$", "DATABASE_UNAVAILABLE"),
        ):
            with pytest.raises(TesseraError) as raised:
                await pool.execute(sql)
            assert (sql, raised.value.slug) == (sql, expected)
            assert raised.value.retry_after is not None
        assert await pool.fetchval("SELECT current_user") == "tessera_app"
    finally:
        await pool.close()


async def test_a_superuser_s_url_still_has_the_rights_of_the_app(database: Clone) -> None:
    pool = database_module.Database(database.settings(database_url=database.url()))
    await pool.open()
    try:
        assert await pool.fetchval("SELECT current_user") == "tessera_app"
        assert await pool.fetchval("SELECT current_setting('application_name')") == "tessera-api"
    finally:
        await pool.close()
