"""The routes of payouts: those of who is paid, and those of operators."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from app.core.auth import STEP_UP, CurrentActor, requires
from app.core.context import RequestInfo, inject, provide_info
from app.core.idempotency import IdempotencyKey
from app.core.openapi import answers, raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import delete, get, post
from app.core.sheets import CSV, attachment
from app.core.wiring import MONEY_BODY_LIMIT, Reply
from app.payouts.details import Provider
from app.payouts.queries import PayoutQueries
from app.payouts.service import Payouts, batch_csv, queue_csv, statement_csv
from app.payouts.structs import (
    AccountRequest,
    AdminPayout,
    Batch,
    Days,
    FailRequest,
    HoldRequest,
    PaidRequest,
    Payout,
    PayoutAccount,
    PayoutAccounts,
    PayoutBalance,
    PayoutReceipt,
    PayoutRequest,
    PayoutStatus,
    Reconciliation,
    YearStatement,
)
from app.wallets.routes import created

TAGS = ["payouts"]
READ = [requires("payouts:read")]
PERSON = [requires(session=True)]
OPERATOR = [requires("payouts:manage", role="operator")]
Reads = NamedDependency[PayoutQueries]
Info = NamedDependency[RequestInfo]
StatusParameter = Annotated[PayoutStatus | None, QueryParameter(description="Only these.")]
DECIDES = ("PAYOUT_NOT_FOUND", "PAYOUT_STATE", "SAME_PERSON", "USER_SUSPENDED")


def _wants_csv(request: Request[Any, Any, Any]) -> bool:
    return "text/csv" in request.headers.get("accept", "")


def _csv(content: bytes, name: str, cursor: str | None = None) -> Any:
    headers = attachment(name) | ({"X-Next-Cursor": cursor} if cursor is not None else {})
    return Reply(content, media_type=CSV, headers=headers)


@post(
    "/monetization/payout",
    operation_id="RequestPayout",
    summary="Ask for tokens as money",
    tags=TAGS,
    guards=PERSON,
    opt=raises(
        *STEP_UP,
        "PAYOUT_ACCOUNT_NOT_FOUND",
        "PAYOUT_TOO_SMALL",
        "PAYOUT_LIMIT",
        "EARNINGS_PENDING",
        "INSUFFICIENT_TOKENS",
        "INVALID_AMOUNT",
        "WALLET_NOT_FOUND",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "USER_SUSPENDED",
        "CONFIGURATION_ERROR",
    ),
)
async def request_payout(
    data: JSONBody[PayoutRequest],
    actor: CurrentActor,
    key: IdempotencyKey,
    payouts: NamedDependency[Payouts],
    info: Info,
) -> Response[PayoutReceipt]:
    """With the password, or a code where an authenticator app is enrolled. The tokens are held at once. Repeating the
    key returns the first receipt, byte for byte, and needs no second code."""
    return created(await payouts.request(actor.user_id, data, key, info))


@get(
    "/payouts/balance",
    operation_id="GetPayoutBalance",
    summary="What I can be paid now",
    tags=TAGS,
    guards=READ,
    opt=raises("WALLET_NOT_FOUND", "CONFIGURATION_ERROR", "HISTORY_DETACHED"),
)
async def get_balance(actor: CurrentActor, reads: Reads) -> PayoutBalance:
    """What came in lately is pending for as long as the platform says."""
    return await reads.balance(actor.user_id)


@get("/payouts", operation_id="ListPayouts", summary="My payouts", tags=TAGS, guards=READ)
async def list_payouts(
    actor: CurrentActor,
    reads: Reads,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: StatusParameter = None,
) -> Page[Payout]:
    """Newest first."""
    rows = await reads.payouts(actor.user_id, status, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda payout: payout.payout_id)


@get(
    "/payouts/{payout_id:uuid}",
    operation_id="GetPayout",
    summary="A payout of mine",
    tags=TAGS,
    guards=READ,
    opt=raises("PAYOUT_NOT_FOUND"),
)
async def get_payout(payout_id: FromPath[UUID], actor: CurrentActor, reads: Reads) -> Payout:
    """With why it is held, and when to expect the money."""
    return await reads.payout(payout_id, actor.user_id)


@post(
    "/payouts/{payout_id:uuid}/cancel",
    operation_id="CancelPayout",
    summary="Take back a payout that has not been sent",
    status_code=200,
    tags=TAGS,
    guards=PERSON,
    opt=raises("PAYOUT_NOT_FOUND", "PAYOUT_STATE", "USER_SUSPENDED"),
)
async def cancel_payout(payout_id: FromPath[UUID], actor: CurrentActor, reads: Reads, info: Info) -> Payout:
    """Its tokens can be spent again. Cancelled already: nothing changes."""
    return await reads.cancel(payout_id, actor.user_id, info)


@get("/payouts/accounts", operation_id="ListPayoutAccounts", summary="Where I can be paid", tags=TAGS, guards=READ)
async def list_accounts(actor: CurrentActor, reads: Reads) -> PayoutAccounts:
    """Masked."""
    return PayoutAccounts(await reads.accounts(actor.user_id))


@post(
    "/payouts/accounts",
    operation_id="AddPayoutAccount",
    summary="Add an account to be paid to",
    tags=TAGS,
    guards=PERSON,
    opt=raises(*STEP_UP, "INVALID_REQUEST", "TOO_MANY_PAYOUT_ACCOUNTS", "PAYOUT_PROVIDER_NOT_CONFIGURED"),
)
async def add_account(
    data: JSONBody[AccountRequest], actor: CurrentActor, payouts: NamedDependency[Payouts], info: Info
) -> PayoutAccount:
    """With the password, or a code where an authenticator app is enrolled. What is in it is encrypted, and shown masked
    only; it cannot be changed, only removed."""
    return await payouts.add_account(actor.user_id, data, info)


@delete(
    "/payouts/accounts/{account_id:uuid}",
    operation_id="RemovePayoutAccount",
    summary="Remove an account",
    status_code=204,
    tags=TAGS,
    guards=PERSON,
    opt=raises("PAYOUT_ACCOUNT_NOT_FOUND", "USER_SUSPENDED"),
)
async def remove_account(account_id: FromPath[UUID], actor: CurrentActor, reads: Reads, info: Info) -> None:
    """Payouts that wait to be sent there are held; what has been sent goes on."""
    await reads.remove_account(account_id, actor.user_id, info)


@get(
    "/payouts/statement",
    operation_id="GetEarningsStatement",
    summary="A year of my earnings",
    tags=TAGS,
    guards=READ,
    opt=raises("WALLET_NOT_FOUND", "HISTORY_DETACHED", "INVALID_REQUEST") | answers("text/csv"),
)
async def get_statement(
    request: Request[Any, Any, Any],
    actor: CurrentActor,
    payouts: NamedDependency[Payouts],
    year: Annotated[int, QueryParameter(ge=2000, le=9998, description="In UTC.")],
) -> YearStatement:
    """What moved by month and kind, and the payouts that were paid. With ``Accept: text/csv`` as CSV."""
    statement = await payouts.statement(actor.user_id, year)
    if not _wants_csv(request):
        return statement
    csv: Any = _csv(statement_csv(statement), f"earnings-{year}.csv")
    return csv  # type: ignore[no-any-return]


# Operators


@get(
    "/admin/payouts",
    operation_id="ListAllPayouts",
    summary="Everybody's payouts",
    tags=TAGS,
    guards=OPERATOR,
    opt=answers("text/csv"),
)
async def list_queue(
    request: Request[Any, Any, Any],
    reads: Reads,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: StatusParameter = None,
    provider: Annotated[Provider | None, QueryParameter(description="Only this provider's.")] = None,
) -> Page[AdminPayout]:
    """Newest first; ``status=held`` is the queue. With ``Accept: text/csv`` as CSV, the next cursor in
    ``X-Next-Cursor``."""
    rows = await reads.queue(status, provider, decode_cursor(cursor, UUID), limit + 1)
    page = page_of(rows, limit, lambda payout: payout.payout_id)
    if not _wants_csv(request):
        return page
    csv: Any = _csv(queue_csv(page.items), "payouts.csv", page.next_cursor)
    return csv  # type: ignore[no-any-return]


@get(
    "/admin/payouts/batch",
    operation_id="GetPayoutBatch",
    summary="What is to be paid by hand",
    tags=TAGS,
    guards=[requires(role="operator", session=True)],
    opt=answers("text/csv"),
)
async def get_batch(
    request: Request[Any, Any, Any], actor: CurrentActor, payouts: NamedDependency[Payouts], info: Info
) -> Batch:
    """Account numbers in plain text: who lists them is in the audit log. With ``Accept: text/csv`` as CSV, for a
    bank. Each stays in the list until it is marked as paid, or fails."""
    batch = await payouts.batch(actor.user_id, info)
    if not _wants_csv(request):
        return batch
    csv: Any = _csv(batch_csv(batch), "batch.csv")
    return csv  # type: ignore[no-any-return]


@get(
    "/admin/payouts/reconciliation",
    operation_id="ReconcilePayouts",
    summary="Payouts that do not match what their provider says",
    tags=TAGS,
    guards=OPERATOR,
    opt=raises("CONFIGURATION_ERROR"),
)
async def reconcile(
    reads: Reads,
    provider: Annotated[Provider, QueryParameter(description="Whose.")],
    day: Annotated[date, QueryParameter(description="When they were sent (UTC).")],
) -> Reconciliation:
    """By what the provider said of each last. Nothing: all match."""
    return Reconciliation(await reads.reconcile(provider, day))


@get(
    "/admin/payouts/days", operation_id="ListPayoutDays", summary="What was paid out by day", tags=TAGS, guards=OPERATOR
)
async def list_days(reads: Reads) -> Days:
    """Newest first, by provider and currency."""
    return Days(await reads.days())


@post(
    "/admin/payouts/{payout_id:uuid}/approve",
    operation_id="ApprovePayout",
    summary="Let a held payout pass",
    status_code=200,
    tags=TAGS,
    guards=OPERATOR,
    opt=raises(*DECIDES),
)
async def approve_payout(payout_id: FromPath[UUID], actor: CurrentActor, reads: Reads, info: Info) -> AdminPayout:
    """It is sent in a moment. Nobody approves their own."""
    return await reads.approve(payout_id, actor.user_id, info)


@post(
    "/admin/payouts/{payout_id:uuid}/hold",
    operation_id="HoldPayout",
    summary="Stop a payout that has not been sent",
    status_code=200,
    tags=TAGS,
    guards=OPERATOR,
    opt=raises(*DECIDES, "INVALID_REQUEST"),
)
async def hold_payout(
    payout_id: FromPath[UUID], data: JSONBody[HoldRequest], actor: CurrentActor, reads: Reads, info: Info
) -> AdminPayout:
    """Its user is shown the reason."""
    return await reads.hold(payout_id, data.reason, actor.user_id, info)


@post(
    "/admin/payouts/{payout_id:uuid}/mark-paid",
    operation_id="MarkPayoutPaid",
    summary="A payout by hand was paid",
    status_code=200,
    tags=TAGS,
    guards=OPERATOR,
    opt=raises(*DECIDES, "PAYOUT_WITH_PROVIDER", "CONFIGURATION_ERROR"),
)
async def mark_paid(
    payout_id: FromPath[UUID], data: JSONBody[PaidRequest], actor: CurrentActor, reads: Reads, info: Info
) -> AdminPayout:
    """A provider's own payouts only once it has not settled them for days. Paid already: nothing changes."""
    return await reads.settle(payout_id, data.reference, actor.user_id, info)


@post(
    "/admin/payouts/{payout_id:uuid}/fail",
    operation_id="FailPayout",
    summary="A payout will not arrive",
    status_code=200,
    tags=TAGS,
    guards=OPERATOR,
    opt=raises(
        *DECIDES,
        "PAYOUT_WITH_PROVIDER",
        "INVALID_REQUEST",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "BALANCE_LIMIT",
        "CONFIGURATION_ERROR",
    ),
)
async def fail_payout(
    payout_id: FromPath[UUID], data: JSONBody[FailRequest], actor: CurrentActor, reads: Reads, info: Info
) -> AdminPayout:
    """Its tokens are given back, also after it was paid and came back. Failed already: nothing changes."""
    return await reads.fail(payout_id, data.reason, data.reference, actor.user_id, info)


payouts_router = Router(
    path="/api/v1",
    dependencies={"payouts": inject(Payouts), "reads": inject(PayoutQueries), "info": provide_info},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[
        request_payout,
        get_balance,
        list_payouts,
        get_payout,
        cancel_payout,
        list_accounts,
        add_account,
        remove_account,
        get_statement,
        list_queue,
        get_batch,
        reconcile,
        list_days,
        approve_payout,
        hold_payout,
        mark_paid,
        fail_payout,
    ],
)
