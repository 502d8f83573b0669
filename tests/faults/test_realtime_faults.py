"""Everything between a commit and a screen fails at random, and each subscriber ends with exactly its channels.

Two API nodes and two schedulers on one database; proxies that cut, delay, stall, half-close and refuse between
subscribers and nodes, those who tip and nodes, nodes and the database, schedulers and the database; nodes and
schedulers are killed with -9 and started again, all the time. 150 tips and 20 sockets; with TESSERA_TEST_EFFORT=10
(`./run chaos`) 10,000 tips and 200 sockets.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from asyncio.subprocess import Process
from collections import Counter, defaultdict
from contextlib import AsyncExitStack

import httpx
import msgspec

from app.realtime.client import Event, Position, RealtimeClient
from tests.api.people import Person, api, register
from tests.api.test_tips import fund
from tests.conftest import Connect
from tests.support.postgres import Clone, Connection
from tests.support.processes import kill, start
from tests.support.proxy import Proxy, target_of

EFFORT = min(int(os.environ.get("TESSERA_TEST_EFFORT", "1")), 10)
FULL = EFFORT > 1
TIPS, SOCKETS, CREATORS, LANES = (1000 * EFFORT, 20 * EFFORT, 20, 200) if FULL else (150, 20, 4, 8)
FANS, FOLLOWED = 8, 3
LIFE_SECONDS = (5.0, 20.0) if FULL else (2.0, 4.0)
"""How long a process lives from when it was ready."""
PACE_SECONDS = 0.1 if FULL else 0.4
"""Between two tips of a lane, at most."""
WEATHER_SECONDS = (0.5, 2.0) if FULL else (0.2, 1.0)
WAIT_SECONDS = 120
READY = api("/public/health/ready")


class Service(msgspec.Struct):
    """A process of the service that is killed and started again; `port` of a node."""

    arguments: tuple[str, ...]
    variables: dict[str, str]
    port: int | None = None
    process: Process | None = None
    kills: int = 0

    async def start(self) -> None:
        """Start it, and wait until a node answers (whatever it says of its database)."""
        self.process = await start(*self.arguments, **self.variables)
        deadline = time.monotonic() + WAIT_SECONDS
        async with httpx.AsyncClient() as http:
            while self.port is not None:
                assert self.process.returncode is None, f"{self.arguments} ended with {self.process.returncode}"
                assert time.monotonic() < deadline
                try:
                    await http.get(f"http://127.0.0.1:{self.port}{READY}", timeout=5)
                    return
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """As an operator does. It must end by itself; a node tells by what signal (uvicorn)."""
        assert self.process is not None
        self.process.terminate()
        code = await asyncio.wait_for(self.process.wait(), WAIT_SECONDS)
        assert code in (0, -signal.SIGTERM), f"{self.arguments} ended with {code}"

    async def torment(self, chance: random.Random, waiting: list[int]) -> None:
        """Kill it at random moments, and start it again each time, as long as there is something to do."""
        while waiting or not self.kills:
            await asyncio.sleep(chance.uniform(*LIFE_SECONDS))
            assert self.process is not None
            assert self.process.returncode is None, f"{self.arguments} ended with {self.process.returncode}"
            await kill(self.process)
            self.kills += 1
            await self.start()


class Subscriber:
    """One who follows some channels, and keeps what is told: number and tip of each event, by channel."""

    def __init__(self, url: str, person: Person, channels: list[str]) -> None:
        self.client = RealtimeClient(
            url, person.access_token, pause_seconds=(0.1, 2.0), open_seconds=5.0, silence_seconds=9.0
        )
        self.channels = channels
        self.got: dict[str, list[tuple[int, str | None]]] = defaultdict(list)

    async def listen(self) -> None:
        """Until it is closed. Nothing but events may come: no event may be lost, no right either."""
        for channel in self.channels:
            await self.client.subscribe(channel, Position(None, 0))
        async for message in self.client:
            assert isinstance(message, Event), message
            self.got[message.channel].append((message.seq, message.data.get("tip_id")))

    def has(self, heads: dict[str, int]) -> bool:
        """Whether it has come as far as these."""
        return all(len(self.got[channel]) >= heads[channel] for channel in self.channels)


class Chaos:
    """People, processes, proxies, and what becomes of them."""

    def __init__(self, database: Clone, db: Connection, connect: Connect) -> None:
        self.database = database
        self.db = db
        self.connect = connect
        self.random = random.Random(20261121)  # noqa: S311 (no secret)
        self.proxies: dict[str, Proxy] = {}
        self.services: list[Service] = []
        self.subscribers: list[Subscriber] = []
        self.fans: list[Person] = []
        self.creators: list[Person] = []
        self.streams: dict[str, str] = {}
        """Of each creator, by id."""
        self.answers: Counter[str] = Counter()
        """What those who tipped were told, until it worked."""
        self.seconds = 0.0

    async def run(self) -> None:
        """From the first process to the last; afterwards everything has been told."""
        await self.db.execute("SELECT api.relay_events()")  # a copy of the template begins its epoch
        async with AsyncExitStack() as stack:
            url = await self._start(stack)
            await self._people(url)
            started = time.monotonic()
            async with asyncio.TaskGroup() as listening:
                for number in range(SOCKETS):
                    self._subscriber(url, number)
                for subscriber in self.subscribers:
                    listening.create_task(subscriber.listen())
                await self._storm(url)
                await self._everybody_has_everything()
                self.seconds = time.monotonic() - started
                for subscriber in self.subscribers:
                    await subscriber.client.close()
            for service in self.services:
                await service.stop()

    async def _start(self, stack: AsyncExitStack) -> str:
        """All processes, each with its own way to the database; where subscribers go."""
        common = {
            "TESSERA_TOKEN_SECRET": "zq8Xv1Lm3Pk7Rw9Ty5Bn2Hs6Jd4Fg0Cx",
            "TESSERA_RATE_LIMIT_PER_MINUTE": "1000000",
            "TESSERA_RATE_LIMIT_AUTH_PER_MINUTE": "1000",
            "TESSERA_REALTIME_PER_USER": "2000",
            "TESSERA_REALTIME_PER_ADDRESS": "5000",
            "TESSERA_LOG_LEVEL": "error",
        }
        ports = [_free_port(), _free_port()]
        for name in ("node 1", "node 2", "scheduler 1", "scheduler 2"):
            proxy = self.proxies[name] = await stack.enter_async_context(Proxy(target_of(self.database.info.url)))
            login = "app" if "node" in name else "scheduler"
            variables = {**common, "DATABASE_URL": proxy.instead_of(self.database.url(login))}
            if login == "app":
                own = ports[int(name[-1]) - 1]
                service = Service(("api", "--port", str(own)), variables, own)
            else:
                service = Service(("scheduler", "--only", "relay-events"), variables)
            self.services.append(service)
            stack.push_async_callback(_kill, service)
            await service.start()
        for name in ("subscribers", "tippers"):
            self.proxies[name] = await stack.enter_async_context(Proxy(*ports))
        return f"http://127.0.0.1:{self.proxies['subscribers'].port}"

    async def _people(self, url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            people = [await register(http) for _ in range(FANS + CREATORS)]
            self.fans, self.creators = people[:FANS], people[FANS:]
            await self.db.execute(
                "UPDATE core.users SET roles = '{creator}' WHERE id = ANY ($1)", [person.id for person in self.creators]
            )
            for fan in self.fans:
                await fund(self.db, fan, 1_000_000)
            for person in self.creators:
                body = {"title": "Late show", "channel": f"show-{person.username}", "visibility": "public"}
                made = await http.post(api("/streams"), json=body, headers=person.headers)
                assert made.status_code == 201, made.text
                self.streams[str(person.id)] = made.json()["stream_id"]

    def _subscriber(self, url: str, number: int) -> None:
        """Everybody follows some streams; creators follow what is their own as well."""
        channels = [f"stream:{stream}" for stream in self.random.sample(list(self.streams.values()), FOLLOWED)]
        person = self.fans[number % FANS]
        if number % 2:
            person = self.creators[number // 2 % CREATORS]
            channels[0] = f"creator:{person.id}"
        self.subscribers.append(Subscriber(url, person, channels))

    async def _storm(self, url: str) -> None:
        """Bad weather everywhere, and processes that die, while tips are sent."""
        async with AsyncExitStack() as weather:
            for proxy in self.proxies.values():
                chance = random.Random(self.random.random())  # noqa: S311
                await weather.enter_async_context(proxy.weather(chance, WEATHER_SECONDS))
            waiting = list(range(TIPS))
            async with asyncio.TaskGroup() as work:
                for service in self.services:
                    work.create_task(service.torment(random.Random(self.random.random()), waiting))  # noqa: S311
                for _ in range(LANES):
                    work.create_task(self._tip(waiting))

    async def _tip(self, waiting: list[int]) -> None:
        """One tip after the other, each until it is taken, always with its own key."""
        url = f"http://127.0.0.1:{self.proxies['tippers'].port}"
        async with httpx.AsyncClient(base_url=url, timeout=10) as http:
            while waiting:
                number = waiting.pop()
                creator = self.random.choice(self.creators)
                where = {"stream_id": self.streams[str(creator.id)]}
                body = {"creator_id": str(creator.id), "amount": 1, "context": where}
                headers = {**self.fans[number % FANS].headers, "Idempotency-Key": f"tip-{number}"}
                told = ""
                while told != "201":
                    try:
                        answer = await http.post(api("/tips/send"), json=body, headers=headers)
                        told = str(answer.status_code)
                        assert told in ("201", "503"), answer.text
                    except httpx.TransportError as error:
                        told = type(error).__name__
                    self.answers[told] += 1
                    await asyncio.sleep(self.random.uniform(0, PACE_SECONDS))

    async def _everybody_has_everything(self) -> None:
        """Wait until nothing is on its way any more."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            channels = sorted({channel for subscriber in self.subscribers for channel in subscriber.channels})
            rows = await self.db.fetch(
                "SELECT c.name, p.seq FROM unnest($1::text []) AS c (name), api.channel_position(c.name) AS p", channels
            )
            heads = {row["name"]: row["seq"] for row in rows}
            relayed = await self.db.fetchval("SELECT r.lag IS NULL FROM api.relay_lag() AS r")
            late = [subscriber for subscriber in self.subscribers if not subscriber.has(heads)]
            if relayed and not late:
                return
            assert time.monotonic() < deadline, f"{len(late)} subscribers wait, relayed: {relayed}"
            await asyncio.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _kill(service: Service) -> None:
    if service.process is not None:
        await kill(service.process)


READ = """
SELECT e.seq, e.payload ->> 'tip_id' AS tip
FROM api.channel_position($1) AS p, api.read_channel($1, p.epoch, 0, 10000) AS e ORDER BY e.seq
"""
OUT_OF_ORDER = """
SELECT count(*)
FROM (
    SELECT e.seq, lag(e.seq) OVER (ORDER BY c.at) AS before
    FROM unnest($1::text []) WITH ORDINALITY AS c (tip, at)
    JOIN core.entries AS e ON e.transfer_id = c.tip::uuid
    JOIN core.wallets AS w ON w.id = e.wallet_id AND w.owner_id = $2
) AS x
WHERE x.seq <= x.before
"""
"""Events of a creator's channel whose order is another than that of their entries in the creator's wallet."""


async def test_everything_fails_and_nothing_is_lost(database: Clone, db: Connection, connect: Connect) -> None:
    chaos = Chaos(database, db, connect)
    await chaos.run()
    clients = [subscriber.client for subscriber in chaos.subscribers]
    log: dict[str, list[tuple[int, str | None]]] = {}
    told = 0
    for subscriber in chaos.subscribers:
        for channel in subscriber.channels:
            if channel not in log:
                log[channel] = [(row["seq"], row["tip"]) for row in await db.fetch(READ, channel)]
            assert subscriber.got[channel] == log[channel], channel
            told += len(log[channel])
    faults: Counter[str] = sum((proxy.done for proxy in chaos.proxies.values()), Counter())
    print(  # the figures of ./run chaos
        f"\n{TIPS:,} tips, {told:,} events told to {SOCKETS} subscribers in {chaos.seconds:.0f} s;"
        f" {sum(service.kills for service in chaos.services)} kills; faults {dict(faults)};"
        f" {sum(client.connections for client in clients):,} connections, {sum(c.repeats for c in clients)} repeats and"
        f" {sum(client.gaps for client in clients)} gaps seen by clients; who tipped heard {dict(chaos.answers)}"
    )
    assert all(service.kills for service in chaos.services)
    assert all([seq for seq, _ in events] == list(range(1, len(events) + 1)) for events in log.values())
    streams = [await db.fetch(READ, f"stream:{stream}") for stream in chaos.streams.values()]
    tips = [row["tip"] for events in streams for row in events if row["tip"] is not None]
    assert len(tips) == len(set(tips)) == TIPS == await db.fetchval("SELECT count(*) FROM core.tips")
    for creator in chaos.creators:
        events = [row["tip"] for row in await db.fetch(READ, f"creator:{creator.id}")]
        assert await db.fetchval(OUT_OF_ORDER, events, creator.id) == 0
