"""Paystack: a recipient (the same details give the same one), then a transfer whose reference is the payout's id.

A reference is good for one transfer, ever; that makes it safe should two tell Paystack at once. A refusal is believed
only where Paystack, asked for the reference, has never heard of it.
"""

from __future__ import annotations

from typing import Any

import httpx

from app.core.outside import client
from app.payouts.details import PaystackDetails
from app.payouts.providers import MINOR, Order, Refused, Report, State, Unheard, ask

STATES: dict[str, State] = {
    "success": "paid",
    "failed": "failed",
    "reversed": "failed",
    "abandoned": "failed",
    "blocked": "failed",
    "rejected": "failed",
}


class Paystack:
    """Paystack, with the platform's key."""

    def __init__(self, url: str, key: str, seconds: float) -> None:
        self._url, self._key, self._seconds = url, key, seconds

    async def send(self, order: Order) -> Report:
        """The recipient, then the transfer."""
        async with client(self._url, self._seconds, self._key) as http:
            try:
                recipient = await self._recipient(http, order)
            except Refused:
                return Report("failed", reason="account_refused")
            except Unheard as exc:
                return Report("not_sent", reason=exc.reason)  # nothing is paid by naming who is to be paid
            try:
                return _told(
                    await ask(
                        http,
                        "POST",
                        "/transfer",
                        json={
                            "source": "balance",
                            "amount": order.hundredths,
                            "currency": order.currency,
                            "recipient": recipient,
                            "reference": str(order.payout_id),
                            "reason": "Payout",
                        },
                    )
                )
            except Refused as exc:
                return await self._after_refusal(http, order, exc)
            except Unheard as exc:
                return Report(exc.state, reason=exc.reason)

    async def fetch(self, order: Order) -> Report:
        """The transfer of this reference."""
        async with client(self._url, self._seconds, self._key) as http:
            return await self._verify(http, order)

    async def _recipient(self, http: httpx.AsyncClient, order: Order) -> str:
        details = order.details
        assert isinstance(details, PaystackDetails)
        body = await ask(
            http,
            "POST",
            "/transferrecipient",
            json={
                "type": details.kind,
                "name": details.holder,
                "account_number": details.number,
                "bank_code": details.bank_code,
                "currency": order.currency,
            },
        )
        code = (body.get("data") or {}).get("recipient_code")
        if not isinstance(code, str):
            raise Unheard("not_sent", "no_recipient")
        return code

    async def _verify(self, http: httpx.AsyncClient, order: Order) -> Report:
        try:
            return _told(await ask(http, "GET", f"/transfer/verify/{order.payout_id}"))
        except Refused as exc:
            if exc.status == 404:
                return Report("not_found")
            return Report("unknown", reason=f"http_{exc.status}")
        except Unheard as exc:
            return Report("unknown", reason=exc.reason)

    async def _after_refusal(self, http: httpx.AsyncClient, order: Order, refusal: Refused) -> Report:
        report = await self._verify(http, order)
        if report.state != "not_found":
            return report
        message = str(refusal.body.get("message", "")).lower()
        if "balance" in message:
            return Report("not_sent", reason="platform_balance")
        return Report("failed", reason="refused")


def _told(body: dict[str, Any]) -> Report:
    data = body.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("amount"), int):
        raise Unheard("unknown", "no_transfer")
    status = str(data.get("status"))
    state: State = STATES.get(status, "pending")
    return Report(
        state,
        str(data.get("transfer_code") or data.get("reference") or "") or None,
        data["amount"] * MINOR,
        str(data.get("currency", "")).upper(),
        status if state == "failed" else "otp" if status == "otp" else None,
    )
