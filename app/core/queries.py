"""What operations ask of the database."""

from __future__ import annotations

from typing import Literal, TypeAlias

from app.core.database import Database

SchedulerState: TypeAlias = Literal["ok", "late", "never"]


async def scheduler_state(database: Database) -> SchedulerState:
    """Whether the scheduler's jobs keep their times: late when one does not, never when none has run here yet."""
    state: SchedulerState = await database.fetchval("""
        SELECT CASE WHEN count(*) = 0 THEN 'never' WHEN bool_or(j.late) THEN 'late' ELSE 'ok' END
        FROM api.job_runs AS j""")
    return state
