"""The application, running in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
from litestar import Litestar

from app.main import create_app
from app.settings import Settings
from tests.support.fits import Contract


@asynccontextmanager
async def running_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an application with these settings; started before, stopped afterwards.

    It raises where an answer is not what the OpenAPI document says.
    """
    app = create_app(settings)
    started, stop = asyncio.Event(), asyncio.Event()
    # Start and stop must happen in one task, and a fixture's two halves run in two.
    life = asyncio.create_task(_live(app, started, stop))
    try:
        waiter = asyncio.create_task(started.wait())
        await asyncio.wait([life, waiter], return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            waiter.cancel()
            await life
        transport = httpx.ASGITransport(app=cast(Any, app))  # two spellings of ASGI's types
        async with httpx.AsyncClient(
            transport=transport, base_url="http://testserver", event_hooks={"response": [_held_against(app)]}
        ) as client:
            yield client
    finally:
        stop.set()
        await life


async def _live(app: Litestar, started: asyncio.Event, stop: asyncio.Event) -> None:
    async with app.lifespan():
        started.set()
        await stop.wait()


_contracts: list[Contract] = []
"""One a process: the document is the same with all settings, and takes its time."""


def _held_against(app: Litestar) -> Callable[[httpx.Response], Awaitable[None]]:
    if not _contracts:
        _contracts.append(Contract(app))

    async def check(answer: httpx.Response) -> None:
        await answer.aread()
        faults = _contracts[0].faults(answer)
        assert not faults, faults

    return check
