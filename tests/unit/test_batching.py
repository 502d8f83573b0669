"""The micro-batcher: what gathers, what fails, and what a caller that leaves does to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.core.batching import QUEUE_BATCHES, Batcher
from app.core.errors import TesseraError, error


class Doubler:
    """Doubles numbers; notes the batches; waits at the gate; refuses what it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.poison: dict[int, Exception] = {}

    async def __call__(self, items: Sequence[int]) -> list[int | TesseraError]:
        self.batches.append(list(items))
        await self.gate.wait()
        for item in items:
            if item in self.poison:
                raise self.poison[item]
        return [error("SELF_TRANSFER") if item < 0 else 2 * item for item in items]


async def test_what_comes_while_one_is_in_flight_goes_together() -> None:
    run = Doubler()
    batcher = Batcher[int, int]("t", run, largest=3)
    run.gate.clear()
    first = asyncio.create_task(batcher.submit(0))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(batcher.submit(number)) for number in range(1, 6)]
    await asyncio.sleep(0.01)
    run.gate.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10]
    assert run.batches == [[0], [1, 2, 3], [4, 5]]


async def test_each_item_has_its_own_error() -> None:
    batcher = Batcher[int, int]("t", Doubler(), largest=10)
    results = await asyncio.gather(*(batcher.submit(n) for n in (1, -1, 2)), return_exceptions=True)
    assert results[0] == 2
    assert isinstance(results[1], TesseraError)
    assert results[1].slug == "SELF_TRANSFER"
    assert results[2] == 4


async def test_an_item_that_breaks_the_batch_fails_alone() -> None:
    run = Doubler()
    run.poison[3] = ValueError("three")
    batcher = Batcher[int, int]("t", run, largest=10)
    results = await asyncio.gather(*(batcher.submit(n) for n in (1, 2, 3, 4)), return_exceptions=True)
    assert [results[0], results[1], results[3]] == [2, 4, 8]
    assert isinstance(results[2], ValueError)
    assert run.batches == [[1, 2, 3, 4], [1], [2], [3], [4]]


async def test_a_database_that_is_away_is_asked_once() -> None:
    run = Doubler()
    run.poison[2] = error("DATABASE_UNAVAILABLE")
    batcher = Batcher[int, int]("t", run, largest=10)
    results = await asyncio.gather(*(batcher.submit(n) for n in (1, 2, 3)), return_exceptions=True)
    assert [result.slug for result in results if isinstance(result, TesseraError)] == ["DATABASE_UNAVAILABLE"] * 3
    assert len({id(result) for result in results}) == 3, "an exception that is shared would share its traceback"
    assert len(run.batches) == 1


async def test_a_caller_that_leaves_disturbs_nobody() -> None:
    run = Doubler()
    batcher = Batcher[int, int]("t", run, largest=10)
    run.gate.clear()
    first = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(batcher.submit(n)) for n in (2, 3)]
    await asyncio.sleep(0.01)
    first.cancel()
    waiting[0].cancel()
    run.gate.set()
    assert await waiting[1] == 6
    assert run.batches == [[1], [3]], "what was not yet sent is not sent for somebody who left"


async def test_without_gathering_each_goes_alone() -> None:
    run = Doubler()
    batcher = Batcher[int, int]("t", run, largest=10, gather=False)
    assert await asyncio.gather(*(batcher.submit(n) for n in (1, 2))) == [2, 4]
    assert run.batches == [[1], [2]]
    with pytest.raises(TesseraError):
        await batcher.submit(-1)


async def test_the_queue_is_bounded() -> None:
    run = Doubler()
    batcher = Batcher[int, int]("t", run, largest=1)
    run.gate.clear()
    tasks = [asyncio.create_task(batcher.submit(n)) for n in range(QUEUE_BATCHES + 10)]
    await asyncio.sleep(0.01)
    refused = [task for task in tasks if task.done()]
    assert refused
    assert {task.exception().slug for task in refused} == {"SERVER_BUSY"}  # type: ignore[union-attr]
    run.gate.set()
    answered = await asyncio.gather(*(task for task in tasks if task not in refused))
    assert len(answered) + len(refused) == QUEUE_BATCHES + 10


async def test_closing_answers_what_was_accepted() -> None:
    run = Doubler()
    batcher = Batcher[int, int]("t", run, largest=2)
    run.gate.clear()
    tasks = [asyncio.create_task(batcher.submit(n)) for n in range(5)]
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0.01)
    with pytest.raises(TesseraError, match="SERVER_BUSY"):
        await batcher.submit(9)
    run.gate.set()
    await closing
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]


async def test_one_after_another_from_the_same_task() -> None:
    """The next call comes while the worker of the one before is on its way out."""
    batcher = Batcher[int, int]("t", Doubler(), largest=10)
    for number in range(50):
        assert await asyncio.wait_for(batcher.submit(number), 5) == 2 * number
