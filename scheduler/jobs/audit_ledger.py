"""The auditor on a schedule."""

from __future__ import annotations

import structlog

from scheduler.metrics import LEDGER_VIOLATIONS
from scheduler.registry import JobContext, job

MAX_LOGGED = 20

log = structlog.get_logger("tessera.scheduler")


@job("audit-ledger", every_seconds=900, first_after_seconds=30, timeout_seconds=600)
async def audit_ledger(context: JobContext) -> int:
    """Check every invariant of the ledger; a violation is logged as critical and shown as a metric."""
    violations = await context.pool.fetch("SELECT * FROM api.audit_ledger()")
    LEDGER_VIOLATIONS.set(len(violations))
    for violation in violations[:MAX_LOGGED]:
        log.critical("ledger_violation", **{f"violation_{name}": str(value) for name, value in violation.items()})
    if violations:
        log.critical("ledger_unbalanced", violations=len(violations), remedy="docs/runbook.md, 4")
    return len(violations)
