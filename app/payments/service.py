"""Where payments meet their providers. No provider is called inside of a transaction: what is to be done is committed
before it is asked for, and every request can be repeated under the same id."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from app.accounts.service import limit_address
from app.core.auth import check_limit
from app.core.context import AppContext, RequestInfo
from app.core.errors import TesseraError, error
from app.core.metrics import PAYMENT_EVENTS
from app.payments.providers.paypal import PayPal
from app.payments.providers.paystack import Paystack
from app.payments.providers.protocol import (
    Fact,
    Malformed,
    Method,
    Order,
    Provider,
    ProviderName,
    ProviderRefused,
    ProviderUnavailable,
    RefundAnswer,
    RefundOrder,
    SignatureInvalid,
    asked,
)
from app.payments.providers.sandbox import Sandbox
from app.payments.providers.stripe import Stripe
from app.payments.queries import PaymentQueries, SettlingQueries
from app.payments.structs import CheckoutReceipt, CheckoutRequest, Outcome, RefundRequest, Settlement
from app.settings import Settings
from app.wallets.queries import Replayable

REFUND_SECONDS = 25.0
"""Shorter than a refund is anybody's: the first asker's for 45 seconds, a scheduler's for 30 at least. Paystack has no
idempotency keys, so two must not ask at once."""

log = structlog.get_logger("tessera.payments")


def providers_of(settings: Settings) -> dict[ProviderName, Provider]:
    """The providers that are configured."""
    found: dict[ProviderName, Provider] = {}
    if settings.stripe_secret_key:
        found["stripe"] = Stripe(settings.stripe_secret_key, settings.stripe_webhook_secrets, settings.stripe_url)
    if settings.paystack_secret_key:
        found["paystack"] = Paystack(settings.paystack_secret_key, settings.paystack_url)
    if settings.paypal_client_id and settings.paypal_client_secret and settings.paypal_webhook_id:
        found["paypal"] = PayPal(
            settings.paypal_client_id, settings.paypal_client_secret, settings.paypal_webhook_id, settings.paypal_url
        )
    if settings.sandbox_payments:
        found["sandbox"] = Sandbox(settings.token_secret or "", settings.base_url)
    return found


class Settling:
    """Brings payments forward: for a webhook, for the job that reconciles, for an administrator."""

    def __init__(self, queries: SettlingQueries, providers: Mapping[ProviderName, Provider]) -> None:
        self._queries = queries
        self._providers = providers

    async def take_in(self, fact: Fact) -> Settlement:
        """Keep an event, then apply it: two commits, so that what was told is not lost where the second fails."""
        await self.keep(fact)
        return await self.apply(fact)

    async def keep(self, fact: Fact) -> None:
        """Keep an event, if it was not kept before."""
        await self._queries.note_event(fact)

    async def apply(self, fact: Fact) -> Settlement:
        """Apply an event that is kept. Errors: those of api.settle_payment."""
        settled = await self._queries.settle(fact.provider, fact.event_id)
        PAYMENT_EVENTS.labels(fact.provider, settled.outcome).inc()
        if settled.outcome in ("unknown", "mismatch", "duplicate", "contradiction", "refused"):
            log.error(
                "payment_event_for_a_person",
                provider=fact.provider,
                event_id=fact.event_id,
                outcome=settled.outcome,
                error=settled.error,
                remedy="docs/payments.md",
            )
        return settled

    async def start(self, order: Order) -> Order:
        """Have the provider make the checkout. Raises ProviderUnavailable, ProviderRefused."""
        made = await self._providers[order.provider].create_checkout(order)
        return await self._queries.start_payment(order.payment_id, made.reference, made.url, made.customer)

    async def ask(self, order: Order, *, over: bool) -> int:
        """Ask the provider about a payment that is pending; ``over``: nobody can pay it any more. How many facts."""
        if order.reference is None and not over:
            # its answer was lost on the way: under the same id it is the same checkout
            try:
                order = await self.start(order)
            except ProviderRefused as exc:
                await self.take_in(asked(order, "failed", str(exc), reason="refused"))
                return 1
        facts = await self._providers[order.provider].fetch(order)
        if over and not facts:
            facts = [asked(order, "failed", None, reason="expired")]
        for fact in facts:
            await self.take_in(fact)
        return len(facts)

    async def send_refund(self, order: RefundOrder) -> RefundAnswer:
        """Ask the provider for a refund and note its answer, within REFUND_SECONDS. Raises ProviderUnavailable."""
        provider = self._providers.get(order.provider)
        if provider is None:
            raise ProviderUnavailable(f"{order.provider} is not configured")
        try:
            async with asyncio.timeout(REFUND_SECONDS):
                answer = await provider.refund(order)
        except TimeoutError as exc:
            raise ProviderUnavailable("it takes too long") from exc
        except ProviderRefused as exc:
            answer = RefundAnswer("failed", None, str(exc)[:255])
        await self._queries.note_refund(order.refund_id, answer)
        return answer


class Payments:
    """Checkouts, webhooks, refunds and methods, for the routes."""

    def __init__(self, context: AppContext) -> None:
        self._settings = context.settings
        self._limits = context.limits
        self._queries = context.get(PaymentQueries)
        self._providers = providers_of(context.settings)
        self._settling = Settling(SettlingQueries(context.database), self._providers)
        context.on_shutdown.append(self.close)

    async def close(self) -> None:
        """Let go of the providers' connections."""
        for provider in self._providers.values():
            await provider.close()

    @property
    def names(self) -> list[ProviderName]:
        """The providers that are configured."""
        return list(self._providers)

    def provider(self, name: ProviderName) -> Provider:
        """Errors: PROVIDER_NOT_CONFIGURED."""
        if name not in self._providers:
            raise error("PROVIDER_NOT_CONFIGURED", provider=name)
        return self._providers[name]

    @property
    def sandbox(self) -> Sandbox:
        """Errors: PROVIDER_NOT_CONFIGURED."""
        found = self.provider("sandbox")
        assert isinstance(found, Sandbox)
        return found

    async def checkout(self, buyer: UUID, data: CheckoutRequest, key: str) -> Replayable:
        """Open a payment, commit, then have the provider make a checkout of it.

        Errors: those of api.open_payment, PROVIDER_NOT_CONFIGURED, PROVIDER_UNAVAILABLE, URL_NOT_ALLOWED.
        """
        self.provider(data.provider)
        pages = f"{self._settings.base_url}/api/v1/public/checkout"
        success = self._allowed("success_url", data.success_url) or f"{pages}/done"
        cancel = self._allowed("cancel_url", data.cancel_url) or f"{pages}/cancelled"
        order = await self._queries.open_payment(buyer, data.package_id, data.provider, success, cancel, key)
        if order.checkout_url is None:
            replayed = order.replayed
            try:
                order = await self._settling.start(order)
            except (ProviderUnavailable, ProviderRefused) as exc:
                log.warning("checkout_not_made", payment_id=str(order.payment_id), reason=str(exc))
                raise error(
                    "PROVIDER_UNAVAILABLE", provider=data.provider, payment_id=str(order.payment_id), retry_after=5
                ) from exc
        else:
            replayed = True
        assert order.checkout_url is not None
        receipt = CheckoutReceipt(
            payment_id=order.payment_id,
            provider=order.provider,
            tokens=order.tokens,
            amount=order.amount,
            currency=order.currency,
            checkout_url=order.checkout_url,
            created_at=order.created_at,
            expires_at=order.expires_at,
        )
        return Replayable(receipt, replayed)

    async def receive(self, name: ProviderName, headers: Mapping[str, str], body: bytes, address: str) -> Outcome:
        """Take in a webhook. Errors: PROVIDER_NOT_CONFIGURED, PAYMENT_SIGNATURE_INVALID, MALFORMED_JSON,
        PROVIDER_UNAVAILABLE (the provider repeats it), RATE_LIMITED."""
        provider = self.provider(name)
        if name == "paypal":  # which is asked about each: nobody is to have us ask as often as they like
            check_limit(self._limits.address.hit(limit_address(address)), "address")
        try:
            fact = await provider.verify_webhook(headers, body)
        except SignatureInvalid as exc:
            PAYMENT_EVENTS.labels(name, "forged").inc()
            raise error("PAYMENT_SIGNATURE_INVALID", provider=name) from exc
        except Malformed as exc:
            raise error("MALFORMED_JSON") from exc
        except ProviderUnavailable as exc:
            raise error("PROVIDER_UNAVAILABLE", provider=name) from exc
        await self._settling.keep(fact)
        try:
            settled = await self._settling.apply(fact)
        except TesseraError as exc:
            log.warning("payment_event_not_applied", provider=name, event_id=fact.event_id, reason=str(exc))
            return "received"  # it is kept: the job applies it
        return settled.outcome

    async def refund(self, payment: UUID, data: RefundRequest, key: str, actor: UUID, info: RequestInfo) -> Replayable:
        """Take the tokens back, commit, then ask the provider. Where it does not answer, the job asks again.

        Errors: those of api.reverse_payment.
        """
        order, answer = await self._queries.reverse(payment, data.amount, data.reason, key, actor, info)
        if not order.replayed:
            try:
                await self._settling.send_refund(order)
            except (ProviderUnavailable, TesseraError) as exc:  # written it is: the job brings it to its end
                log.warning("refund_not_answered", refund_id=str(order.refund_id), reason=str(exc))
        return Replayable(answer, order.replayed)

    async def methods(self, user: UUID) -> list[Method]:
        """The payment methods that providers keep for a user. Errors: PROVIDER_UNAVAILABLE."""
        found: list[Method] = []
        for name, customer in (await self._queries.customers(user)).items():
            if name in self._providers:
                try:
                    found += await self._providers[name].methods(customer)
                except (ProviderUnavailable, ProviderRefused) as exc:
                    raise error("PROVIDER_UNAVAILABLE", provider=name) from exc
        return found

    async def remove_method(self, user: UUID, method: str) -> None:
        """Forget one of one's own methods. Errors: PAYMENT_METHOD_NOT_FOUND, PROVIDER_UNAVAILABLE."""
        for name, customer in (await self._queries.customers(user)).items():
            if name in self._providers:
                try:
                    if await self._providers[name].remove_method(customer, method):
                        return
                except (ProviderUnavailable, ProviderRefused) as exc:
                    raise error("PROVIDER_UNAVAILABLE", provider=name) from exc
        raise error("PAYMENT_METHOD_NOT_FOUND")

    def _allowed(self, field: str, url: str | None) -> str | None:
        """An address of the allow-list: same scheme, host and port as an entry, and a path below its own."""
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise error("URL_NOT_ALLOWED", field=field) from None
        plain = url.isascii() and url.isprintable() and not any(c in url for c in ' \\"<>')
        if plain and not parts.username and not parts.password and ".." not in parts.path:
            for entry in self._settings.checkout_urls:
                allowed = urlsplit(entry)
                if (parts.scheme, parts.hostname, port) == (allowed.scheme, allowed.hostname, allowed.port) and (
                    parts.path == allowed.path or parts.path.startswith(allowed.path.rstrip("/") + "/")
                ):
                    return url
        raise error("URL_NOT_ALLOWED", field=field)
