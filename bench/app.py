"""The application as it is, with a few more routes to compare tips and sockets to."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import msgspec
from litestar import Litestar, Router, asgi
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.types import Receive, Scope, Send

import app.main
from app.api import ROUTERS
from app.core.auth import CurrentActor, requires
from app.core.context import AppContext, inject
from app.core.garbage import settle
from app.core.idempotency import IdempotencyKey
from app.core.relaying import Relay
from app.core.routing import get, post
from app.core.wiring import MONEY_BODY_LIMIT
from app.tips.queries import TipQueries
from app.tips.structs import TipReceipt, TipRequest


@post("/bench/empty", guards=[requires("tips:write")], operation_id="BenchEmpty", summary="Nothing")
async def empty(data: JSONBody[TipRequest], actor: CurrentActor, key: IdempotencyKey) -> TipReceipt:
    """Takes what a tip takes, answers what a tip answers, does nothing."""
    return TipReceipt(tip_id=UUID(int=1), amount=data.amount, creator_cut=data.amount, platform_fee=0, new_balance=0)


class _Select:
    def __init__(self, context: AppContext) -> None:
        self.db = context.get(TipQueries).db


@get("/bench/select", operation_id="BenchSelect", summary="SELECT 1")
async def select(one: NamedDependency[_Select]) -> int:
    """One statement, no account."""
    value: int = await one.db.fetchval("SELECT 1")
    return value


@asgi("/bench/echo", copy_scope=False)
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket that sends back what it gets."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": None, "text": message["text"]})


class Broadcast(msgspec.Struct):
    """What to send to every socket of /bench/fan, over and over."""

    frames: list[str]
    seconds: float


class Sent(msgspec.Struct):
    """How many frames were sent to each socket, in how long."""

    frames: int
    seconds: float


_fan: list[Send] = []


@asgi("/bench/fan", copy_scope=False)
async def fan(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket that gets what is broadcast."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    _fan.append(send)
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        _fan.remove(send)


@post(
    "/bench/broadcast",
    operation_id="BenchBroadcast",
    summary="A bare loop over sockets",
    request_max_body_size=64 * 1024 * 1024,
)
async def broadcast(data: JSONBody[Broadcast]) -> Sent:
    """As anybody would write it: for each frame, await send to one socket after the other."""
    started, sent = time.perf_counter(), 0
    while time.perf_counter() - started < data.seconds:
        text = data.frames[sent % len(data.frames)]
        for send in tuple(_fan):
            await send({"type": "websocket.send", "bytes": None, "text": text})
        sent += 1
        await asyncio.sleep(0)  # the next one is waited for, and what was written goes out
    return Sent(sent, time.perf_counter() - started)


def create() -> Litestar:
    """The factory for the ASGI server."""
    router = Router(
        path="/api/v1",
        dependencies={"one": inject(_Select)},
        request_max_body_size=MONEY_BODY_LIMIT,
        route_handlers=[empty, select, echo, fan, broadcast],
    )
    ROUTERS.append(router)
    made = app.main.create_app()
    settle()
    return made


def create_without_relay() -> Litestar:
    """The same, but it relays nothing: what it commits stays in the outbox."""

    def nothing(_relay: Relay) -> None:
        pass

    Relay.poke = nothing  # type: ignore[method-assign,assignment]
    return create()
