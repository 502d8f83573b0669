"""The routes of administrators: all need the role admin."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from app.admin.queries import AdminQueries
from app.admin.structs import (
    Act,
    Adjustment,
    AdjustmentRequest,
    FreezeRequest,
    MinimumRequest,
    Rate,
    RateRequest,
    ReasonRequest,
    Seal,
    Wallet,
)
from app.core.auth import CurrentActor, requires
from app.core.context import RequestInfo, inject, provide_info
from app.core.idempotency import IdempotencyKey
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import get, post, put
from app.core.times import moment
from app.core.wiring import MONEY_BODY_LIMIT
from app.wallets.routes import FromParameter, ToParameter

TAGS = ["admin"]
ADMIN = [requires("admin", role="admin")]
Admin = NamedDependency[AdminQueries]
Info = NamedDependency[RequestInfo]
AdjustmentStatus = Literal["pending", "approved", "rejected", "expired"]
MOVES = (
    "INSUFFICIENT_TOKENS",
    "WALLET_FROZEN",
    "WALLET_CLOSED",
    "BALANCE_LIMIT",
    "VELOCITY_LIMIT",
    "USER_SUSPENDED",
)


@get("/admin/rates", operation_id="ListRates", summary="Rates and their history", tags=TAGS, guards=ADMIN)
async def list_rates(
    admin: Admin,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    name: Annotated[str | None, QueryParameter(max_length=63, description="Only this rate.")] = None,
    at: Annotated[
        str | None, QueryParameter(format="date-time", description="Only what counts then (RFC 3339).")
    ] = None,
) -> Page[Rate]:
    """Every row there ever was, newest first."""
    rows = await admin.rates(name, moment(at, "at"), decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda rate: rate.rate_id)


@put(
    "/admin/rates",
    operation_id="SetRate",
    summary="Set a rate from a moment on",
    tags=TAGS,
    guards=ADMIN,
    opt=raises("RATE_NOT_FOUND", "ASSET_NOT_FOUND", "INVALID_REQUEST", "RATE_EXISTS", "USER_SUSPENDED"),
)
async def set_rate(data: JSONBody[RateRequest], actor: CurrentActor, admin: Admin, info: Info) -> Rate:
    """From now on or later, never the past. The same again changes nothing."""
    return await admin.set_rate(data, actor.user_id, info)


@post(
    "/admin/rates/{rate_id:uuid}/end",
    operation_id="EndRate",
    summary="End a rate now",
    status_code=200,
    tags=TAGS,
    guards=ADMIN,
    opt=raises("RATE_NOT_FOUND", "INVALID_REQUEST", "USER_SUSPENDED"),
)
async def end_rate(rate_id: FromPath[UUID], actor: CurrentActor, admin: Admin, info: Info) -> Rate:
    """What was in force before it is in force again; if nothing was, what needs it is refused."""
    return await admin.end_rate(rate_id, actor.user_id, info)


@get("/admin/adjustments", operation_id="ListAdjustments", summary="Adjustments", tags=TAGS, guards=ADMIN)
async def list_adjustments(
    admin: Admin,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: Annotated[AdjustmentStatus | None, QueryParameter(description="Only these.")] = None,
) -> Page[Adjustment]:
    """Movements by hand, newest first."""
    rows = await admin.adjustments(status, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda adjustment: adjustment.adjustment_id)


@post(
    "/admin/adjustments",
    operation_id="RequestAdjustment",
    summary="Ask for a movement by hand",
    tags=TAGS,
    guards=ADMIN,
    opt=raises(
        "WALLET_NOT_FOUND",
        "SELF_TRANSFER",
        "ASSET_MISMATCH",
        "INVALID_REQUEST",
        "USER_SUSPENDED",
        "CONFIGURATION_ERROR",
    ),
)
async def request_adjustment(
    data: JSONBody[AdjustmentRequest], actor: CurrentActor, key: IdempotencyKey, admin: Admin, info: Info
) -> Adjustment:
    """Nothing moves until another administrator approves it, in time."""
    return await admin.request_adjustment(data, key, actor.user_id, info)


@post(
    "/admin/adjustments/{adjustment_id:uuid}/approve",
    operation_id="ApproveAdjustment",
    summary="Approve an adjustment",
    status_code=200,
    tags=TAGS,
    guards=ADMIN,
    opt=raises("ADJUSTMENT_NOT_FOUND", "ADJUSTMENT_CLOSED", "SAME_PERSON", "WALLET_NOT_FOUND", *MOVES),
)
async def approve_adjustment(
    adjustment_id: FromPath[UUID], actor: CurrentActor, admin: Admin, info: Info
) -> Adjustment:
    """Moves the money, once. Whoever asked for it is refused."""
    return await admin.approve_adjustment(adjustment_id, actor.user_id, info)


@post(
    "/admin/adjustments/{adjustment_id:uuid}/reject",
    operation_id="RejectAdjustment",
    summary="Reject an adjustment",
    status_code=200,
    tags=TAGS,
    guards=ADMIN,
    opt=raises("ADJUSTMENT_NOT_FOUND", "ADJUSTMENT_CLOSED", "INVALID_REQUEST", "USER_SUSPENDED"),
)
async def reject_adjustment(
    adjustment_id: FromPath[UUID], data: JSONBody[ReasonRequest], actor: CurrentActor, admin: Admin, info: Info
) -> Adjustment:
    """Nothing moves. Who asked may withdraw it so."""
    return await admin.reject_adjustment(adjustment_id, data.reason, actor.user_id, info)


@get(
    "/admin/wallets/{wallet_id:uuid}",
    operation_id="GetWallet",
    summary="A wallet",
    tags=TAGS,
    guards=ADMIN,
    opt=raises("WALLET_NOT_FOUND"),
)
async def get_wallet(wallet_id: FromPath[UUID], admin: Admin) -> Wallet:
    """Anybody's, or the system's."""
    return await admin.wallet(wallet_id)


WALLET_ERRORS = ("WALLET_NOT_FOUND", "INVALID_REQUEST", "USER_SUSPENDED")


@post(
    "/admin/wallets/{wallet_id:uuid}/freeze",
    operation_id="FreezeWallet",
    summary="Freeze a wallet",
    status_code=200,
    tags=TAGS,
    guards=ADMIN,
    opt=raises(*WALLET_ERRORS, "WALLET_CLOSED"),
)
async def freeze_wallet(
    wallet_id: FromPath[UUID], data: JSONBody[FreezeRequest], actor: CurrentActor, admin: Admin, info: Info
) -> Wallet:
    """Its debits, or its credits too."""
    return await admin.freeze_wallet(wallet_id, data, actor.user_id, info)


@post(
    "/admin/wallets/{wallet_id:uuid}/unfreeze",
    operation_id="UnfreezeWallet",
    summary="End a wallet's freeze",
    status_code=200,
    tags=TAGS,
    guards=ADMIN,
    opt=raises(*WALLET_ERRORS, "WALLET_CLOSED"),
)
async def unfreeze_wallet(
    wallet_id: FromPath[UUID], data: JSONBody[ReasonRequest], actor: CurrentActor, admin: Admin, info: Info
) -> Wallet:
    """It is as any other again."""
    return await admin.unfreeze_wallet(wallet_id, data.reason, actor.user_id, info)


@post(
    "/admin/wallets/{wallet_id:uuid}/close",
    operation_id="CloseWallet",
    summary="Close a wallet for good",
    status_code=200,
    tags=TAGS,
    guards=ADMIN,
    opt=raises(*WALLET_ERRORS, "WALLET_NOT_EMPTY"),
)
async def close_wallet(
    wallet_id: FromPath[UUID], data: JSONBody[ReasonRequest], actor: CurrentActor, admin: Admin, info: Info
) -> Wallet:
    """Only with nothing in it, held, or owed."""
    return await admin.close_wallet(wallet_id, data.reason, actor.user_id, info)


@post(
    "/admin/wallets/{wallet_id:uuid}/minimum",
    operation_id="SetWalletMinimum",
    summary="Set how low a wallet may go",
    status_code=200,
    tags=TAGS,
    guards=ADMIN,
    opt=raises(*WALLET_ERRORS, "WALLET_CLOSED", "INSUFFICIENT_TOKENS"),
)
async def set_wallet_minimum(
    wallet_id: FromPath[UUID], data: JSONBody[MinimumRequest], actor: CurrentActor, admin: Admin, info: Info
) -> Wallet:
    """An overdraft, or a reserve."""
    return await admin.set_wallet_minimum(wallet_id, data, actor.user_id, info)


@get("/admin/audit-log", operation_id="ListAuditLog", summary="Who did what", tags=TAGS, guards=ADMIN)
async def list_audit_log(
    admin: Admin,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    actor_id: Annotated[UUID | None, QueryParameter(description="Only what this user did.")] = None,
    subject_id: Annotated[UUID | None, QueryParameter(description="Only what was done to this.")] = None,
    action: Annotated[
        str | None, QueryParameter(max_length=80, description="Only acts that begin so: wallet., rate.set…")
    ] = None,
    start: FromParameter = None,
    end: ToParameter = None,
) -> Page[Act]:
    """Every administrative act, newest first."""
    begin, finish = moment(start, "from"), moment(end, "to")
    rows = await admin.audit_log(actor_id, subject_id, action, begin, finish, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda act: act.audit_id)


@get("/admin/ledger/seals", operation_id="ListSeals", summary="Sealed blocks of history", tags=TAGS, guards=ADMIN)
async def list_seals(admin: Admin, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page[Seal]:
    """Newest first. Keep the newest digest where nobody can change it who can change the database."""
    rows = await admin.seals(decode_cursor(cursor, int), limit + 1)
    return page_of(rows, limit, lambda seal: seal.block)


admin_router = Router(
    path="/api/v1",
    dependencies={"admin": inject(AdminQueries), "info": provide_info},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[
        list_rates,
        set_rate,
        end_rate,
        list_adjustments,
        request_adjustment,
        approve_adjustment,
        reject_adjustment,
        get_wallet,
        freeze_wallet,
        unfreeze_wallet,
        close_wallet,
        set_wallet_minimum,
        list_audit_log,
        list_seals,
    ],
)
