"""The routes of calls and their bills."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from app.calls.queries import CallQueries
from app.calls.service import Calls
from app.calls.structs import (
    BillingStatus,
    Call,
    CallBlock,
    CallOffer,
    CallReceipt,
    CallRequest,
    CallRole,
    CallStats,
    CallStatus,
    Metered,
    MeterRequest,
    Pulse,
)
from app.core.auth import CurrentActor, requires
from app.core.context import info_of, inject
from app.core.errors import error
from app.core.idempotency import IdempotencyKey
from app.core.openapi import raises, reads
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import get, post
from app.core.times import moment
from app.core.wiring import MONEY_BODY_LIMIT, DirectRequest, validation_error
from app.wallets.routes import created

TAGS = ["calls"]
BILLING = ["billing"]
READ = [requires("calls:read")]
WRITE = [requires("calls:write")]
MINE = ("CALL_NOT_FOUND", "NOT_CALL_PARTICIPANT")
CHANGE = (*MINE, "USER_SUSPENDED", "CONFIGURATION_ERROR")
Reads = NamedDependency[CallQueries]
Role = Annotated[CallRole | None, QueryParameter(description="Only calls in which I am that.")]
Status = Annotated[CallStatus | None, QueryParameter(description="Only these.")]
From = Annotated[
    str | None, QueryParameter(name="from", format="date-time", description="Opened not before (RFC 3339).")
]
To = Annotated[str | None, QueryParameter(name="to", format="date-time", description="Opened before (RFC 3339).")]
SECRET_HEADERS = (b"x-billing-webhook-secret", b"billing_webhook_secret")

OPEN_ERRORS = raises(
    "SELF_CALL",
    "CREATOR_NOT_FOUND",
    "CALL_IN_PROGRESS",
    "CREATOR_BUSY",
    "CALLS_NOT_ACCEPTED",
    "CALL_COOLDOWN",
    "BANNED",
    "INSUFFICIENT_TOKENS",
    "WALLET_NOT_FOUND",
    "USER_SUSPENDED",
    "CONFIGURATION_ERROR",
)


@post("/calls/init", operation_id="OpenCall", summary="Call a creator", tags=TAGS, guards=WRITE, opt=OPEN_ERRORS)
async def open_call(
    data: JSONBody[CallRequest], actor: CurrentActor, key: IdempotencyKey, calls_read: Reads
) -> Response[CallOffer]:
    """It rings; nothing is paid before it is accepted. Repeating the key returns the first offer, byte for byte."""
    return created(await calls_read.open_call(actor.user_id, data.creator_id, key))


@post(
    "/calls/initiate",
    operation_id="InitiateCall",
    summary="Call a creator (another name of /calls/init)",
    tags=TAGS,
    guards=WRITE,
    opt=OPEN_ERRORS,
)
async def initiate_call(
    data: JSONBody[CallRequest], actor: CurrentActor, key: IdempotencyKey, calls_read: Reads
) -> Response[CallOffer]:
    """The same as /calls/init."""
    return created(await calls_read.open_call(actor.user_id, data.creator_id, key))


@post(
    "/calls/{call_id:uuid}/accept",
    operation_id="AcceptCall",
    summary="Answer a call",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises(*CHANGE, "NOT_THE_CALLED", "CALL_ENDED"),
)
async def accept_call(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> Call:
    """The creator's part. It pays the first block: look at ``status``, which is ``ended`` if that could not be done."""
    return await calls_read.accept_call(call_id, actor.user_id)


@post(
    "/calls/{call_id:uuid}/decline",
    operation_id="DeclineCall",
    summary="Decline a call",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises(*CHANGE, "NOT_THE_CALLED", "CALL_ENDED", "CALL_NOT_RINGING"),
)
async def decline_call(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> Call:
    """The creator's part, while it rings. Declined already: the same again."""
    return await calls_read.decline_call(call_id, actor.user_id)


@post(
    "/calls/{call_id:uuid}/heartbeat",
    operation_id="BeatCall",
    summary="I am there",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises(*MINE, "SERVER_BUSY", "CONFIGURATION_ERROR"),
)
async def beat_call(call_id: FromPath[UUID], actor: CurrentActor, calls: NamedDependency[Calls]) -> Pulse:
    """Send it every 15 seconds or so. A call not seen for two minutes ends, billed up to the last sign of life."""
    return await calls.beat(call_id, actor.user_id)


@post(
    "/calls/{call_id:uuid}/end",
    operation_id="EndCall",
    summary="End a call",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises(*CHANGE),
)
async def end_call(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> Call:
    """Either of its people. Blocks that have begun are paid, no more. Over already: the same totals again."""
    return await calls_read.end_call(call_id, actor.user_id)


@get("/calls", operation_id="ListCalls", summary="My calls", tags=TAGS, guards=READ)
async def list_calls(
    actor: CurrentActor,
    calls_read: Reads,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    role: Role = None,
    status: Status = None,
) -> Page[Call]:
    """Newest first."""
    wanted = None if status is None else [status]
    rows = await calls_read.calls(actor.user_id, role, wanted, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda call: call.call_id)


@get("/calls/stats", operation_id="GetCallStats", summary="My calls in numbers", tags=TAGS, guards=READ)
async def get_call_stats(actor: CurrentActor, calls_read: Reads, role: Role = None) -> CallStats:
    """Of all that are over."""
    return await calls_read.stats(actor.user_id, role)


@get(
    "/calls/{call_id:uuid}",
    operation_id="GetCall",
    summary="A call",
    tags=TAGS,
    guards=READ,
    opt=raises(*MINE),
)
async def get_call(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> Call:
    """Of one's own."""
    return await calls_read.call(call_id, actor.user_id)


@post(
    "/billing/{call_id:uuid}/pause",
    operation_id="PauseCall",
    summary="Stop a call's clock",
    status_code=200,
    tags=BILLING,
    guards=WRITE,
    opt=raises(*CHANGE, "CALL_ENDED", "CALL_NOT_ACTIVE"),
)
async def pause_call(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> Call:
    """Blocks that have begun are paid first. Paused already: the same again."""
    return await calls_read.pause_call(call_id, actor.user_id)


@post(
    "/billing/{call_id:uuid}/resume",
    operation_id="ResumeCall",
    summary="Let a call's clock go on",
    status_code=200,
    tags=BILLING,
    guards=WRITE,
    opt=raises(*CHANGE, "CALL_ENDED", "CALL_NOT_ACTIVE"),
)
async def resume_call(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> Call:
    """What is left of a paid block is used up first. Active already: the same again."""
    return await calls_read.resume_call(call_id, actor.user_id)


@post(
    "/billing/{call_id:uuid}/stop",
    operation_id="StopBilling",
    summary="End a call and its bill",
    status_code=200,
    tags=BILLING,
    guards=WRITE,
    opt=raises(*CHANGE),
)
async def stop_call(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> Call:
    """As ending the call. A second stop answers with the same totals."""
    return await calls_read.end_call(call_id, actor.user_id)


@get(
    "/billing/{call_id:uuid}/status",
    operation_id="GetBillingStatus",
    summary="How a call stands",
    tags=BILLING,
    guards=READ,
    opt=raises(*MINE),
)
async def get_status(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> BillingStatus:
    """Blocks, tokens and time so far, and how many more blocks the fan can pay."""
    return await calls_read.status(call_id, actor.user_id)


@get(
    "/billing/calls/{call_id:uuid}/history",
    operation_id="ListCallBlocks",
    summary="A call's blocks",
    tags=BILLING,
    guards=READ,
    opt=raises(*MINE),
)
async def list_blocks(
    call_id: FromPath[UUID],
    actor: CurrentActor,
    calls_read: Reads,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CallBlock]:
    """In order, each with the transfer that paid it."""
    after = decode_cursor(cursor, int)
    rows = await calls_read.blocks(call_id, actor.user_id, after, limit + 1)
    return page_of(rows, limit, lambda block: block.block_no)


@get(
    "/billing/calls/{call_id:uuid}/receipt",
    operation_id="GetCallReceipt",
    summary="A call's receipt",
    tags=BILLING,
    guards=READ,
    opt=raises(*MINE, "CALL_NOT_OVER"),
)
async def get_receipt(call_id: FromPath[UUID], actor: CurrentActor, calls_read: Reads) -> CallReceipt:
    """Of a call that was answered and is over: who, when, how long, at what price, and what it came to."""
    return await calls_read.receipt(call_id, actor.user_id)


@get("/billing/history", operation_id="ListBills", summary="My bills", tags=BILLING, guards=READ)
async def list_bills(
    actor: CurrentActor,
    calls_read: Reads,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    role: Role = None,
) -> Page[Call]:
    """Calls that were answered and are over, newest first."""
    rows = await calls_read.calls(actor.user_id, role, ["ended"], decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda call: call.call_id)


@get("/billing/stats", operation_id="GetBillingStats", summary="My bills in numbers", tags=BILLING, guards=READ)
async def get_billing_stats(
    actor: CurrentActor, calls_read: Reads, role: Role = None, start: From = None, end: To = None
) -> CallStats:
    """Of calls opened in a span of time that are over."""
    return await calls_read.stats(actor.user_id, role, moment(start, "from"), moment(end, "to"))


@post(
    "/billing/meter",
    operation_id="MeterCalls",
    summary="Meter calls from outside",
    description="For a cron job elsewhere, with the secret in `X-Billing-Webhook-Secret`; safe beside the scheduler.",
    status_code=200,
    tags=BILLING,
    opt=raises(
        "METER_SECRET_INVALID",
        "CALL_NOT_FOUND",
        "CONFIGURATION_ERROR",
        "VALIDATION_ERROR",
        "MALFORMED_JSON",
        "PAYLOAD_TOO_LARGE",
        "RATE_LIMITED",
    )
    | reads(MeterRequest, "X-Billing-Webhook-Secret"),
)
async def meter(request: DirectRequest, calls: NamedDependency[Calls]) -> Metered:
    """One call, or all that are due (no body)."""
    headers = dict(request.scope["headers"])
    secret = next((headers[name] for name in SECRET_HEADERS if name in headers), None)
    calls.check_secret(secret, info_of(request.scope).address)
    body = await request.body()
    try:
        asked = msgspec.json.decode(body or b"{}", type=MeterRequest)
    except msgspec.ValidationError as exc:
        raise validation_error(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise error("MALFORMED_JSON") from exc
    return await calls.meter(asked.call_id)


calls_router = Router(
    path="/api/v1",
    dependencies={"calls_read": inject(CallQueries), "calls": inject(Calls)},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[
        open_call,
        initiate_call,
        accept_call,
        decline_call,
        beat_call,
        end_call,
        list_calls,
        get_call_stats,
        get_call,
        pause_call,
        resume_call,
        stop_call,
        get_status,
        list_blocks,
        get_receipt,
        list_bills,
        get_billing_stats,
        meter,
    ],
)
