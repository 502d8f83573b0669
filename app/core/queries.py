"""What operations ask of the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from app.core.database import Database
from app.core.metrics import RELAYED

SchedulerState: TypeAlias = Literal["ok", "late", "never"]


async def scheduler_state(database: Database) -> SchedulerState:
    """Whether the scheduler's jobs keep their times: late when one does not, never when none has run here yet."""
    state: SchedulerState = await database.fetchval("""
        SELECT CASE WHEN count(*) = 0 THEN 'never' WHEN bool_or(j.late) THEN 'late' ELSE 'ok' END
        FROM api.job_runs AS j""")
    return state


async def relay_lag_seconds(database: Database) -> float:
    """Age of the first event that is committed and not relayed; 0 when all are."""
    lag: timedelta | None = await database.fetchval("SELECT r.lag FROM api.relay_lag() AS r")
    return lag.total_seconds() if lag is not None else 0.0


async def hint_relay(database: Database) -> None:
    """Tell relays that there are events. In a transaction of its own: one that notifies holds up all others that do."""
    await database.execute("SELECT pg_catalog.pg_notify('tessera_outbox', '')")


class Relayed(NamedTuple):
    """What became of a turn. ``busy``: another relay is at work, or there is a backlog. ``hint``: what readers hear.

    ``told``: channels that were asked for and have moved, each with the number of its first new event and the ids of
    all of them. ``texts``: those events, by their ids, as they stand in a frame after their number.
    """

    busy: bool
    events: int
    epoch: UUID | None
    hint: str | None
    told: Sequence[tuple[str, int, list[int]]] | None
    texts: Sequence[tuple[int, str]] | None


async def relay_events(database: Database, limit: int, channels: Sequence[str] = ()) -> Relayed:
    """Relay what has been committed, at most so many events; tell those of these channels."""
    row = await database.fetchrow(
        "SELECT r.busy, r.events, r.epoch, r.hint, r.told, r.texts FROM api.relay_events($1, false, '0', $2) AS r",
        limit,
        channels,
    )
    assert row is not None
    RELAYED.inc(row["events"])
    return Relayed(*row)
