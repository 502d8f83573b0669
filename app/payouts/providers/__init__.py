"""Those who pay: one small protocol, and what they say in the words of payouts.

A provider is told once (``send``) and then asked (``fetch``). What is not certain is never told again::

    unknown      no answer, or none that can be understood: it may have been done; ask
    not_sent     it cannot have reached the provider, or was turned away before anything was done: may be sent again
    not_found    the provider, asked, has never heard of it: may be sent again
    pending      the provider has it
    paid         the money has arrived
    failed       it will not arrive, or came back

Amounts are ten-thousandths of the currency here and hundredths at the providers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

import httpx

from app.payouts.details import Details
from app.settings import Settings

State = Literal["unknown", "not_sent", "not_found", "pending", "paid", "failed"]
MINOR = 100
"""A provider's minor unit in ours."""


class Order(NamedTuple):
    """A payout as a provider needs it. ``reference`` is what the provider called it before, if it has."""

    payout_id: UUID
    payout_amount: int
    currency: str
    details: Details
    reference: str | None
    sending_at: datetime

    @property
    def hundredths(self) -> int:
        """The amount in the provider's unit: payouts are whole hundredths."""
        whole, rest = divmod(self.payout_amount, MINOR)
        assert rest == 0, self.payout_amount
        return whole


class Report(NamedTuple):
    """What a provider said. ``amount`` in ten-thousandths of ``currency``; ``reason`` is a code, for failures shown."""

    state: State
    reference: str | None = None
    amount: int | None = None
    currency: str | None = None
    reason: str | None = None


class Provider(Protocol):
    """One who pays. Neither method raises for what the provider or the network does."""

    async def send(self, order: Order) -> Report:
        """Have it paid. The payout's id makes it safe should two tell the provider at once."""

    async def fetch(self, order: Order) -> Report:
        """What became of it."""


class Unheard(Exception):
    """No answer that says anything; ``state`` is unknown or not_sent."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(f"{state}: {reason}")
        self.state: State = state
        self.reason = reason


class Refused(Exception):
    """The provider has looked at the request and will not do it; nothing was done."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}")
        self.status = status
        self.body = body


_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


async def ask(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> dict[str, Any]:
    """The JSON object that a provider answers with. Raises Unheard, Refused."""
    try:
        answer = await client.request(method, path, **request)
    except _NOT_SENT as exc:
        raise Unheard("not_sent", type(exc).__name__) from exc
    except httpx.HTTPError as exc:
        raise Unheard("unknown", type(exc).__name__) from exc
    if answer.status_code in (401, 403, 429):  # our key, or our pace: nobody's payout is at fault
        raise Unheard("not_sent", f"http_{answer.status_code}")
    try:
        body = answer.json()
    except ValueError as exc:
        raise Unheard("unknown", f"http_{answer.status_code}_without_json") from exc
    if not isinstance(body, dict) or answer.status_code >= 500 or answer.status_code in (408, 409, 425):
        raise Unheard("unknown", f"http_{answer.status_code}")
    if answer.status_code >= 300:
        raise Refused(answer.status_code, body)
    return body


def provider_of(name: str, settings: Settings) -> Provider | None:
    """The provider of this name, or None where it is not configured."""
    from app.payouts.providers.paystack import Paystack
    from app.payouts.providers.stripe import Stripe

    if name == "stripe" and settings.stripe_secret_key:
        return Stripe(settings.stripe_url, settings.stripe_secret_key, settings.payout_timeout_seconds)
    if name == "paystack" and settings.paystack_secret_key:
        return Paystack(settings.paystack_url, settings.paystack_secret_key, settings.payout_timeout_seconds)
    return None
