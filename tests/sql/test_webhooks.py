"""The SQL of webhooks: each function's success and refusals, and what two who meet do."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import Connect
from tests.support.money import person, refused, set_rate, until_waiting, without_rate
from tests.support.postgres import Connection
from tests.support.webhooks import FAN, MAKE, endpoint, fan, put, relay

pytestmark = pytest.mark.makes_events

LEASE = "SELECT * FROM api.lease_webhooks($1, $2)"
FINISH = "SELECT api.finish_webhook($1, $2, $3, $4, 7)"
UPDATE = "SELECT * FROM api.update_webhook_endpoint($1, $2, $3)"
ROTATE = "SELECT * FROM api.rotate_webhook_secret($1, $2)"
DELETE = "SELECT api.delete_webhook_endpoint($1, $2)"
TEST = "SELECT * FROM api.test_webhook_endpoint($1, $2)"
REPLAY = "SELECT * FROM api.replay_webhook_delivery($1, $2)"
MINUTE = timedelta(minutes=1)
URL = "https://example.com/hook"


class Owner:
    """A user with an endpoint for everything."""

    def __init__(self, db: Connection, user: UUID, made: UUID, secret: str) -> None:
        self.db = db
        self.id = user
        self.endpoint = made
        self.secret = secret

    async def put(self, *types: str) -> None:
        """Events for them, relayed and made into deliveries."""
        await put(self.db, self.id, *types)
        await fan(self.db)

    async def due(self) -> None:
        """Time passes: all that waits is due."""
        await self.db.execute("UPDATE core.webhook_deliveries SET due_at = now() WHERE status = 'pending'")
        await self.db.execute("UPDATE core.webhook_queues SET next_at = now()")

    async def lapse(self) -> None:
        """Time passes: all leases have ended."""
        await self.db.execute(
            "UPDATE core.webhook_deliveries SET leased_until = now() - interval '1 s' WHERE leased_until IS NOT NULL"
        )
        await self.db.execute("UPDATE core.webhook_queues SET next_at = now()")

    async def lease(self, limit: int = 50, conn: Connection | None = None) -> list[asyncpg.Record]:
        """Take what is due."""
        return list(await (conn or self.db).fetch(LEASE, limit, MINUTE))

    async def attempt(self, status: int | None = 500, error: str | None = None) -> list[str]:
        """One attempt of each that is due, now."""
        await self.due()
        rows = await self.lease()
        return [await self.db.fetchval(FINISH, r["delivery_id"], r["attempt"], status, error) for r in rows]

    async def deliveries(self, columns: str = "type") -> list[Any]:
        """The deliveries to the endpoint, in the order they were made."""
        rows = await self.db.fetch(
            f"SELECT {columns} FROM api.webhook_deliveries WHERE endpoint_id = $1 ORDER BY event_at, delivery_id",
            self.endpoint,
        )
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]


@pytest_asyncio.fixture
async def owner(db: Connection) -> Owner:
    """Somebody with an endpoint."""
    await relay(db)  # a copy of a database begins a new epoch
    user = await person(db, "owner")
    await relay(db)
    return Owner(db, user.id, *await endpoint(db, user.id, URL))


@pytest.mark.parametrize(
    ("user", "url", "types", "description", "slug"),
    [
        (None, URL, ["*"], "", "INVALID_REQUEST"),
        ("own", None, ["*"], "", "INVALID_REQUEST"),
        ("own", URL, None, "", "INVALID_REQUEST"),
        ("own", "ftp://example.com/", ["*"], "", "INVALID_REQUEST"),
        ("own", "https://exam ple.com/", ["*"], "", "INVALID_REQUEST"),
        ("own", "https://example.com/" + "x" * 2048, ["*"], "", "INVALID_REQUEST"),
        ("own", URL, [], "", "INVALID_REQUEST"),
        ("own", URL, ["a.b"] * 51, "", "INVALID_REQUEST"),
        ("own", URL, ["a"], "", "INVALID_REQUEST"),
        ("own", URL, ["*.b"], "", "INVALID_REQUEST"),
        ("own", URL, ["a.b", None], "", "INVALID_REQUEST"),
        ("own", URL, ["a." + "b" * 100], "", "INVALID_REQUEST"),
        ("own", URL, ["*"], "d" * 201, "INVALID_REQUEST"),
        ("nobody", URL, ["*"], "", "USER_NOT_FOUND"),
        ("suspended", URL, ["*"], "", "USER_SUSPENDED"),
    ],
)
async def test_an_endpoint_is_refused(
    db: Connection, user: str | None, url: str | None, types: list[str] | None, description: str, slug: str
) -> None:
    own, gone = await person(db, "own"), await person(db, "suspended")
    await db.execute("UPDATE core.users SET status = 'suspended' WHERE id = $1", gone.id)
    who = {"own": own.id, "suspended": gone.id, "nobody": uuid4(), None: None}[user]
    sql = "SELECT * FROM api.create_webhook_endpoint($1, $2, $3, $4)"
    assert (await refused(db, sql, who, url, types, description)).slug == slug
    assert await db.fetchval("SELECT count(*) FROM core.webhook_endpoints") == 0


async def test_a_user_has_so_many_endpoints_at_most(db: Connection, connect: Connect) -> None:
    user = await person(db, "user")
    await set_rate(db, "webhook_endpoints", 2, "count")
    others = [await connect() for _ in range(6)]
    results = await asyncio.gather(
        *(conn.fetchrow(MAKE, user.id, URL, ["*"]) for conn in others), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 2
    refusal = await refused(db, MAKE, user.id, URL, ["*"])
    assert (refusal.code, refusal.slug, refusal.facts) == ("TS347", "TOO_MANY_WEBHOOK_ENDPOINTS", {"maximum": 2})
    await db.execute(DELETE, await db.fetchval("SELECT min(endpoint_id::text)::uuid FROM api.webhook_endpoints"), None)
    await endpoint(db, user.id, URL)
    await without_rate(db, "webhook_endpoints")
    assert (await refused(db, MAKE, user.id, URL, ["*"])).slug == "CONFIGURATION_ERROR"


async def test_a_secret_is_random_and_shown_once(owner: Owner, db: Connection, connect: Connect) -> None:
    _, other = await endpoint(db, owner.id, URL)
    assert other != owner.secret
    assert len(base64.b64decode(owner.secret.removeprefix("whsec_"))) == 32
    for login in ("app", "scheduler", "dba", "readonly"):
        conn = await connect(login)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetch("SELECT secret FROM core.webhook_secrets")
        if login != "scheduler":
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetch(LEASE, 1, MINUTE)
    assert owner.secret not in str(await db.fetch("SELECT * FROM api.webhook_endpoints"))


async def test_only_what_an_endpoint_wants_and_from_now_on(owner: Owner, db: Connection) -> None:
    some, _ = await endpoint(db, owner.id, URL, ["call.*", "tip.sent"])
    await owner.put("call.ended", "tip.sent", "tip.returned", "stream.started", "caller.id")
    wanted = await db.fetch("SELECT type FROM api.webhook_deliveries WHERE endpoint_id = $1 ORDER BY event_at", some)
    assert [row["type"] for row in wanted] == ["call.ended", "tip.sent"]
    assert await owner.deliveries() == ["call.ended", "tip.sent", "tip.returned", "stream.started", "caller.id"]
    late, _ = await endpoint(db, owner.id, URL)
    await fan(db)
    assert await db.fetchval("SELECT count(*) FROM api.webhook_deliveries WHERE endpoint_id = $1", late) == 0
    assert await db.fetchval("SELECT count(DISTINCT delivery_id) FROM api.webhook_deliveries") == 7


@pytest.mark.parametrize("events", [1, 3, 100])
async def test_an_event_in_both_channels_is_one_delivery(owner: Owner, db: Connection, events: int) -> None:
    for number in range(7):
        await put(db, owner.id, f"both.n{number}", both=True)
        await put(db, owner.id, f"user.n{number}")
    assert await fan(db, events=events) == 14
    assert await fan(db) == 0
    assert len(set(await owner.deliveries())) == 14


async def test_other_peoples_events_are_not_sent(owner: Owner, db: Connection) -> None:
    other = await person(db, "other")
    await put(db, other.id, "x.y", both=True)
    await db.execute("INSERT INTO core.outbox (type, channels, payload) VALUES ('x.y', '{stream:1,ops}', '{}')")
    assert await fan(db) == 0
    assert await owner.deliveries() == []


async def test_what_is_too_large_is_left_out(owner: Owner, db: Connection) -> None:
    await put(db, owner.id, "x.y", payload=json.dumps({"text": "é" * 12_000}))
    await put(db, owner.id, "x.y", payload=json.dumps({"text": "e" * 18_000}))
    await fan(db)
    first, second = [json.loads(payload) for payload in await owner.deliveries("payload")]
    assert first["omitted"] is True
    assert first["bytes"] > 24_000
    assert len(second["text"]) == 18_000


async def test_a_position_that_is_lost_goes_on_at_the_present(owner: Owner, db: Connection) -> None:
    await put(db, owner.id, "x.old")
    await relay(db)
    await db.execute("UPDATE core.relay_state SET epoch = gen_random_uuid()")
    row = await db.fetchrow(FAN, None, 100, 100)
    assert row is not None
    assert (row["deliveries"], row["lost"]) == (0, 2)
    assert await db.fetchval("SELECT position_lost_at IS NOT NULL FROM api.webhook_endpoints")
    await owner.put("x.new")
    assert await owner.deliveries() == ["x.new"]

    await put(db, owner.id, "x.gone", "x.kept")
    await relay(db)
    await db.execute(
        "DELETE FROM core.channel_events WHERE (channel_id, seq) IN (SELECT c.id, c.seq - 1 FROM core.channels AS c"
        " WHERE c.channel = 'user:' || $1::text)",
        str(owner.id),
    )
    row = await db.fetchrow(FAN, None, 100, 100)
    assert row is not None
    assert (row["deliveries"], row["lost"]) == (0, 1)
    await owner.put("x.newer")
    assert await owner.deliveries() == ["x.new", "x.newer"]


async def test_who_is_suspended_gets_nothing_until_they_are_not(owner: Owner, db: Connection) -> None:
    await owner.put("x.one")
    await db.execute("UPDATE core.users SET status = 'suspended' WHERE id = $1", owner.id)
    assert await owner.lease() == []
    await owner.put("x.two")
    assert await owner.deliveries() == ["x.one"]
    await db.execute("UPDATE core.users SET status = 'active' WHERE id = $1", owner.id)
    await fan(db)
    await owner.due()
    assert [row["type"] for row in await owner.lease()] == ["x.one", "x.two"]


async def test_many_who_fan_make_each_delivery_once(owner: Owner, db: Connection, connect: Connect) -> None:
    users = [await person(db, f"user{n}") for n in range(5)]
    for user in users:
        for _ in range(3):
            await endpoint(db, user.id, URL)
    rng = random.Random(7)  # noqa: S311 (no secret)
    for _ in range(150):
        await put(db, rng.choice(users).id, "x.y", both=rng.random() < 0.7)
    await relay(db)
    others = [await connect("scheduler") for _ in range(4)]
    made = await asyncio.gather(*(fan_only(conn) for conn in others))
    # what another had just then was skipped
    made.append(await fan_only(db))
    assert sum(made) == 450
    assert await db.fetchval("SELECT count(*) FROM core.webhook_deliveries") == 450


async def fan_only(conn: Connection) -> int:
    """Passes in small steps, until one finds nothing."""
    total = 0
    while True:
        after, made = None, 0
        while True:
            row = await conn.fetchrow(FAN, after, 3, 4)
            assert row is not None
            if row["last_endpoint"] is None:
                break
            made += 1
            total += row["deliveries"]
            after = row["last_endpoint"]
        if made == 0:
            return total


@pytest.mark.parametrize("limits", [(0, 1), (1, 0), (10001, 1), (1, None)])
async def test_limits_of_the_schedulers_functions(db: Connection, limits: tuple[int | None, int | None]) -> None:
    assert (await refused(db, FAN, None, *limits)).slug == "INVALID_REQUEST"
    assert (await refused(db, LEASE, 0, MINUTE)).slug == "INVALID_REQUEST"
    assert (await refused(db, LEASE, 1, timedelta(0))).slug == "INVALID_REQUEST"


async def test_a_lease_is_somebodys_and_ends(owner: Owner, db: Connection) -> None:
    await owner.put("x.y")
    (first,) = await owner.lease()
    assert (first["attempt"], first["url"], first["secrets"]) == (1, URL, [owner.secret])
    await db.execute("UPDATE core.webhook_queues SET next_at = now()")
    assert await owner.lease() == []
    await owner.lapse()
    (second,) = await owner.lease()
    assert (second["delivery_id"], second["attempt"]) == (first["delivery_id"], 2)
    assert await db.fetchval(FINISH, first["delivery_id"], 1, 200, None) == "stale"
    assert await db.fetchval(FINISH, second["delivery_id"], 2, 200, None) == "delivered"
    assert await db.fetchval(FINISH, second["delivery_id"], 2, 500, None) == "stale"
    assert await db.fetchval(FINISH, uuid4(), 1, 200, None) == "stale"
    attempts = await db.fetch("SELECT attempt, status, error FROM api.webhook_attempts ORDER BY attempt")
    assert [tuple(row) for row in attempts] == [(1, None, "interrupted"), (2, 200, None)]
    assert await db.fetchval("SELECT tries FROM core.webhook_deliveries") == 1
    assert await db.fetchval("SELECT next_at <= now() FROM core.webhook_queues"), "whoever looks sees that it is empty"
    assert await owner.lease() == []
    assert await db.fetchval("SELECT next_at FROM core.webhook_queues") is None


async def test_many_who_lease_get_each_delivery_once_and_no_more_than_there_is_room_for(
    owner: Owner, db: Connection, connect: Connect
) -> None:
    other = await person(db, "other")
    await endpoint(db, other.id, URL)
    await put(db, other.id, *["x.y"] * 3)
    await owner.put(*["x.y"] * 30)
    others = [await connect("scheduler") for _ in range(4)]
    for _ in range(40):
        taken = await asyncio.gather(*(owner.lease(3, conn) for conn in others))
        leased = await db.fetch(
            "SELECT endpoint_id, count(*) AS n FROM core.webhook_deliveries WHERE leased_until IS NOT NULL GROUP BY 1"
        )
        assert max((row["n"] for row in leased), default=0) <= 5
        for row in [row for rows in taken for row in rows]:
            assert await db.fetchval(FINISH, row["delivery_id"], row["attempt"], 200, None) == "delivered"
    assert await db.fetchval("SELECT count(*) FROM core.webhook_attempts") == 33
    assert await db.fetchval("SELECT max(attempts) FROM core.webhook_deliveries") == 1


async def test_who_has_waited_longest_comes_first(owner: Owner, db: Connection) -> None:
    others = [await person(db, f"other{n}") for n in range(3)]
    for other in others:
        await endpoint(db, other.id, URL)
    await owner.put(*["x.y"] * 40)
    await put(db, others[0].id, "x.y")
    await put(db, others[1].id, "x.y")
    await fan(db)
    taken = [row["endpoint_id"] for _ in range(3) for row in await owner.lease(5)]
    assert taken[:5] == [owner.endpoint] * 5
    assert len(taken) == 7, "one has no room for more, the others had one each"


async def test_the_schedule(owner: Owner, db: Connection) -> None:
    await set_rate(db, "webhook_disable_failures", 1000, "count")
    await owner.put("x.y")
    waits = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    for wait in waits:
        assert await owner.attempt() == ["retried"]
        base = timedelta(seconds=wait)
        left = await db.fetchval("SELECT d.due_at - clock_timestamp() FROM core.webhook_deliveries AS d")
        assert base - timedelta(seconds=5) <= left <= base * 1.2
        await db.execute("UPDATE core.webhook_queues SET next_at = now()")
        assert await owner.lease() == []
    assert await owner.attempt() == ["dead"]
    assert await owner.deliveries("status, attempts, next_attempt_at IS NULL") == [("dead", 10, True)]
    assert await owner.attempt() == []
    await db.fetch(REPLAY, (await owner.deliveries("delivery_id"))[0], owner.id)
    assert await owner.attempt() == ["retried"]
    assert await owner.attempt(204) == ["delivered"]
    assert await owner.deliveries("status, attempts") == [("delivered", 12)]


async def test_jitter_differs(owner: Owner, db: Connection) -> None:
    await owner.put(*["x.y"] * 5)
    rows = await owner.lease()
    for row in rows:
        await db.fetchval(FINISH, row["delivery_id"], row["attempt"], None, "timeout")
        await db.execute("UPDATE core.webhook_deliveries SET created_at = created_at WHERE id = $1", row["delivery_id"])
    ends = await db.fetch(
        "SELECT d.due_at - a.started_at AS wait FROM core.webhook_deliveries AS d"
        " JOIN core.webhook_attempts AS a ON a.delivery_id = d.id"
    )
    assert len({row["wait"] for row in ends}) == 5


async def test_retry_after_lengthens_the_wait_up_to_a_day(owner: Owner, db: Connection) -> None:
    sql = "SELECT api.finish_webhook($1, 1, 503, 'status', 1, '', $2)"
    for asked, least, most in ((1, "4 s", "7 s"), (3600, "59 min", "61 min"), (10**8, "23 h 59 min", "24 h 1 min")):
        await owner.put("x.y")
        await db.execute("UPDATE core.webhook_queues SET failures = 0, failing_since = NULL, next_at = now()")
        (row,) = await owner.lease()
        assert await db.fetchval(sql, row["delivery_id"], asked) == "retried"
        assert await db.fetchval(
            "SELECT due_at - clock_timestamp() BETWEEN $2::text::interval AND $3::text::interval"
            " FROM core.webhook_deliveries WHERE id = $1",
            row["delivery_id"],
            least,
            most,
        )


async def test_a_test_event_is_tried_once_and_counts_for_nothing(owner: Owner, db: Connection) -> None:
    some, _ = await endpoint(db, owner.id, URL, ["x.y"])
    row = await db.fetchrow(TEST, some, owner.id)
    assert row is not None
    assert (row["type"], row["status"], row["endpoint_id"]) == ("webhook.test", "pending", some)
    assert await owner.attempt() == ["dead"]
    assert await db.fetchval("SELECT max(failures) FROM core.webhook_queues") == 0
    await db.fetchrow(REPLAY, row["delivery_id"], owner.id)
    assert await owner.attempt(200) == ["delivered"]
    assert await db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'webhook.test'") == 0


async def test_what_is_on_its_way_is_not_replayed(owner: Owner, db: Connection) -> None:
    await owner.put("x.y")
    (row,) = await owner.lease()
    again = await db.fetchrow(REPLAY, row["delivery_id"], owner.id)
    assert again is not None
    assert (again["status"], again["in_flight"]) == ("pending", True)
    assert await owner.lease() == []


async def test_replay_and_finish_meet(owner: Owner, db: Connection, connect: Connect) -> None:
    await owner.put("x.y")
    (row,) = await owner.lease()
    first, second = await connect("scheduler"), await connect("app")
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval(FINISH, row["delivery_id"], 1, 200, None) == "delivered"
    waiting = asyncio.create_task(second.fetchrow(REPLAY, row["delivery_id"], owner.id))
    await until_waiting(db, second)
    await transaction.commit()
    replayed = await waiting
    assert replayed is not None
    assert (replayed["status"], replayed["in_flight"]) == ("pending", False)
    assert await owner.attempt(200) == ["delivered"]


async def test_disabled_by_410(owner: Owner, db: Connection) -> None:
    await owner.put("x.one", "x.two")
    assert await owner.attempt(410, "gone") == ["dead", "dead"]
    row = await db.fetchrow("SELECT * FROM api.webhook_endpoints")
    assert row is not None
    assert (row["status"], row["disabled_reason"]) == ("disabled", "gone")
    events = await db.fetch("SELECT channels, payload FROM core.outbox WHERE type = 'webhook.disabled'")
    assert [event["channels"] for event in events] == [[f"user:{owner.id}"]]
    assert json.loads(events[0]["payload"])["reason"] == "gone"
    delivery = (await owner.deliveries("delivery_id"))[0]
    for sql, subject in ((TEST, owner.endpoint), (REPLAY, delivery)):
        refusal = await refused(db, sql, subject, owner.id)
        assert (refusal.code, refusal.slug) == ("TS348", "WEBHOOK_ENDPOINT_DISABLED")
    await owner.put("x.three")
    await owner.due()
    assert await owner.lease() == []
    assert await db.fetchval("SELECT next_at FROM core.webhook_queues") is None
    changed = await db.fetchrow(UPDATE, owner.endpoint, '{"status": "active"}', owner.id)
    assert changed is not None
    assert (changed["status"], changed["disabled_at"], changed["disabled_reason"]) == ("active", None, None)
    await fan(db)
    assert {row["type"] for row in await owner.lease()} == {"x.three", "webhook.disabled"}


@pytest.mark.parametrize("changes", ['{"url": "https://example.com/new"}', '{"status": "active"}'])
async def test_what_an_endpoint_answered_before_it_was_changed_does_not_disable_it(
    owner: Owner, db: Connection, changes: str
) -> None:
    await owner.put("x.one", "x.two")
    await set_rate(db, "webhook_disable_failures", 1, "count")
    await set_rate(db, "webhook_disable_after", 0, "seconds")
    first, second = await owner.lease()
    await db.fetch(UPDATE, owner.endpoint, changes, owner.id)
    assert await db.fetchval(FINISH, first["delivery_id"], 1, 410, "gone") == "retried"
    assert await db.fetchval(FINISH, second["delivery_id"], 1, 500, "status") == "retried"
    row = await db.fetchrow("SELECT status, failures_in_a_row, failing_since FROM api.webhook_endpoints")
    assert row is not None
    assert tuple(row) == ("active", 0, None)
    await owner.due()
    assert len(again := await owner.lease()) == 2
    assert await db.fetchval(FINISH, again[0]["delivery_id"], 2, 410, "gone") == "dead"
    assert await db.fetchval("SELECT disabled_reason FROM api.webhook_endpoints") == "gone"


async def test_an_endpoint_changes(owner: Owner, db: Connection) -> None:
    await owner.put("x.y")
    await owner.attempt()
    changes = {"url": "https://example.org/", "event_types": ["a.*"], "description": "new", "status": "disabled"}
    row = await db.fetchrow(UPDATE, owner.endpoint, json.dumps(changes), owner.id)
    assert row is not None
    assert {name: row[name] for name in changes} == changes
    assert (row["disabled_reason"], row["failures_in_a_row"]) == ("by_user", 1)
    for wrong in (
        "[]",
        "null",
        '{"secret": "x"}',
        '{"url": null}',
        '{"url": "x"}',
        '{"event_types": "a.b"}',
        '{"event_types": []}',
        '{"event_types": [null]}',
        '{"status": "gone"}',
        '{"description": "' + "d" * 201 + '"}',
    ):
        assert (await refused(db, UPDATE, owner.endpoint, wrong, owner.id)).slug == "INVALID_REQUEST", wrong
    row = await db.fetchrow(UPDATE, owner.endpoint, '{"status": "active"}', None)
    assert row is not None
    assert (row["status"], row["failures_in_a_row"], row["failing_since"]) == ("active", 0, None)
    assert await db.fetchrow(UPDATE, owner.endpoint, "{}", owner.id) is not None


async def test_secrets_rotate(owner: Owner, db: Connection) -> None:
    async def signing() -> list[str]:
        await owner.due()
        await owner.lapse()
        (row,) = await owner.lease()
        found: list[str] = row["secrets"]
        return found

    await owner.put("x.y")
    secrets = [owner.secret]
    for _ in range(6):
        row = await db.fetchrow(ROTATE, owner.endpoint, owner.id)
        assert row is not None
        secrets.insert(0, row["secret"])
        assert await signing() == secrets[:5]
    await db.execute("UPDATE core.webhook_secrets SET until = now() WHERE until IS NOT NULL")
    assert await signing() == secrets[:1]
    await without_rate(db, "webhook_secret_overlap")
    assert (await refused(db, ROTATE, owner.endpoint, owner.id)).slug == "CONFIGURATION_ERROR"
    assert await signing() == secrets[:1]


async def test_a_deleted_endpoint_is_not_there(owner: Owner, db: Connection) -> None:
    await owner.put("x.one", "x.two")
    (row, other) = await owner.lease()
    delivery = row["delivery_id"]
    await db.execute(DELETE, owner.endpoint, owner.id)
    assert await db.fetchval("SELECT count(*) FROM core.webhook_secrets") == 0
    assert await owner.deliveries() == []
    assert await db.fetchval(FINISH, delivery, 1, 500, None) == "retried"
    assert await db.fetchval(FINISH, other["delivery_id"], 1, 410, None) == "dead"
    assert await db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'webhook.disabled'") == 0
    await owner.put("x.three")
    assert await owner.attempt() == []
    await not_there(db, owner.endpoint, delivery, owner.id)
    assert await db.fetchval("SELECT api.prune_webhooks(1)") == 1
    assert await db.fetchval("SELECT api.prune_webhooks()") == 1
    assert await db.fetchval("SELECT api.prune_webhooks()") == 0
    await db.execute("UPDATE core.webhook_endpoints SET deleted_at = now() - interval '2 hours'")
    assert await db.fetchval("SELECT api.prune_webhooks()") == 1
    for table in ("endpoints", "secrets", "cursors", "queues", "deliveries", "attempts"):
        assert await db.fetchval(f"SELECT count(*) FROM core.webhook_{table}") == 0


async def test_other_peoples_are_not_there(owner: Owner, db: Connection) -> None:
    stranger = await person(db, "stranger")
    await owner.put("x.y")
    (delivery,) = await owner.deliveries("delivery_id")
    await not_there(db, owner.endpoint, delivery, stranger.id)
    await not_there(db, uuid4(), uuid4(), owner.id)
    await not_there(db, uuid4(), uuid4(), None)
    assert await db.fetchval("SELECT count(*) FROM core.webhook_secrets") == 1


async def not_there(db: Connection, made: UUID, delivery: UUID, user: UUID | None) -> None:
    """Neither the endpoint nor the delivery, for this user."""
    for sql in (ROTATE, DELETE, TEST):
        refusal = await refused(db, sql, made, user)
        assert (refusal.code, refusal.slug) == ("TS241", "WEBHOOK_ENDPOINT_NOT_FOUND")
    assert (await refused(db, UPDATE, made, "{}", user)).slug == "WEBHOOK_ENDPOINT_NOT_FOUND"
    refusal = await refused(db, REPLAY, delivery, user)
    assert (refusal.code, refusal.slug) == ("TS242", "WEBHOOK_DELIVERY_NOT_FOUND")


async def test_old_deliveries_go_and_others_stay(owner: Owner, db: Connection) -> None:
    await owner.put("x.old", "x.young", "x.waits")
    old, young, waits = await owner.lease()
    await db.fetchval(FINISH, old["delivery_id"], 1, 200, None)
    await db.fetchval(FINISH, young["delivery_id"], 1, 200, None)
    await db.fetchval(FINISH, waits["delivery_id"], 1, 500, None)
    long_ago = "now() - interval '31 days'"
    await db.execute(f"UPDATE core.webhook_deliveries SET created_at = {long_ago} WHERE status = 'pending'")
    await db.execute(f"UPDATE core.webhook_deliveries SET ended_at = {long_ago} WHERE id = $1", old["delivery_id"])
    assert await db.fetchval("SELECT api.prune_webhooks()") == 1
    assert await owner.deliveries() == ["x.young", "x.waits"]
    assert await db.fetchval("SELECT count(*) FROM core.webhook_attempts") == 2
    await db.fetch(UPDATE, owner.endpoint, '{"status": "disabled"}', None)
    assert await db.fetchval("SELECT api.prune_webhooks()") == 1
    assert await owner.deliveries() == ["x.young"]
    await without_rate(db, "webhook_deliveries_kept")
    assert (await refused(db, "SELECT api.prune_webhooks()")).slug == "CONFIGURATION_ERROR"


async def test_what_was_on_its_way_to_a_disabled_endpoint_and_never_ended_goes_too(
    owner: Owner, db: Connection
) -> None:
    await owner.put("x.y")
    assert len(await owner.lease()) == 1
    await db.fetch(UPDATE, owner.endpoint, '{"status": "disabled"}', None)
    await db.execute("UPDATE core.webhook_deliveries SET created_at = now() - interval '31 days'")
    assert await db.fetchval("SELECT api.prune_webhooks()") == 0
    await owner.lapse()
    assert await owner.lease() == []
    assert await db.fetchval("SELECT api.prune_webhooks()") == 1


async def test_rates_that_are_missing(owner: Owner, db: Connection) -> None:
    await owner.put("x.y")
    await without_rate(db, "webhook_in_flight")
    assert (await refused(db, LEASE, 1, MINUTE)).slug == "CONFIGURATION_ERROR"
    await set_rate(db, "webhook_in_flight", 1, "count")
    (row,) = await owner.lease()
    await without_rate(db, "webhook_disable_failures")
    assert (await refused(db, FINISH, row["delivery_id"], 1, 500, None)).slug == "CONFIGURATION_ERROR"
    assert await db.fetchval(FINISH, row["delivery_id"], 1, 200, None) == "delivered"


async def test_the_lag_is_that_of_the_scheduler_not_of_receivers(owner: Owner, db: Connection) -> None:
    lag = "SELECT lag IS NULL, waiting FROM api.webhook_lag()"
    assert tuple(await db.fetchrow(lag) or ()) == (True, 0)
    await owner.put(*["x.y"] * 7)
    assert tuple(await db.fetchrow(lag) or ()) == (False, 7)
    rows = await owner.lease()
    assert tuple(await db.fetchrow(lag) or ()) == (True, 2), "there is no room for them"
    await db.fetchval(FINISH, rows[0]["delivery_id"], 1, 200, None)
    assert tuple(await db.fetchrow(lag) or ()) == (False, 2)
