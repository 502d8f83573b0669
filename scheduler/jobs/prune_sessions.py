"""Sessions that have ended, attempts to log in that no longer count, and tickets that nobody used."""

from __future__ import annotations

from scheduler.registry import JobContext, drain, job

KEPT_DAYS = 30
"""How long an ended session is kept: to see where somebody was signed in, and that a refresh token was used again."""
BATCH = 1000
BATCHES = 100
"""At most this many deletes a run, each in a transaction of its own; the rest is due again next time."""

SESSIONS = """
    DELETE FROM core.sessions AS s USING (
        SELECT e.id FROM core.sessions AS e
        WHERE e.expires_at < now() - make_interval(days => $1)
        ORDER BY e.expires_at LIMIT $2
    ) AS old WHERE s.id = old.id
"""
ATTEMPTS = """
    DELETE FROM core.login_attempts AS a USING (
        SELECT e.account_hash, e.address FROM core.login_attempts AS e
        WHERE e.since < now() - make_interval(days => $1)
        ORDER BY e.since LIMIT $2
    ) AS old WHERE (a.account_hash, a.address) = (old.account_hash, old.address)
"""
TICKETS = """
    DELETE FROM core.realtime_tickets AS t USING (
        SELECT e.ticket_hash FROM core.realtime_tickets AS e
        WHERE e.expires_at < now() - make_interval(days => $1)
        ORDER BY e.expires_at LIMIT $2
    ) AS old WHERE t.ticket_hash = old.ticket_hash
"""


@job("prune-sessions", every_seconds=3600, first_after_seconds=60, timeout_seconds=300)
async def prune_sessions(context: JobContext) -> int:
    """Delete sessions that expired long ago, with their refresh tokens, and attempts and tickets of days past."""
    total = 0
    for statement, days in ((SESSIONS, KEPT_DAYS), (ATTEMPTS, 1), (TICKETS, 1)):

        async def some(statement: str = statement, days: int = days) -> int:
            return int((await context.pool.execute(statement, days, BATCH)).rpartition(" ")[2])

        total += await drain(some, batches=BATCHES, full=BATCH)
    return total
