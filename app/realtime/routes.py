"""The ticket, the upgrade to a WebSocket, and the AsyncAPI document."""

from __future__ import annotations

import time
from typing import Any

import structlog
from litestar import Response, Router, asgi
from litestar.di import NamedDependency
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from app.core.answers import to_error
from app.core.auth import CurrentActor, requires
from app.core.context import RequestInfo, info_of, inject
from app.core.errors import PROBLEM_JSON, TesseraError, error, problem, problem_headers
from app.core.openapi import raises
from app.core.routing import get, post
from app.core.wire import wire_of
from app.realtime.asyncapi import as_json
from app.realtime.protocol import encode_problem
from app.realtime.service import SCOPE, Realtime
from app.realtime.structs import Ticket

log = structlog.get_logger("tessera.realtime")


@post(
    "/realtime/ticket",
    operation_id="CreateRealtimeTicket",
    summary="A ticket for a WebSocket",
    tags=["realtime"],
    guards=[requires(SCOPE)],
    opt=raises(),
)
async def create_ticket(actor: CurrentActor, realtime: NamedDependency[Realtime]) -> Ticket:
    """For browsers, which cannot send a token with the upgrade of `GET /api/v1/realtime`. Good once, for 30 seconds."""
    return await realtime.ticket(actor)


@asgi("/realtime", copy_scope=False)
async def connect(scope: Scope, receive: Receive, send: Send) -> None:
    """The WebSocket (docs/realtime.md). What is wrong before the upgrade is answered as HTTP."""
    info = info_of(scope)
    realtime = info.context.get(Realtime)
    started = time.monotonic()
    try:
        if scope["type"] != ScopeType.WEBSOCKET:
            raise error("UPGRADE_REQUIRED")
        wire = wire_of(scope)
        if wire is None:
            raise error("REALTIME_UNAVAILABLE")
        realtime.check_origin(info, next((value for name, value in scope["headers"] if name == b"host"), None))
        realtime.check_address(info.address)
        actor = await realtime.authenticate(info)
        if actor is not None:
            realtime.check_user(actor)
    except Exception as exc:
        failure = to_error(exc)
        if failure.slug == "INTERNAL_ERROR":
            log.error("realtime_upgrade_failed", request_id=info.request_id, exc_info=exc)
        await _refuse(failure, info, scope, receive, send)
        return
    await receive()  # websocket.connect
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    socket = await realtime.serve(wire, receive, info, actor)
    log.info(
        "socket_closed",
        request_id=info.request_id,
        address=info.address,
        user_id=None if socket.actor is None else str(socket.actor.user_id),
        code=None if socket.closed is None else socket.closed[0],
        reason=None if socket.closed is None else socket.closed[1],
        seconds=round(time.monotonic() - started, 1),
    )


async def _refuse(failure: TesseraError, info: RequestInfo, scope: Scope, receive: Receive, send: Send) -> None:
    """The answer instead of an upgrade."""
    body = encode_problem(problem(failure, info.request_id))
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in problem_headers(failure).items()]
    headers += [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", b"%d" % len(body))]
    if failure.slug == "UPGRADE_REQUIRED":
        headers.append((b"upgrade", b"websocket"))
    kind = "http.response" if scope["type"] == ScopeType.HTTP else "websocket.http.response"
    start: Any = {"type": f"{kind}.start", "status": failure.status, "headers": headers}
    end: Any = {"type": f"{kind}.body", "body": body, "more_body": False}
    if scope["type"] == ScopeType.WEBSOCKET:
        await receive()
    await send(start)
    await send(end)


@get("/asyncapi.json", operation_id="AsyncApi", summary="The AsyncAPI 3.0 document", include_in_schema=False)
async def asyncapi_json() -> Response[bytes]:
    """Which events there are and what is said on the WebSocket, for machines."""
    return Response(as_json(), media_type="application/json")


realtime_router = Router(
    path="/api/v1", route_handlers=[create_ticket, connect, asyncapi_json], dependencies={"realtime": inject(Realtime)}
)
