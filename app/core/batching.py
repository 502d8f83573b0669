"""Micro-batching: concurrent calls of one money function become one call with an array.

While a call is in flight the next ones gather, then go together. There is no timer: a lone call waits for nobody, and
under load a batch is what arrived while the one before it was under way. A creator's wallet is then locked once for
hundreds of tips.

Each item gets its own result or its own error. If a batch fails as a whole, its items are run one by one, so that the
one which brought it down takes nobody with it; except when the database is away or busy, where each item is answered
with that (503, Retry-After), and repeating it is safe because its key commits with its effect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from app.core.context import AppContext
from app.core.errors import TesseraError, Unavailable, error
from app.core.metrics import BATCH_ITEMS

I = TypeVar("I")  # noqa: E741 - item
R = TypeVar("R")

QUEUE_BATCHES = 40
"""How many full batches may wait; what comes on top is refused with SERVER_BUSY."""


class Batcher(Generic[I, R]):
    """Gathers items for ``run``, which returns one result or error an item, in order.

    ``concurrency`` calls of ``run`` are in flight at most; with ``gather`` False each item goes alone and at once.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[I]], Awaitable[Sequence[R | TesseraError]]],
        *,
        largest: int,
        concurrency: int = 1,
        gather: bool = True,
    ) -> None:
        self._run = run
        self._largest = largest
        self._concurrency = concurrency
        self._gather = gather
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._limit = largest * QUEUE_BATCHES
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False
        self._sizes = BATCH_ITEMS.labels(name)

    async def submit(self, item: I) -> R:
        """The result of this item. Errors: its own, SERVER_BUSY (too many wait, or the service is stopping)."""
        if self._closed or len(self._waiting) >= self._limit:
            raise error("SERVER_BUSY")
        if not self._gather:
            return _value((await self._run([item]))[0])
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._workers) < self._concurrency:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
        return await future

    async def close(self) -> None:
        """Refuse what comes; wait until all that was accepted is answered."""
        self._closed = True
        while self._workers:
            await asyncio.gather(*self._workers)

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch: list[tuple[I, asyncio.Future[R]]] = []
                while self._waiting and len(batch) < self._largest:
                    pair = self._waiting.popleft()
                    if not pair[1].done():  # the caller gave up before its turn
                        batch.append(pair)
                if batch:
                    self._sizes.observe(len(batch))
                    await self._answer(batch)
        finally:
            # at once, not in a callback: what is submitted before a callback runs would wait for nobody
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _answer(self, batch: list[tuple[I, asyncio.Future[R]]]) -> None:
        try:
            results = await self._run([item for item, _ in batch])
        except Unavailable as exc:
            for _, future in batch:
                _settle(future, error(exc.slug, exc.detail, retry_after=exc.retry_after))
        except Exception as exc:
            if len(batch) == 1:
                _settle(batch[0][1], exc)
                return
            for pair in batch:
                await self._answer([pair])
        else:
            for (_, future), result in zip(batch, results, strict=True):
                _settle(future, result)


def batcher(
    context: AppContext, name: str, run: Callable[[Sequence[I]], Awaitable[Sequence[R | TesseraError]]]
) -> Batcher[I, R]:
    """A batcher as the settings have it (TESSERA_BATCH_MAX, TESSERA_BATCH_ENABLED), closed with the application."""
    made = Batcher(name, run, largest=context.settings.batch_max, gather=context.settings.batch_enabled)
    context.on_shutdown.append(made.close)
    return made


def _settle(future: asyncio.Future[R], result: R | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _value(result: R | TesseraError) -> R:
    if isinstance(result, TesseraError):
        raise result
    return result
