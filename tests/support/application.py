"""The application, running in the test's own event loop."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
from litestar import Litestar
from litestar.datastructures import State
from litestar.events import SimpleEventEmitter

from app.main import bind, routes
from app.settings import Settings
from tests.support.fits import Contract

_registered: dict[tuple[object, object], Litestar] = {}
"""Routes of this process, which nothing is bound to, by the settings that count for them."""


def application(settings: Settings) -> Litestar:
    """What app.main.create_app() makes, but with routes that are registered once a process."""
    known = settings.cors_origins, settings.allowed_hosts
    if known not in _registered:
        _registered[known] = routes(settings)
    app = copy.copy(_registered[known])
    app.state = State()
    app.event_emitter = SimpleEventEmitter(listeners=())
    app.asgi_router = copy.copy(app.asgi_router)  # it starts and stops its application
    app.asgi_router.app = app
    return bind(app, settings)


@asynccontextmanager
async def running_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an application with these settings; started before, stopped afterwards.

    It raises where an answer is not what the OpenAPI document says.
    """
    app = application(settings)
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
