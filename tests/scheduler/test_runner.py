"""The runner: outcomes that others can read, backoff, alerts, and no job that stops another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
import structlog

from app.settings import Settings
from scheduler import process
from scheduler.metrics import JOB_FAILURES_IN_A_ROW, JOB_LAG, JOB_RUNS
from scheduler.process import Runner, tick
from scheduler.records import error_name
from scheduler.registry import Job, JobContext, JobFunction, Outcome, all_jobs, drain
from tests.conftest import Connect
from tests.support.money import lapse, person
from tests.support.postgres import Clone, Connection

SOON = 0.02
WAIT_SECONDS = 30.0


@pytest_asyncio.fixture
async def context(database: Clone) -> AsyncIterator[JobContext]:
    """What jobs work with, as tessera_scheduler."""
    pool = await asyncpg.create_pool(database.url("scheduler"), min_size=0, max_size=4)
    yield JobContext(pool, Settings())
    await pool.close()


def a_job(name: str, run: JobFunction, *, every: float = SOON, timeout: float = 10) -> Job:
    return Job(name, every, 0, timeout, run)


async def _row(db: Connection, name: str) -> asyncpg.Record:
    row = await db.fetchrow("SELECT * FROM api.job_runs WHERE job = $1", name)
    assert row is not None
    return row


async def until(condition: Any) -> None:
    """Wait until a condition holds, however slow the machine is."""
    for _ in range(int(WAIT_SECONDS / SOON)):
        if condition():
            return
        await asyncio.sleep(SOON)
    raise AssertionError(f"still not after {WAIT_SECONDS} s")


async def broken(_: JobContext) -> int:
    raise RuntimeError("with a secret in it")


async def hanging(_: JobContext) -> int:
    await asyncio.Event().wait()
    return 0


async def cancelling(_: JobContext) -> int:
    raise asyncio.CancelledError


async def leaving(_: JobContext) -> int:
    raise SystemExit(1)


async def speechless(_: JobContext) -> Any:
    return None


async def test_a_run_is_written_down(context: JobContext, db: Connection) -> None:
    turns: list[int | Outcome | Exception] = [Outcome(7, 2.5), RuntimeError("secret"), RuntimeError("secret"), 3]

    async def run(_: JobContext) -> int | Outcome:
        turn = turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn

    runner, job = Runner(context), a_job("sample", run, every=5)
    assert await runner.run(job)
    first = await _row(db, "sample")
    assert (first["outcome"], first["items"], str(first["lag_seconds"]), first["failures_in_a_row"]) == (
        "done",
        7,
        "2.500",
        0,
    )
    assert JOB_LAG.labels("sample")._value.get() == 2.5
    assert first["last_success_at"] == first["finished_at"]
    assert (first["last_error"], first["late"], first["every_seconds"]) == (None, False, 5)
    assert runner.backoff_of(job) is None

    assert not await runner.run(job)
    assert not await runner.run(job)
    failed = await _row(db, "sample")
    assert (failed["outcome"], failed["items"], failed["failures_in_a_row"]) == ("failed", None, 2)
    assert failed["last_error"] == "RuntimeError"
    assert (failed["last_success_at"], str(failed["lag_seconds"])) == (first["last_success_at"], "2.500")
    wait = (failed["next_run_at"] - failed["finished_at"]).total_seconds()
    assert 0.75 * 20 <= wait <= 20

    assert await runner.run(job)
    last = await _row(db, "sample")
    assert (last["outcome"], last["items"], last["lag_seconds"], last["failures_in_a_row"]) == ("done", 3, None, 0)
    assert last["last_success_at"] > first["last_success_at"]
    assert last["first_run_at"] == first["first_run_at"]


async def test_how_it_failed_is_told_without_its_words(context: JobContext, db: Connection, connect: Connect) -> None:
    async def refused(context: JobContext) -> int:
        await context.pool.execute("SELECT api.cancel_no_shows(0)")
        return 0

    async def not_allowed(context: JobContext) -> int:
        await context.pool.execute("DELETE FROM core.transfers")
        return 0

    runner = Runner(context)
    for number, (run, said) in enumerate(
        [
            (refused, "TS101 INVALID_REQUEST"),
            (not_allowed, "InsufficientPrivilegeError 42501"),
            (cancelling, "CancelledError"),
            (leaving, "SystemExit"),
            (speechless, "TypeError"),
        ]
    ):
        job = a_job(f"job-{number}", run)
        assert not await runner.run(job)
        row = await _row(db, job.name)
        assert (row["outcome"], row["last_error"].endswith(said)) == ("failed", True), row["last_error"]
    assert error_name(asyncpg.PostgresError("password in here")) == "PostgresError"

    assert not await runner.run(a_job("slow", hanging, timeout=SOON))
    slow = await _row(db, "slow")
    assert (slow["outcome"], slow["last_error"]) == ("timeout", "TimeoutError")
    assert JOB_RUNS.labels("slow", "timeout")._value.get() == 1

    # for the services and people to read, for nobody else to write
    for login in ("app", "dba", "readonly"):
        conn = await connect(login)
        assert await conn.fetchval("SELECT count(*) FROM api.job_runs") == 6
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("DELETE FROM core.job_runs")


async def test_a_timeout_of_the_jobs_own_is_a_failure(context: JobContext, db: Connection) -> None:
    async def run(_: JobContext) -> int:
        raise TimeoutError

    assert not await Runner(context).run(a_job("own", run))
    assert (await _row(db, "own"))["outcome"] == "failed"


def test_backoff() -> None:
    def waits(every: float) -> list[float]:
        return [a_job("x", broken, every=every).backoff_seconds(n) for n in (1, 2, 3, 4, 10, 10_000)]

    assert waits(5) == [10, 20, 40, 60, 60, 60]
    assert waits(60) == [120, 240, 480, 600, 600, 600]
    assert waits(900) == [1800, 3600, 3600, 3600, 3600, 3600]
    assert waits(86_400) == [3600] * 6


async def test_from_the_third_failure_in_a_row_it_alerts(context: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    # one that was used before keeps the processors of then, and nothing of it can be captured
    monkeypatch.setattr(process, "log", structlog.get_logger("tessera.scheduler"))
    fails = True

    async def run(_: JobContext) -> int:
        if fails:
            raise RuntimeError("no")
        return 0

    runner, job = Runner(context), a_job("ailing", run)
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            await runner.run(job)
    alerts = [entry for entry in logs if entry["event"] == "job_failing"]
    assert [(entry["log_level"], entry["failures"]) for entry in alerts] == [("critical", 3), ("critical", 4)]
    assert JOB_FAILURES_IN_A_ROW.labels("ailing")._value.get() == 4
    fails = False
    assert await runner.run(job)
    assert JOB_FAILURES_IN_A_ROW.labels("ailing")._value.get() == 0
    assert runner.backoff_of(job) is None


async def test_no_job_stops_another(context: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside jobs that raise, hang, cancel or leave, a good one runs on, and each of them is tried again."""
    monkeypatch.setattr("scheduler.registry.MIN_CAP_SECONDS", 2 * SOON)
    counts: dict[str, int] = {}

    def counted(name: str, run: JobFunction) -> JobFunction:
        async def wrapped(context: JobContext) -> int | Outcome:
            counts[name] = counts.get(name, 0) + 1
            return await run(context)

        return wrapped

    async def good(context: JobContext) -> int:
        return int(await context.pool.fetchval("SELECT 1"))

    bad = {"raises": broken, "hangs": hanging, "cancels": cancelling, "leaves": leaving, "says-nothing": speechless}
    jobs = tuple(a_job(name, counted(name, run), timeout=SOON) for name, run in bad.items())
    runner = Runner(context)
    ticks = tick(runner, (*jobs, a_job("good", counted("good", good))))
    try:
        await until(lambda: all(counts.get(name, 0) >= 3 for name in bad))
        seen = counts["good"]
        await until(lambda: counts["good"] >= seen + 3)
    finally:
        ticks.pause()
        await runner.finish(5)
        ticks.shutdown(wait=False)
    assert runner.backoff_of(a_job("good", good)) is None
    assert all(runner.backoff_of(job) is not None for job in jobs)


async def test_a_failing_job_has_its_next_turn_after_its_backoff(context: JobContext) -> None:
    done = asyncio.Event()

    async def run(_: JobContext) -> int:
        done.set()
        raise RuntimeError("no")

    runner = Runner(context)
    # it would be its turn again tomorrow, and is within the hour
    job = Job("daily", 86_400, 0, 10, run)
    ticks = tick(runner, (job,))
    try:
        usual = ticks.get_job("daily").next_run_time
        await asyncio.wait_for(done.wait(), WAIT_SECONDS)
        await until(lambda: runner.backoff_of(job) is not None)
        await until(lambda: ticks.get_job("daily").next_run_time != usual)
        await until(lambda: 2000 < (ticks.get_job("daily").next_run_time - usual).total_seconds() < 7200)
    finally:
        await runner.finish(5)
        ticks.shutdown(wait=False)


async def test_being_stopped_is_no_failure_of_the_job(context: JobContext, db: Connection) -> None:
    runner, job = Runner(context), a_job("stopped", hanging)
    running = asyncio.create_task(runner.run(job))
    await until(lambda: runner._under_way)
    await runner.finish(SOON)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert runner.backoff_of(job) is None
    assert await db.fetchval("SELECT count(*) FROM api.job_runs") == 0


async def test_a_run_that_cannot_be_written_down_is_done_all_the_same(context: JobContext, db: Connection) -> None:
    async def run(_: JobContext) -> int:
        return 1

    await db.execute("ALTER TABLE core.job_runs RENAME TO away")
    assert await Runner(context).run(a_job("good", run))
    await db.execute("ALTER TABLE core.away RENAME TO job_runs")
    assert await db.fetchval("SELECT count(*) FROM api.job_runs") == 0


async def test_a_run_while_the_database_is_away() -> None:
    pool = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/nothing", min_size=0, max_size=1, timeout=1)

    async def run(_: JobContext) -> int:
        return 1

    runner = Runner(JobContext(pool, Settings()))
    assert await runner.run(a_job("good", run))
    assert not await runner.run(next(job for job in all_jobs() if job.name == "expire-holds"))
    await runner.forget_others(["good"])
    await pool.close()


async def test_two_schedulers_on_one_database(database: Clone, db: Connection) -> None:
    someone = await person(db, "someone", tokens=100)
    holds: list[UUID] = [
        await db.fetchval("SELECT hold_id FROM api.place_hold($1, 1, interval '1 hour')", someone.wallet)
        for _ in range(20)
    ]
    for hold in holds:
        await lapse(db, hold)
    pools = [await asyncpg.create_pool(database.url("scheduler"), min_size=1, max_size=8) for _ in range(2)]
    runners = [Runner(JobContext(pool, Settings())) for pool in pools]
    for _ in range(3):
        ran = await asyncio.gather(*(runner.run(job) for runner in runners for job in all_jobs()))
        assert all(ran)
    assert await db.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'hold.expired'") == len(holds)
    rows = await db.fetch("SELECT * FROM api.job_runs ORDER BY job")
    assert [row["job"] for row in rows] == [job.name for job in all_jobs()]
    assert {(row["outcome"], row["failures_in_a_row"], row["late"]) for row in rows} == {("done", 0, False)}
    for pool in pools:
        await pool.close()


async def test_jobs_that_are_no_more_are_forgotten(context: JobContext, db: Connection) -> None:
    async def run(_: JobContext) -> int:
        return 0

    runner = Runner(context)
    for name in ("kept", "gone"):
        assert await runner.run(a_job(name, run))
    await runner.forget_others(["kept", "new"])
    assert [row["job"] for row in await db.fetch("SELECT job FROM api.job_runs")] == ["kept"]


@pytest.mark.parametrize(
    ("steps", "options", "total", "left"),
    [
        ([5, 5, 0, 9], {"batches": 10}, 10, 1),
        ([5, 5, 5], {"batches": 2}, 10, 1),
        ([5, 4, 5], {"batches": 10, "full": 5}, 9, 1),
        ([0], {"batches": 10}, 0, 0),
    ],
)
async def test_draining_in_batches(steps: list[int], options: dict[str, int], total: int, left: int) -> None:
    async def step() -> int:
        return steps.pop(0)

    assert await drain(step, **options) == total
    assert len(steps) == left


def test_the_doctor_and_the_alert_count_the_same() -> None:
    from app.commands import _checks

    assert _checks.ALERT_FAILURES == process.ALERT_FAILURES
