"""Metrics of the scheduler process (docs/operations.md lists them)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

JOB_RUNS = Counter("tessera_job_runs", "Runs of a job, by how they ended (done, failed, timeout).", ("job", "outcome"))
JOB_ITEMS = Counter("tessera_job_items", "Things a job has done.", ("job",))
JOB_SECONDS = Histogram(
    "tessera_job_seconds", "How long a run of a job took.", ("job",), buckets=(0.01, 0.1, 1, 10, 60, 600)
)
JOB_LAST_SUCCESS = Gauge("tessera_job_last_success_timestamp_seconds", "When a job last succeeded.", ("job",))
JOB_LAG = Gauge(
    "tessera_job_lag_seconds", "Age of the oldest thing that was due and not done when a job last succeeded.", ("job",)
)
JOB_FAILURES_IN_A_ROW = Gauge(
    "tessera_job_failures_in_a_row",
    "Runs of a job in this process since the last that succeeded. Alert at 3.",
    ("job",),
)
METER_BLOCKS = Counter(
    "tessera_meter_blocks", "Blocks of calls, by what became of them (paid, refused, refunded).", ("outcome",)
)
METER_LATENCY = Histogram(
    "tessera_meter_latency_seconds",
    "How long after it was due a block was paid.",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
)
METER_LAG = Gauge("tessera_meter_lag_seconds", "For how long the call that has waited longest has been due.")
NO_SHOWS = Counter(
    "tessera_no_shows", "Streams that never began, by what became of them (cancelled, refused).", ("outcome",)
)
LEDGER_VIOLATIONS = Gauge(
    "tessera_ledger_violations", "Broken invariants that the last audit found. Alert when it is not 0."
)
MISPLACED_ROWS = Gauge(
    "tessera_default_partitions_with_rows", "Default partitions with rows: make-partitions has not run for long."
)
SEALED_BLOCK = Gauge("tessera_sealed_block", "Number of the newest seal.")
SEAL_LAG = Gauge("tessera_seal_lag_seconds", "Age of the oldest thing that no seal covers yet. Alert above 300.")
SEAL_VIOLATIONS = Gauge("tessera_seal_violations", "Sealed blocks that are not what they were. Alert when it is not 0.")
RELAY_EVENTS = Counter("tessera_relay_events", "Events that this process has relayed into channels.")
RELAY_LAG = Gauge("tessera_relay_lag_seconds", "Age of the first event that is not relayed. Alert above 10.")
RELAY_BACKLOG = Gauge("tessera_relay_backlog", "About how many events are not relayed.")
WEBHOOK_DELIVERIES = Counter("tessera_webhook_deliveries", "Deliveries of webhooks that this process has made.")
WEBHOOK_ATTEMPTS = Counter(
    "tessera_webhook_attempts",
    "Attempts to send a webhook, by what became of the delivery (delivered, retried, dead, stale, unknown).",
    ("outcome",),
)
WEBHOOK_SECONDS = Histogram(
    "tessera_webhook_seconds", "How long an attempt to send a webhook took.", buckets=(0.05, 0.1, 0.5, 1, 5, 15)
)
WEBHOOK_LAG = Gauge(
    "tessera_webhook_lag_seconds", "For how long something was due that nobody looked at. Alert above 60."
)
WEBHOOK_WAITING = Gauge("tessera_webhook_waiting", "Deliveries that are due and not on their way (10,000 at most).")
WEBHOOK_POSITIONS_LOST = Counter(
    "tessera_webhook_positions_lost", "Positions of webhook endpoints that were lost: events that were not sent."
)
