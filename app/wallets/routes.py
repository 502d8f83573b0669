"""The routes of wallets."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from app.core.auth import CurrentActor, requires
from app.core.context import RequestInfo, inject, provide_info
from app.core.errors import error
from app.core.idempotency import IdempotencyKey
from app.core.openapi import answers, raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from app.core.routing import get, post
from app.core.times import moment
from app.core.wiring import MONEY_BODY_LIMIT, Reply
from app.wallets.queries import Replayable, WalletQueries
from app.wallets.service import Transfers, to_csv
from app.wallets.structs import (
    Audit,
    CaptureRequest,
    HoldReceipt,
    HoldRequest,
    RefundReceipt,
    RefundRequest,
    Statement,
    TokenBalance,
    Transaction,
    TransferReceipt,
    TransferRequest,
    Wallets,
)

TAGS = ["wallets"]
REPLAYED = {"Idempotent-Replayed": "true"}
"""Header of an answer that the same key had given before."""

AssetParameter = Annotated[str, QueryParameter(pattern=r"^[A-Z][A-Z0-9_]{1,15}$", description="Asset of the wallet.")]
KindParameter = Annotated[
    str | None, QueryParameter(max_length=63, description="Only entries of this kind: tip, grant…")
]
FromParameter = Annotated[
    str | None, QueryParameter(name="from", format="date-time", description="Not before (RFC 3339).")
]
ToParameter = Annotated[str | None, QueryParameter(name="to", format="date-time", description="Before (RFC 3339).")]


def created(outcome: Replayable) -> Response[Any]:
    """201 with the receipt; the same bytes again for a repeated key."""
    return Reply(outcome.answer, status_code=201, headers=REPLAYED if outcome.replayed else None)


@get("/dashboard/wallet", operation_id="GetWallets", summary="My wallets", tags=TAGS, guards=[requires("wallet:read")])
async def get_wallets(actor: CurrentActor, wallets: NamedDependency[WalletQueries]) -> Wallets:
    """The caller's balances, one wallet an asset."""
    return Wallets(await wallets.balances(actor.user_id))


@get(
    "/monetization/balance",
    operation_id="GetBalance",
    summary="My tokens",
    tags=TAGS,
    guards=[requires("wallet:read")],
    opt=raises("WALLET_NOT_FOUND", "CONFIGURATION_ERROR", "HISTORY_DETACHED"),
)
async def get_balance(actor: CurrentActor, wallets: NamedDependency[WalletQueries]) -> TokenBalance:
    """The caller's tokens, and what one is worth."""
    value = await wallets.token_value()
    for wallet in await wallets.balances(actor.user_id):
        if wallet.asset == "TOKEN":
            pending, payable = await wallets.payable(actor.user_id)
            return TokenBalance(
                pending=pending,
                payable=payable,
                balance=wallet.balance,
                held=wallet.held,
                available=wallet.spendable,
                lifetime_earned=wallet.lifetime_earned,
                lifetime_spent=wallet.lifetime_spent,
                token_value_usd=value,
            )
    raise error("WALLET_NOT_FOUND", asset="TOKEN")


@get(
    "/dashboard/wallet/transactions",
    operation_id="ListTransactions",
    summary="What moved in my wallet",
    tags=TAGS,
    guards=[requires("wallet:read")],
    opt=raises("WALLET_NOT_FOUND") | answers("text/csv"),
)
async def list_transactions(
    request: Request[Any, Any, Any],
    actor: CurrentActor,
    wallets: NamedDependency[WalletQueries],
    asset: AssetParameter = "TOKEN",
    kind: KindParameter = None,
    start: FromParameter = None,
    end: ToParameter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Transaction]:
    """Newest first. With ``Accept: text/csv`` as CSV, with the next cursor in the header ``X-Next-Cursor``."""
    wallet = await wallets.wallet_of(actor.user_id, asset)
    rows = await wallets.entries(
        wallet, moment(start, "from"), moment(end, "to"), decode_cursor(cursor, int), limit + 1, kind
    )
    page = page_of(rows, limit, lambda entry: entry.seq)
    if "text/csv" not in request.headers.get("accept", ""):
        return page
    headers = {"Content-Disposition": 'attachment; filename="transactions.csv"'}
    if page.next_cursor is not None:
        headers["X-Next-Cursor"] = page.next_cursor
    csv: Any = Reply(to_csv(page.items), media_type="text/csv; charset=utf-8", headers=headers)
    return csv  # type: ignore[no-any-return]


@get(
    "/dashboard/wallet/statement",
    operation_id="GetStatement",
    summary="My statement for a period",
    tags=TAGS,
    guards=[requires("wallet:read")],
    opt=raises("WALLET_NOT_FOUND", "VALIDATION_ERROR"),
)
async def get_statement(
    actor: CurrentActor,
    wallets: NamedDependency[WalletQueries],
    start: Annotated[str, QueryParameter(name="from", format="date-time", description="Start, included (RFC 3339).")],
    end: Annotated[str, QueryParameter(name="to", format="date-time", description="End, not included (RFC 3339).")],
    asset: AssetParameter = "TOKEN",
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Statement:
    """Opening and closing balance and the entries between them, read from one snapshot."""
    begin, finish = moment(start, "from"), moment(end, "to")
    assert begin is not None
    assert finish is not None
    if finish < begin:
        raise error("VALIDATION_ERROR", errors=[{"field": "to", "message": "Expected a time not before `from`"}])
    before = decode_cursor(cursor, int)
    wallet = await wallets.wallet_of(actor.user_id, asset)
    async with (
        wallets.db.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        opening, closing = await wallets.balances_at(wallet, begin, finish, connection)
        rows = await wallets.entries(wallet, begin, finish, before, limit + 1, connection=connection)
    return Statement(
        wallet_id=wallet,
        asset=asset,
        from_=begin,
        to=finish,
        opening_balance=opening,
        closing_balance=closing,
        entries=rows[:limit],
        next_cursor=encode_cursor(rows[limit - 1].seq) if len(rows) > limit else None,
    )


@post(
    "/wallets/transfers",
    operation_id="CreateTransfer",
    summary="Send money to somebody",
    tags=TAGS,
    guards=[requires("transfers:write")],
    opt=raises(
        "INSUFFICIENT_TOKENS",
        "WALLET_NOT_FOUND",
        "SELF_TRANSFER",
        "ASSET_MISMATCH",
        "INVALID_REQUEST",
        "METADATA_TOO_LARGE",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "BALANCE_LIMIT",
        "VELOCITY_LIMIT",
        "USER_SUSPENDED",
        "SERVER_BUSY",
    ),
)
async def create_transfer(
    data: JSONBody[TransferRequest], actor: CurrentActor, key: IdempotencyKey, transfers: NamedDependency[Transfers]
) -> Response[TransferReceipt]:
    """From the caller's wallet. Repeating the key returns the first transfer, byte for byte."""
    return created(await transfers.send(actor.user_id, data, key))


HOLD_ERRORS = (
    "HOLD_NOT_FOUND",
    "HOLD_CLOSED",
    "USER_SUSPENDED",
)


@post(
    "/wallets/holds",
    operation_id="PlaceHold",
    summary="Set an amount of a wallet aside",
    tags=TAGS,
    guards=[requires("holds:write", role="operator")],
    opt=raises(
        "INSUFFICIENT_TOKENS",
        "WALLET_NOT_FOUND",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "METADATA_TOO_LARGE",
        "INVALID_REQUEST",
        "USER_SUSPENDED",
    ),
)
async def place_hold(
    data: JSONBody[HoldRequest],
    actor: CurrentActor,
    key: IdempotencyKey,
    wallets: NamedDependency[WalletQueries],
    info: NamedDependency[RequestInfo],
) -> Response[HoldReceipt]:
    """It cannot be spent until it is captured, released, or expires. Never on overdraft. For operators."""
    return created(await wallets.place_hold(data, key, actor.user_id, info))


@post(
    "/wallets/holds/{hold_id:uuid}/capture",
    operation_id="CaptureHold",
    summary="Pay out what a hold set aside",
    tags=TAGS,
    guards=[requires("holds:write", role="operator")],
    opt=raises(
        *HOLD_ERRORS,
        "HOLD_EXCEEDED",
        "WALLET_NOT_FOUND",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "ASSET_MISMATCH",
        "SELF_TRANSFER",
        "BALANCE_LIMIT",
        "VELOCITY_LIMIT",
        "METADATA_TOO_LARGE",
        "INVALID_REQUEST",
    ),
)
async def capture_hold(
    hold_id: FromPath[UUID],
    data: JSONBody[CaptureRequest],
    actor: CurrentActor,
    key: IdempotencyKey,
    wallets: NamedDependency[WalletQueries],
    info: NamedDependency[RequestInfo],
) -> Response[HoldReceipt]:
    """Whole or in parts, until nothing is left or a capture closes it. For operators."""
    return created(await wallets.capture_hold(hold_id, data, key, actor.user_id, info))


@post(
    "/wallets/holds/{hold_id:uuid}/release",
    operation_id="ReleaseHold",
    summary="Give back what a hold set aside",
    tags=TAGS,
    guards=[requires("holds:write", role="operator")],
    opt=raises(*HOLD_ERRORS),
)
async def release_hold(
    hold_id: FromPath[UUID],
    actor: CurrentActor,
    key: IdempotencyKey,
    wallets: NamedDependency[WalletQueries],
    info: NamedDependency[RequestInfo],
) -> Response[HoldReceipt]:
    """What is left of it can be spent again. For operators."""
    return created(await wallets.release_hold(hold_id, key, actor.user_id, info))


@post(
    "/admin/transfers/{transfer_id:uuid}/refund",
    operation_id="RefundTransfer",
    summary="Give back a transfer, whole or in part",
    tags=["admin"],
    guards=[requires("admin", role="admin")],
    opt=raises(
        "TRANSFER_NOT_FOUND",
        "REFUND_EXCEEDED",
        "NOT_REFUNDABLE",
        "INSUFFICIENT_TOKENS",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "BALANCE_LIMIT",
        "VELOCITY_LIMIT",
        "INVALID_REQUEST",
        "USER_SUSPENDED",
    ),
)
async def refund_transfer(
    transfer_id: FromPath[UUID],
    data: JSONBody[RefundRequest],
    actor: CurrentActor,
    key: IdempotencyKey,
    wallets: NamedDependency[WalletQueries],
    info: NamedDependency[RequestInfo],
) -> Response[RefundReceipt]:
    """By a linked transfer the other way; all refunds together never exceed the original."""
    return created(await wallets.refund_transfer(transfer_id, data, key, actor.user_id, info))


@get(
    "/admin/ledger/audit",
    operation_id="AuditLedger",
    summary="Do the books balance?",
    tags=["admin"],
    guards=[requires("admin", role="admin")],
)
async def audit_ledger(wallets: NamedDependency[WalletQueries]) -> Audit:
    """Every invariant of the ledger, checked on one snapshot; a row for each that is broken."""
    return await wallets.audit()


wallets_router = Router(
    path="/api/v1",
    dependencies={"wallets": inject(WalletQueries), "transfers": inject(Transfers), "info": provide_info},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[
        get_wallets,
        get_balance,
        list_transactions,
        get_statement,
        create_transfer,
        place_hold,
        capture_hold,
        release_hold,
        refund_transfer,
        audit_ledger,
    ],
)
