"""The auditor on a schedule."""

from __future__ import annotations

import structlog

from scheduler.metrics import LEDGER_VIOLATIONS
from scheduler.registry import JobContext, job

MAX_LOGGED = 20
SHARE = 10
"""Of any time, the auditor takes a tenth at most: books that take long to check are checked less often."""

log = structlog.get_logger("tessera.scheduler")


@job("audit-ledger", every_seconds=900, first_after_seconds=30, timeout_seconds=14_400)
async def audit_ledger(context: JobContext) -> int:
    """Check every invariant of the ledger; a violation is logged as critical and shown as a metric."""
    if not await context.pool.fetchval(DUE, SHARE):
        # after a restart too, the metric tells what is known
        LEDGER_VIOLATIONS.set(await context.pool.fetchval(NEWEST))
        return 0
    async with context.unhurried() as connection:
        audit = await connection.fetchrow("SELECT * FROM api.run_audit()")
        assert audit is not None
        found = await connection.fetch(
            "SELECT v.* FROM jsonb_to_recordset($1) AS v (rule text, subject text, detail jsonb)", audit["found"]
        )
    violations: int = audit["violations"]
    LEDGER_VIOLATIONS.set(violations)
    for violation in found[:MAX_LOGGED]:
        log.critical("ledger_violation", **{f"violation_{name}": str(value) for name, value in violation.items()})
    if violations:
        log.critical("ledger_unbalanced", violations=violations, remedy="docs/runbook.md, 4")
    return violations


DUE = """
SELECT NOT EXISTS (
    SELECT FROM api.audits AS a
    WHERE a.finished_at <= clock_timestamp()
        AND clock_timestamp() < a.finished_at + ($1::integer - 1) * (a.finished_at - a.started_at)
)
"""

NEWEST = "SELECT a.violations FROM api.audits AS a ORDER BY a.audit_id DESC LIMIT 1"
