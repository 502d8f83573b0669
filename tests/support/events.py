"""What the harness looks for in core.outbox after each test: events that are not as app.realtime.events says."""

from __future__ import annotations

import os
import re
from collections import defaultdict

import msgspec

from app.realtime.events import EVENTS, NO_ID, EventSpec
from app.settings import PROJECT_ROOT
from tests.support.postgres import Connection

MOST = 20_000
"""So many events of a test, the newest, are looked at."""
EXAMPLES = PROJECT_ROOT / ".tessera" / "event-examples"
"""With TESSERA_WRITE_EXAMPLES one event of each type is kept here for `./run asyncapi`."""

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_CHANNEL = re.compile(rf"([a-z]+)(?::{_UUID})?")


def channel_faults(spec: EventSpec, channels: list[str]) -> list[str]:
    """Which of these channels the event has no business in, or that are malformed."""
    # what only the owners of wallets hear reaches nobody between wallets of the system
    found = [] if channels or set(spec.channels) == {"user"} else ["no channel"]
    for channel in channels:
        match = _CHANNEL.fullmatch(channel)
        if match is None or match[1] not in spec.channels or (channel == match[1]) is not (match[1] in NO_ID):
            found.append(f"not to {channel}")
    if len(set(channels)) != len(channels):
        found.append(f"twice to the same of {channels}")
    return found


async def event_faults(conn: Connection) -> list[str]:
    """What of the events in this database is not as declared, a line a type; nothing where there is no outbox."""
    if await conn.fetchval("SELECT to_regclass('core.outbox') IS NULL"):
        return []
    rows = await conn.fetch(
        "SELECT o.type, o.channels, o.payload::text AS payload FROM core.outbox AS o ORDER BY o.id DESC LIMIT $1", MOST
    )
    by_type: dict[str, list[str]] = defaultdict(list)
    found: dict[str, str] = {}
    for row in rows:
        spec = EVENTS.get(row["type"])
        if spec is None:
            found[row["type"]] = "not among app.realtime.events"
            continue
        by_type[row["type"]].append(row["payload"])
        for fault in channel_faults(spec, row["channels"]):
            found[row["type"]] = fault
    for type_, payloads in by_type.items():
        decoder: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(EVENTS[type_].struct)
        for payload in payloads:
            try:
                decoder.decode(payload)
            except msgspec.ValidationError as error:
                found[type_] = f"{error}: {payload[:500]}"
        if os.environ.get("TESSERA_WRITE_EXAMPLES") and type_ not in found:
            EXAMPLES.mkdir(parents=True, exist_ok=True)
            (EXAMPLES / f"{type_}.json").write_text(payloads[0])
    return [f"{type_}: {fault}" for type_, fault in sorted(found.items())]
