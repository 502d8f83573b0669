"""Webhooks from the event to the receiver: the jobs, on a real database, with a receiver on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from standardwebhooks.webhooks import WebhookVerificationError

from app.settings import Settings
from scheduler.jobs import relay_events, webhooks
from scheduler.metrics import WEBHOOK_ATTEMPTS, WEBHOOK_DELIVERIES, WEBHOOK_LAG, WEBHOOK_POSITIONS_LOST
from scheduler.process import Runner
from scheduler.registry import JobContext, all_jobs
from tests.support.money import Tip, person, set_rate, tip
from tests.support.postgres import Clone, Connection
from tests.support.webhooks import Received, Receiver, answer, endpoint, put, receiving, relay

pytestmark = pytest.mark.makes_events

JOBS = {job.name: job for job in all_jobs()}
DUE = """
    UPDATE core.webhook_deliveries SET due_at = now() WHERE status = 'pending';
    UPDATE core.webhook_queues SET next_at = now()"""


class Process:
    """What a scheduler does of webhooks, turn by turn."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self.context = JobContext(pool, Settings())
        self.runner = Runner(self.context)

    async def turn(self, *, finish: bool = True) -> None:
        """Relay, make deliveries, send them; `finish`: wait for those on their way."""
        for name in ("relay-events", "fan-webhooks", "send-webhooks"):
            assert await self.runner.run(JOBS[name])
        if finish and self.context.going:
            await asyncio.wait(self.context.going)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver."""
    async with receiving() as found:
        yield found


@pytest_asyncio.fixture
async def process(database: Clone, db: Connection, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    """A scheduler, with its rights and no more; its turns do what is there and do not wait for more."""
    for module in (relay_events, webhooks):
        monkeypatch.setattr(module, "TURN_SECONDS", 0)
    monkeypatch.setattr(relay_events, "AGE", relay_events.NOW)
    await relay(db)  # a copy of a database begins a new epoch
    pool = await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=4)
    made = Process(pool)
    yield made
    await made.runner.finish(20)
    await pool.close()


async def states(db: Connection) -> list[tuple[object, ...]]:
    """Status, attempts, last status and error of the deliveries."""
    rows = await db.fetch(
        "SELECT status, attempts, last_status, last_error FROM api.webhook_deliveries ORDER BY delivery_id"
    )
    return [tuple(row) for row in rows]


async def test_a_tip_reaches_a_receiver_that_verifies(process: Process, db: Connection, receiver: Receiver) -> None:
    fan = await person(db, "fan", tokens=100)
    creator = await person(db, "creator", roles=["creator"])
    _, secret = await endpoint(db, creator.id, receiver.url("/shop?a=b"), ["tip.*"])
    made, delivered = WEBHOOK_DELIVERIES._value.get(), WEBHOOK_ATTEMPTS.labels("delivered")._value.get()
    await tip(db, Tip(sender=fan.id, creator=creator.id, amount=50, message="Grüße"))
    await process.turn()
    (request,) = receiver.received
    event = request.verify(secret)
    assert (event["type"], event["data"]["amount"], request.path) == ("tip.sent", 50, "/shop?a=b")
    assert event["data"]["message"] == "Grüße"
    assert event["timestamp"].endswith("Z")
    assert len(request.body) < 20_000
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert "." not in request.id
    row = await db.fetchrow("SELECT * FROM api.webhook_deliveries")
    assert row is not None
    assert (str(row["delivery_id"]), row["status"], row["attempts"]) == (request.id, "delivered", 1)
    attempt = await db.fetchrow("SELECT * FROM api.webhook_attempts")
    assert attempt is not None
    assert (attempt["status"], attempt["error"], attempt["answer"]) == (200, None, "thanks")
    assert WEBHOOK_DELIVERIES._value.get() - made == 1
    assert WEBHOOK_ATTEMPTS.labels("delivered")._value.get() - delivered == 1
    await process.turn()
    assert len(receiver.received) == 1
    assert WEBHOOK_LAG._value.get() == 0
    with pytest.raises(WebhookVerificationError):
        request.verify("whsec_" + "A" * 44)


async def test_while_a_secret_rotates_both_are_good(process: Process, db: Connection, receiver: Receiver) -> None:
    user = await person(db, "user")
    made, old = await endpoint(db, user.id, receiver.url(), ["x.y"])
    new: str = await db.fetchval("SELECT secret FROM api.rotate_webhook_secret($1)", made)
    await put(db, user.id, "x.y")
    await process.turn()
    assert receiver.received[0].verify(old) == receiver.received[0].verify(new)
    assert len(receiver.received[0].headers["webhook-signature"].split(" ")) == 2
    await db.execute("UPDATE core.webhook_secrets SET until = now() WHERE until IS NOT NULL")
    await put(db, user.id, "x.y")
    await process.turn()
    receiver.received[1].verify(new)
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verify(old)


async def test_a_retry_has_the_same_id_and_body_and_a_fresh_timestamp(
    process: Process, db: Connection, receiver: Receiver
) -> None:
    user = await person(db, "user")
    _, secret = await endpoint(db, user.id, receiver.url(), ["x.y"])
    receiver.answers["/hook"] = answer(500, b"\xff\x00 no " + b"n" * 3000)
    await put(db, user.id, "x.y")
    await process.turn()
    assert await states(db) == [("pending", 1, 500, "status")]
    kept: str = await db.fetchval("SELECT answer FROM api.webhook_attempts")
    assert kept.startswith("�� no nnn")
    assert len(kept) == 1024
    assert await db.fetchval("SELECT failures FROM core.webhook_queues") == 1
    await asyncio.sleep(1.1)
    del receiver.answers["/hook"]
    await db.execute(DUE)
    await process.turn()
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    assert int(first.headers["webhook-timestamp"]) < int(second.headers["webhook-timestamp"])
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    first.verify(secret)
    second.verify(secret)
    assert await states(db) == [("delivered", 2, 200, None)]
    assert await db.fetchval("SELECT failures FROM core.webhook_queues") == 0


ANSWERS: list[tuple[bytes, tuple[object, ...]]] = [
    (answer(204), ("delivered", 1, 204, None)),
    (answer(299, b"x" * 1_000_000), ("delivered", 1, 299, None)),
    (answer(301, Location="http://127.0.0.1:1/elsewhere"), ("pending", 1, 301, "redirect")),
    (answer(404), ("pending", 1, 404, "status")),
    (answer(410), ("dead", 1, 410, "gone")),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut", ("delivered", 1, 200, None)),
    (b"I am no server of HTTP\r\n\r\n", ("pending", 1, None, "protocol")),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, ("pending", 1, None, "protocol")),
    (b"HTTP/1.1 999 What\r\n\r\n", ("pending", 1, 999, "status")),
    (b"", ("pending", 1, None, "protocol")),
]


@pytest.mark.parametrize(("told", "state"), ANSWERS)
async def test_what_an_answer_means(
    process: Process, db: Connection, receiver: Receiver, told: bytes, state: tuple[object, ...]
) -> None:
    user = await person(db, "user")
    await endpoint(db, user.id, receiver.url(), ["x.y"])
    receiver.answers["/hook"] = told
    await put(db, user.id, "x.y")
    await process.turn()
    assert await states(db) == [state]
    assert receiver.connections == 1


async def test_nobody_is_there(process: Process, db: Connection, receiver: Receiver) -> None:
    user = await person(db, "user")
    await endpoint(db, user.id, "http://127.0.0.1:1/", ["x.y"])
    await put(db, user.id, "x.y")
    await process.turn()
    assert await states(db) == [("pending", 1, None, "connect")]


async def test_a_tarpit_delays_nobody_else_and_gets_no_more_than_its_share(
    process: Process, db: Connection, receiver: Receiver
) -> None:
    slow, quick = await person(db, "slow"), await person(db, "quick")
    tarpits, _ = await endpoint(db, slow.id, receiver.url("/slow"), ["x.y"])
    await endpoint(db, quick.id, receiver.url("/quick"), ["x.y"])
    let_go = asyncio.Event()

    async def tarpit(_: Received, writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(answer(200))

    receiver.answers["/slow"] = tarpit
    await put(db, slow.id, *["x.y"] * 12)
    await put(db, quick.id, *["x.y"] * 40)
    await process.turn(finish=False)
    for _ in range(20):
        if len(receiver.at("/quick")) == 40:
            break
        await process.turn(finish=False)
    assert len(receiver.at("/quick")) == 40
    assert len(receiver.at("/slow")) == 5
    waiting = "SELECT q.next_at > now() FROM core.webhook_queues AS q WHERE q.endpoint_id = $1"
    assert await db.fetchval(waiting, tarpits), "what has no room does not count as late"
    let_go.set()
    for _ in range(20):
        if len(receiver.at("/slow")) == 12:
            break
        await process.turn()
    await process.turn()
    assert sorted({request.id for request in receiver.received}) == sorted(request.id for request in receiver.received)
    assert set(await states(db)) == {("delivered", 1, 200, None)}


async def test_one_that_fails_gets_them_one_after_the_other(
    process: Process, db: Connection, receiver: Receiver
) -> None:
    user = await person(db, "user")
    await endpoint(db, user.id, receiver.url(), ["x.y"])
    receiver.answers["/hook"] = answer(500)
    await put(db, user.id, "x.y")
    await process.turn()
    receiver.most_at_once = 0

    async def wait(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(answer(500))

    receiver.answers["/hook"] = wait
    await put(db, user.id, *["x.y"] * 6)
    for _ in range(20):
        if len(receiver.received) >= 7:
            break
        await process.turn()
    assert len(receiver.received) >= 7
    assert receiver.most_at_once == 1


async def test_410_disables_with_a_notice_and_enabled_again_nothing_is_lost(
    process: Process, db: Connection, receiver: Receiver
) -> None:
    user = await person(db, "user")
    made, _ = await endpoint(db, user.id, receiver.url("/gone"), ["x.*"])
    await endpoint(db, user.id, receiver.url("/watch"), ["webhook.disabled"])
    receiver.answers["/gone"] = answer(410)
    await put(db, user.id, "x.one")
    await process.turn()
    await put(db, user.id, "x.two")
    await process.turn()
    (notice,) = receiver.at("/watch")
    assert (notice.event["type"], notice.event["data"]["reason"]) == ("webhook.disabled", "gone")
    assert notice.event["data"]["endpoint_id"] == str(made)
    assert len(receiver.at("/gone")) == 1
    del receiver.answers["/gone"]
    await db.execute('SELECT api.update_webhook_endpoint($1, \'{"status": "active"}\')', made)
    await process.turn()
    assert [request.event["type"] for request in receiver.at("/gone")] == ["x.one", "x.two"]
    dead: UUID = await db.fetchval("SELECT delivery_id FROM api.webhook_deliveries WHERE status = 'dead'")
    await db.execute("SELECT api.replay_webhook_delivery($1)", dead)
    await process.turn()
    assert [request.event["type"] for request in receiver.at("/gone")] == ["x.one", "x.two", "x.one"]
    assert receiver.at("/gone")[0].id == receiver.at("/gone")[2].id == str(dead)


async def test_repeated_failure_disables(process: Process, db: Connection, receiver: Receiver) -> None:
    user = await person(db, "user")
    await endpoint(db, user.id, receiver.url("/bad"), ["x.y"])
    await set_rate(db, "webhook_disable_failures", 3, "count")
    receiver.answers["/bad"] = answer(503)
    await put(db, user.id, "x.y")
    for _ in range(3):
        await process.turn()
        await db.execute(DUE)
    assert await db.fetchval("SELECT status FROM api.webhook_endpoints") == "active", "not for long enough"
    await set_rate(db, "webhook_disable_after", 0, "seconds")
    await process.turn()
    row = await db.fetchrow("SELECT status, disabled_reason, failures_in_a_row FROM api.webhook_endpoints")
    assert row is not None
    assert tuple(row) == ("disabled", "failing", 4)
    assert await db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'webhook.disabled'") == 1
    await db.execute(DUE)
    await process.turn()
    assert len(receiver.at("/bad")) == 4
    assert await states(db) == [("pending", 4, 503, "status")], "it waits"


async def test_retry_after_is_honoured(process: Process, db: Connection, receiver: Receiver) -> None:
    user = await person(db, "user")
    await endpoint(db, user.id, receiver.url(), ["x.y"])
    receiver.answers["/hook"] = answer(429, Retry_After="3600")
    await put(db, user.id, "x.y")
    await process.turn()
    assert await db.fetchval("SELECT due_at > now() + interval '59 minutes' FROM core.webhook_deliveries")
    assert await states(db) == [("pending", 1, 429, "status")]


@pytest.mark.parametrize("cursors", [200, 1])
async def test_lost_positions_are_counted(
    process: Process, db: Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, cursors: int
) -> None:
    monkeypatch.setattr(webhooks, "CURSORS", cursors)
    user = await person(db, "user")
    await endpoint(db, user.id, receiver.url(), ["*"])
    before = WEBHOOK_POSITIONS_LOST._value.get()
    await db.execute("UPDATE core.relay_state SET epoch = gen_random_uuid()")
    await process.turn()
    assert WEBHOOK_POSITIONS_LOST._value.get() - before == 2
    assert await db.fetchval("SELECT position_lost_at IS NOT NULL FROM api.webhook_endpoints")
    await put(db, user.id, "x.y")
    await process.turn()
    assert len(receiver.received) == 1


async def test_the_end_of_a_process_waits_for_what_is_on_its_way(
    process: Process, db: Connection, receiver: Receiver
) -> None:
    user = await person(db, "user")
    await endpoint(db, user.id, receiver.url(), ["x.y"])

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(answer(200))

    receiver.answers["/hook"] = slow
    await put(db, user.id, "x.y")
    await process.turn(finish=False)
    await process.runner.finish(10)
    assert await states(db) == [("delivered", 1, 200, None)]


async def test_old_deliveries_and_deleted_endpoints_go(process: Process, db: Connection, receiver: Receiver) -> None:
    user = await person(db, "user")
    made, _ = await endpoint(db, user.id, receiver.url(), ["x.y"])
    gone, _ = await endpoint(db, user.id, receiver.url(), ["x.y"])
    await put(db, user.id, "x.y", "x.y")
    await process.turn()
    await db.execute(
        "UPDATE core.webhook_deliveries SET ended_at = now() - interval '31 days'"
        " WHERE id = (SELECT id FROM core.webhook_deliveries WHERE endpoint_id = $1 LIMIT 1)",
        made,
    )
    await db.execute("SELECT api.delete_webhook_endpoint($1)", gone)
    assert await process.runner.run(JOBS["prune-webhooks"])
    assert await db.fetchval("SELECT count(*) FROM core.webhook_deliveries") == 1
    assert await db.fetchval("SELECT count(*) FROM core.webhook_attempts") == 1
    assert await db.fetchval("SELECT count(*) FROM core.webhook_endpoints") == 2
    await db.execute("UPDATE core.webhook_endpoints SET deleted_at = now() - interval '2 hours' WHERE id = $1", gone)
    assert await process.runner.run(JOBS["prune-webhooks"])
    for table in ("endpoints", "queues", "secrets"):
        assert await db.fetchval(f"SELECT count(*) FROM core.webhook_{table}") == 1
    assert await db.fetchval("SELECT count(*) FROM core.webhook_cursors") == 2
