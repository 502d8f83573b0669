"""The routes of payments, those that payment providers call, and a few pages."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Response

from app.core.auth import CurrentActor, requires
from app.core.context import RequestInfo, info_of, inject, provide_info
from app.core.errors import error
from app.core.idempotency import IdempotencyKey
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import delete, get, post
from app.core.times import moment
from app.core.wiring import MONEY_BODY_LIMIT, Reply
from app.payments import pages
from app.payments.providers.protocol import ProviderName
from app.payments.providers.sandbox import SIGNATURE
from app.payments.queries import PaymentQueries, SettlingQueries
from app.payments.service import Payments
from app.payments.structs import (
    AdminPayment,
    CheckoutReceipt,
    CheckoutRequest,
    EventAnswer,
    Methods,
    PackageRequest,
    Packages,
    Payment,
    PaymentEvent,
    PaymentStatus,
    Reconciliation,
    Refund,
    RefundRequest,
    ResolveRequest,
    SalesReport,
    SoldPackage,
)
from app.wallets.routes import created

TAGS = ["payments"]
ADMIN_TAGS = ["admin"]
ADMIN = [requires("admin", role="admin")]
OPERATOR = [requires("payments:operate", role="operator")]
READ = [requires("payments:read")]
WEBHOOK_BODY_LIMIT = 256 * 1024
HTML = "text/html"
WEBHOOK_ERRORS = (
    "PROVIDER_NOT_CONFIGURED",
    "PAYMENT_SIGNATURE_INVALID",
    "MALFORMED_JSON",
    "INVALID_REQUEST",
    "VALIDATION_ERROR",
    "PAYLOAD_TOO_LARGE",
    "PROVIDER_UNAVAILABLE",
    "RATE_LIMITED",
)
WEBHOOK = raises(*WEBHOOK_ERRORS) | {
    "reads": {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}
}
Desk = NamedDependency[Payments]
Queries = NamedDependency[PaymentQueries]
Info = NamedDependency[RequestInfo]
AnyRequest = Request[Any, Any, Any]
StatusParameter = Annotated[PaymentStatus | None, QueryParameter(description="Only these.")]
SealParameter = Annotated[str, QueryParameter(max_length=64, description="As in the checkout's address.")]


def html(request: AnyRequest, content: str) -> Response[str]:
    """A page, with what it may do."""
    info_of(request.scope).csp = pages.CSP
    return Reply(content, media_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})


@get("/public/token-packages", operation_id="ListTokenPackages", summary="What tokens are sold in", tags=TAGS)
async def list_packages(queries: Queries, desk: Desk) -> Packages:
    """On sale now, the cheapest first, with the providers they can be paid by."""
    return Packages(items=await queries.packages(), providers=desk.names)


@post(
    "/payments/checkout",
    operation_id="CreateCheckout",
    summary="Buy tokens",
    tags=TAGS,
    guards=[requires("payments:write")],
    opt=raises(
        "PACKAGE_NOT_FOUND",
        "URL_NOT_ALLOWED",
        "INVALID_REQUEST",
        "PROVIDER_NOT_CONFIGURED",
        "PROVIDER_UNAVAILABLE",
        "CONFIGURATION_ERROR",
    ),
)
async def create_checkout(
    data: JSONBody[CheckoutRequest], actor: CurrentActor, key: IdempotencyKey, desk: Desk
) -> Response[CheckoutReceipt]:
    """Opens a payment; the buyer pays at ``checkout_url``. Price and tokens are the package's.

    After PROVIDER_UNAVAILABLE send the same request with the same key: there is one payment and one checkout.
    """
    return created(await desk.checkout(actor.user_id, data, key))


@get("/payments", operation_id="ListPayments", summary="My payments", tags=TAGS, guards=READ)
async def list_payments(
    actor: CurrentActor,
    queries: Queries,
    status: StatusParameter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[Payment]:
    """Newest first."""
    rows = await queries.payments(actor.user_id, status, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda payment: payment.payment_id)


@get(
    "/payments/{payment_id:uuid}",
    operation_id="GetPayment",
    summary="A payment of mine",
    tags=TAGS,
    guards=READ,
    opt=raises("PAYMENT_NOT_FOUND"),
)
async def get_payment(payment_id: FromPath[UUID], actor: CurrentActor, queries: Queries) -> Payment:
    """One's own only."""
    return await queries.payment(payment_id, actor.user_id)


@get(
    "/payments/{payment_id:uuid}/receipt",
    operation_id="GetReceipt",
    summary="The receipt of a payment",
    tags=TAGS,
    guards=READ,
    media_type=HTML,
    opt=raises("PAYMENT_NOT_FOUND", "PAYMENT_NOT_PAID"),
)
async def get_receipt(
    payment_id: FromPath[UUID], request: AnyRequest, actor: CurrentActor, queries: Queries
) -> Response[str]:
    """A page to print, or to save as PDF. Only of what was paid."""
    payment = await queries.payment(payment_id, actor.user_id)
    if payment.paid_at is None:
        raise error("PAYMENT_NOT_PAID", payment_id=str(payment_id), payment_status=payment.status)
    name, email = await queries.who(actor.user_id)
    return html(request, pages.receipt(payment, name, email, info_of(request.scope).context.settings.base_url))


@get(
    "/payments/methods",
    operation_id="ListPaymentMethods",
    summary="My payment methods",
    tags=TAGS,
    guards=READ,
    opt=raises("PROVIDER_UNAVAILABLE"),
)
async def list_methods(actor: CurrentActor, desk: Desk) -> Methods:
    """Those that providers keep for the caller; they are added by paying."""
    return Methods(items=await desk.methods(actor.user_id))


@delete(
    "/payments/methods/{method_id:str}",
    operation_id="RemovePaymentMethod",
    summary="Forget a payment method",
    tags=TAGS,
    guards=[requires("payments:write")],
    opt=raises("PAYMENT_METHOD_NOT_FOUND", "PROVIDER_UNAVAILABLE"),
)
async def remove_method(method_id: FromPath[str], actor: CurrentActor, desk: Desk) -> None:
    """One's own only."""
    await desk.remove_method(actor.user_id, method_id)


async def _receive(name: ProviderName, request: AnyRequest, desk: Payments) -> EventAnswer:
    return EventAnswer(
        outcome=await desk.receive(name, request.headers, await request.body(), info_of(request.scope).address)
    )


@post(
    "/webhooks/payment/stripe",
    operation_id="ReceiveStripeEvent",
    summary="What Stripe tells",
    status_code=200,
    tags=TAGS,
    request_max_body_size=WEBHOOK_BODY_LIMIT,
    opt=WEBHOOK,
)
async def receive_stripe(request: AnyRequest, desk: Desk) -> EventAnswer:
    """For Stripe, which signs: `Stripe-Signature`. What is kept is answered 200, whatever is made of it."""
    return await _receive("stripe", request, desk)


@post(
    "/webhooks/payment/paystack",
    operation_id="ReceivePaystackEvent",
    summary="What Paystack tells",
    status_code=200,
    tags=TAGS,
    request_max_body_size=WEBHOOK_BODY_LIMIT,
    opt=WEBHOOK,
)
async def receive_paystack(request: AnyRequest, desk: Desk) -> EventAnswer:
    """For Paystack, which signs: `x-paystack-signature`. What is kept is answered 200, whatever is made of it."""
    return await _receive("paystack", request, desk)


@post(
    "/webhooks/payment/paypal",
    operation_id="ReceivePayPalEvent",
    summary="What PayPal tells",
    status_code=200,
    tags=TAGS,
    request_max_body_size=WEBHOOK_BODY_LIMIT,
    opt=WEBHOOK,
)
async def receive_paypal(request: AnyRequest, desk: Desk) -> EventAnswer:
    """For PayPal, which is asked whether it sent this. What is kept is answered 200, whatever is made of it."""
    return await _receive("paypal", request, desk)


@post(
    "/webhooks/payment/sandbox",
    operation_id="ReceiveSandboxEvent",
    summary="What the sandbox tells",
    status_code=200,
    tags=TAGS,
    request_max_body_size=WEBHOOK_BODY_LIMIT,
    opt=WEBHOOK,
)
async def receive_sandbox(request: AnyRequest, desk: Desk) -> EventAnswer:
    """For development: `x-sandbox-signature` is made with a key derived from the token secret."""
    return await _receive("sandbox", request, desk)


@get(
    "/public/sandbox/{payment_id:uuid}",
    operation_id="SandboxCheckout",
    summary="The sandbox's checkout",
    tags=TAGS,
    media_type=HTML,
    opt=raises("PROVIDER_NOT_CONFIGURED", "PAYMENT_NOT_FOUND"),
)
async def sandbox_page(
    payment_id: FromPath[UUID], seal: SealParameter, request: AnyRequest, queries: Queries, desk: Desk
) -> Response[str]:
    """A page with two buttons, for development. The address is the right to press them."""
    if not desk.sandbox.opens(payment_id, seal):
        raise error("PAYMENT_NOT_FOUND", payment_id=str(payment_id))
    return html(request, pages.sandbox(await queries.payment_by(payment_id, "sandbox"), seal))


@post(
    "/public/sandbox/{payment_id:uuid}/{button:str}",
    operation_id="SandboxPay",
    summary="Pay in the sandbox, or do not",
    status_code=200,
    tags=TAGS,
    media_type=HTML,
    opt=raises("PROVIDER_NOT_CONFIGURED", "PAYMENT_NOT_FOUND", "NOT_FOUND"),
)
async def sandbox_press(
    payment_id: FromPath[UUID],
    button: FromPath[str],
    seal: SealParameter,
    request: AnyRequest,
    queries: Queries,
    desk: Desk,
) -> Response[str]:
    """`pay` or `fail`. The webhook goes the way of all others."""
    if button not in ("pay", "fail"):
        raise error("NOT_FOUND")
    if not desk.sandbox.opens(payment_id, seal):
        raise error("PAYMENT_NOT_FOUND", payment_id=str(payment_id))
    payment = await queries.payment_by(payment_id, "sandbox")
    kind: Literal["paid", "failed"] = "paid" if button == "pay" else "failed"
    body = desk.sandbox.event(kind, payment_id, payment.amount, payment.currency)
    await desk.receive("sandbox", {SIGNATURE: desk.sandbox.sign(body)}, body, info_of(request.scope).address)
    after = await queries.payment_by(payment_id, "sandbox")
    link = await queries.way_back(payment_id, kind == "paid")
    return html(request, pages.notice("Sandbox", f"This payment is {after.status}.", link))


@get(
    "/public/checkout/done",
    operation_id="CheckoutDone",
    summary="After a checkout",
    tags=TAGS,
    media_type=HTML,
)
async def checkout_done(request: AnyRequest) -> Response[str]:
    """Where buyers come back to, unless the checkout said otherwise."""
    return html(request, pages.notice("Thank you", "Your tokens arrive as soon as the payment is confirmed."))


@get(
    "/public/checkout/cancelled",
    operation_id="CheckoutCancelled",
    summary="After a checkout that was left",
    tags=TAGS,
    media_type=HTML,
)
async def checkout_cancelled(request: AnyRequest) -> Response[str]:
    """Where buyers come back to when they do not pay."""
    return html(request, pages.notice("Not paid", "Nothing was charged. You can close this page."))


@get("/admin/payments", operation_id="ListAllPayments", summary="Payments", tags=ADMIN_TAGS, guards=OPERATOR)
async def list_all_payments(
    queries: Queries,
    buyer_id: Annotated[UUID | None, QueryParameter(description="Only this buyer's.")] = None,
    status: StatusParameter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AdminPayment]:
    """Everybody's, newest first. For operators."""
    rows = await queries.everybodys(buyer_id, status, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda payment: payment.payment_id)


@post(
    "/admin/payments/{payment_id:uuid}/refund",
    operation_id="RefundPayment",
    summary="Give a payment's money back",
    tags=ADMIN_TAGS,
    guards=ADMIN,
    opt=raises(
        "PAYMENT_NOT_FOUND",
        "PAYMENT_NOT_PAID",
        "PAYMENT_REFUND_EXCEEDED",
        "INVALID_REQUEST",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "BALANCE_LIMIT",
        "USER_SUSPENDED",
    ),
)
async def refund_payment(
    payment_id: FromPath[UUID],
    data: JSONBody[RefundRequest],
    actor: CurrentActor,
    key: IdempotencyKey,
    desk: Desk,
    info: Info,
) -> Response[Refund]:
    """The tokens are taken back at once, into debt where they are spent; the provider is asked until it answers."""
    return created(await desk.refund(payment_id, data, key, actor.user_id, info))


@get(
    "/admin/payments/events",
    operation_id="ListPaymentEvents",
    summary="What payment providers have told",
    tags=ADMIN_TAGS,
    guards=OPERATOR,
)
async def list_events(
    queries: Queries,
    only_open: Annotated[bool, QueryParameter(name="open", description="Only what waits for a person.")] = False,
    payment_id: Annotated[UUID | None, QueryParameter(description="Only of this payment.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[PaymentEvent]:
    """Newest first, with what became of each. For operators."""
    before = decode_cursor(cursor, tuple[datetime, str])
    rows = await queries.events(payment_id, only_open, before, limit + 1)
    return page_of(rows, limit, lambda event: (event.received_at, event.event_id))


@post(
    "/admin/payments/events/resolve",
    operation_id="ResolvePaymentEvent",
    summary="Close an event that waited for a person",
    status_code=200,
    tags=ADMIN_TAGS,
    guards=ADMIN,
    opt=raises("PAYMENT_EVENT_NOT_FOUND", "INVALID_REQUEST", "USER_SUSPENDED"),
)
async def resolve_event(
    data: JSONBody[ResolveRequest], actor: CurrentActor, queries: Queries, info: Info
) -> PaymentEvent:
    """With a reason, which goes to the audit log. Nothing moves."""
    return await queries.resolve(data.provider, data.event_id, data.reason, actor.user_id, info)


@get(
    "/admin/payments/reconciliation",
    operation_id="ReconcilePayments",
    summary="A provider's day against the ledger",
    tags=ADMIN_TAGS,
    guards=OPERATOR,
    opt=raises("VALIDATION_ERROR"),
)
async def reconcile(
    queries: Queries,
    provider: Annotated[ProviderName, QueryParameter(description="Whose day.")],
    day: Annotated[str, QueryParameter(pattern=r"^\d{4}-\d{2}-\d{2}$", description="Of UTC: 2026-01-31.")],
) -> Reconciliation:
    """Whatever does not match. The day's records are fetched by a job, when it is over. For operators."""
    try:
        found = date.fromisoformat(day)
    except ValueError:
        raise error("VALIDATION_ERROR", errors=[{"field": "day", "message": "Expected a day"}]) from None
    findings = await SettlingQueries(queries.db).reconcile(provider, found)
    return Reconciliation(provider=provider, day=found, findings=findings)


@get(
    "/admin/payments/sales",
    operation_id="GetTokenSales",
    summary="What tokens were sold for",
    tags=ADMIN_TAGS,
    guards=OPERATOR,
    opt=raises("VALIDATION_ERROR", "CONFIGURATION_ERROR"),
)
async def get_sales(
    queries: Queries,
    start: Annotated[str, QueryParameter(name="from", format="date-time", description="Start, included (RFC 3339).")],
    end: Annotated[str, QueryParameter(name="to", format="date-time", description="End, not included (RFC 3339).")],
) -> SalesReport:
    """By currency, with what the tokens would be paid out at. For operators."""
    begin, finish = moment(start, "from"), moment(end, "to")
    assert begin is not None
    assert finish is not None
    return SalesReport(items=await queries.sales(begin, finish))


@post(
    "/admin/token-packages",
    operation_id="CreateTokenPackage",
    summary="Sell tokens in a new package",
    tags=ADMIN_TAGS,
    guards=ADMIN,
    opt=raises("INVALID_REQUEST", "USER_SUSPENDED"),
)
async def create_package(
    data: JSONBody[PackageRequest], actor: CurrentActor, queries: Queries, info: Info
) -> SoldPackage:
    """A package never changes: sell another and end the first."""
    return await queries.create_package(data, actor.user_id, info)


@post(
    "/admin/token-packages/{package_id:uuid}/end",
    operation_id="EndTokenPackage",
    summary="Sell a package no more",
    status_code=200,
    tags=ADMIN_TAGS,
    guards=ADMIN,
    opt=raises("PACKAGE_NOT_FOUND", "USER_SUSPENDED"),
)
async def end_package(package_id: FromPath[UUID], actor: CurrentActor, queries: Queries, info: Info) -> SoldPackage:
    """Payments that are open may still be paid."""
    return await queries.end_package(package_id, actor.user_id, info)


payments_router = Router(
    path="/api/v1",
    dependencies={"desk": inject(Payments), "queries": inject(PaymentQueries), "info": provide_info},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[
        list_packages,
        create_checkout,
        list_payments,
        get_payment,
        get_receipt,
        list_methods,
        remove_method,
        receive_stripe,
        receive_paystack,
        receive_paypal,
        receive_sandbox,
        sandbox_page,
        sandbox_press,
        checkout_done,
        checkout_cancelled,
        list_all_payments,
        refund_payment,
        list_events,
        resolve_event,
        reconcile,
        get_sales,
        create_package,
        end_package,
    ],
)
