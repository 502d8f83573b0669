"""Who watches: counted, told to the others, and heartbeats of calls."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from tests.api.people import Person, register
from tests.realtime.world import live_stream
from tests.support.calls import ACCEPT, OPEN, ask_for
from tests.support.nodes import Node, Talk, running_node
from tests.support.postgres import Clone, Connection


async def _presence(talk: Talk) -> dict[str, Any]:
    """The next frame about who comes and goes."""
    while True:
        frame = await talk.next()
        if frame["op"] == "presence":
            assert "id" not in frame
            return frame


async def test_viewers_are_counted_and_told_of_each_other(node: Node, database: Clone, db: Connection) -> None:
    ann, ben, creator = [await register(node.http) for _ in range(3)]
    stream = await live_stream(db, creator)
    channel = f"stream:{stream}"
    async with (
        running_node(database.settings()) as other,
        node.socket(ann.access_token) as here,
        other.socket(ben.access_token) as there,
    ):
        for talk in (here, there):
            await talk.follow(channel)
        reply = await here.ask("presence", channel=channel)
        assert (reply["op"], reply["viewers"]) == ("presence", 0)
        assert datetime.fromisoformat(reply["until"])
        first = await _presence(here)
        assert first == {"op": "presence", "channel": channel, "viewers": 1, "joined": [str(ann.id)], "left": []}
        await there.ask("presence", channel=channel)
        assert (await _presence(here))["joined"] == [str(ben.id)]
        both = await _presence(there)
        assert (both["viewers"], set(both["joined"])) == (2, {str(ann.id), str(ben.id)})
        left = await there.ask("presence", channel=channel, leave=True)
        assert (left["op"], "until" in left) == ("presence", False)
        assert await _presence(here) == {
            "op": "presence",
            "channel": channel,
            "viewers": 1,
            "joined": [],
            "left": [str(ben.id)],
        }
        await there.silent(2.5)


async def test_the_owner_is_told_and_not_counted(node: Node, db: Connection) -> None:
    fan, creator = await register(node.http), await register(node.http)
    channel = f"stream:{await live_stream(db, creator)}"
    async with node.socket(creator.access_token) as owner, node.socket(fan.access_token) as talk:
        await owner.follow(channel)
        await owner.ask("presence", channel=channel)
        assert (await _presence(owner))["viewers"] == 0
        await talk.follow(channel)
        await talk.ask("presence", channel=channel)
        assert (await _presence(owner))["joined"] == [str(fan.id)]


async def test_many_are_only_a_number(node: Node, db: Connection) -> None:
    creator = await register(node.http)
    stream = await live_stream(db, creator)
    await db.execute(
        "INSERT INTO core.viewers SELECT $1, gen_random_uuid(), now() + interval '1 hour' FROM generate_series(1, 150)",
        stream,
    )
    await db.execute("SELECT api.count_viewers()")
    async with node.socket(creator.access_token) as talk:
        await talk.follow(f"stream:{stream}")
        await talk.ask("presence", channel=f"stream:{stream}")
        assert await _presence(talk) == {"op": "presence", "channel": f"stream:{stream}", "viewers": 150}


async def test_presence_needs_a_channel_that_knows_it(node: Node, db: Connection) -> None:
    fan, creator = await register(node.http), await register(node.http)
    stream = await live_stream(db, creator)
    async with node.socket(fan.access_token) as talk:
        assert (await talk.ask("presence", channel=f"stream:{stream}"))["error"] == "NOT_SUBSCRIBED"
        await talk.follow(f"user:{fan.id}")
        assert (await talk.ask("presence", channel=f"user:{fan.id}"))["error"] == "INVALID_CHANNEL"
        await talk.follow(f"stream:{stream}")
        await db.execute("SELECT api.end_stream($1)", stream)
        assert (await talk.ask("presence", channel=f"stream:{stream}"))["error"] == "STREAM_NOT_LIVE"


async def test_presence_in_a_call_is_its_heartbeat(node: Node, db: Connection) -> None:
    fan, creator = await register(node.http), await register(node.http)
    await db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", creator.id)
    await ask_for(db, creator.id, 60)
    await db.execute("SELECT api.grant_tokens($1, 1000, 'gift')", fan.id)
    row = await db.fetchrow(OPEN, fan.id, creator.id, "k")
    assert row is not None
    call: UUID = row["call_id"]
    await db.execute(ACCEPT, call, creator.id)
    people: tuple[Person, ...] = (fan, creator)
    for who in people:
        await db.execute("UPDATE core.call_clocks SET fan_seen_at = fan_seen_at - interval '1 s'")
        before = await db.fetchrow("SELECT fan_seen_at, creator_seen_at FROM core.call_clocks")
        async with node.socket(who.access_token) as talk:
            await talk.follow(f"call:{call}")
            reply = await talk.ask("presence", channel=f"call:{call}")
            assert reply["op"] == "presence", reply
            assert datetime.fromisoformat(reply["until"])
        after = await db.fetchrow("SELECT fan_seen_at, creator_seen_at FROM core.call_clocks")
        column = "fan_seen_at" if who is fan else "creator_seen_at"
        assert before is not None
        assert after is not None
        assert after[column] > before[column]
    stranger = await register(node.http)
    async with node.socket(stranger.access_token) as talk:
        assert (await talk.ask("subscribe", channel=f"call:{call}"))["error"] == "NOT_CALL_PARTICIPANT"
