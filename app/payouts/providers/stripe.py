"""Stripe Connect: a transfer to the connected account, then a payout from there to its bank.

The HTTP API itself and not the library: what a lost answer means is decided here, request by request, and the library
repeats some by itself. Both objects carry the payout's id (``transfer_group``, ``metadata``), by which they are found
again; idempotency keys are forgotten after a day, so nothing relies on them alone.
"""

from __future__ import annotations

from typing import Any

import httpx

from app.core.currencies import THOUSANDTHS, WHOLE_CURRENCIES
from app.core.outside import client
from app.payouts.details import StripeDetails
from app.payouts.providers import MINOR, Order, Refused, Report, State, Unheard, ask

VERSION = "2025-03-31.basil"
UNPAYABLE = WHOLE_CURRENCIES | THOUSANDTHS | {"HUF", "ISK", "TWD", "UGX"}
"""Stripe counts these otherwise than in hundredths, or pays out whole units only: accounts in them are not taken."""
PAGES = 20
"""At most this many pages of payouts are looked through for one."""
SLACK_SECONDS = 3600
"""Clocks differ: payouts are looked for from so long before ours was sent."""
STATES: dict[str, State] = {"paid": "paid", "failed": "failed", "canceled": "failed"}


class Stripe:
    """Stripe, with the platform's key."""

    def __init__(self, url: str, key: str, seconds: float) -> None:
        self._url, self._key, self._seconds = url, key, seconds

    async def send(self, order: Order) -> Report:
        """The transfer, unless it is there, then the payout. A payout that is refused takes the transfer back."""
        if order.currency in UNPAYABLE:
            return Report("failed", reason="currency")
        async with client(self._url, self._seconds, self._key) as http:
            try:
                transfer = await self._transfer(http, order)
            except Refused as exc:  # that it is not told does not mean that it is not there
                return Report("not_sent", reason=_reason(exc))
            except Unheard as exc:
                return Report(exc.state, reason=exc.reason)
            try:
                if transfer is None:
                    transfer = await self._make_transfer(http, order)
                if transfer.get("reversed"):
                    return Report("failed", transfer.get("id"), reason="reversed")
                try:
                    return _told(await self._make_payout(http, order))
                except Refused as exc:
                    await self._take_back(http, order, transfer)
                    return Report("failed", transfer.get("id"), reason=_reason(exc))
            except Refused as exc:
                if _code(exc) == "balance_insufficient":
                    return Report("not_sent", reason="platform_balance")
                return Report("failed", reason=_reason(exc))
            except Unheard as exc:
                return Report(exc.state, reason=exc.reason)

    async def fetch(self, order: Order) -> Report:
        """The payout if there is one, else the transfer: one without a payout is not done, so it may be sent on."""
        async with client(self._url, self._seconds, self._key) as http:
            try:
                payout = await self._payout(http, order)
                transfer = await self._transfer(http, order)
                if payout is None:
                    if transfer is None:
                        return Report("not_found")
                    if transfer.get("reversed"):
                        return Report("failed", transfer.get("id"), reason="reversed")
                    return Report("not_found", transfer.get("id"))
                report = _told(payout)
                if report.state == "failed" and transfer is not None and not transfer.get("reversed"):
                    # the money is with the connected account: the tokens come back when it has come back
                    await self._take_back(http, order, transfer)
                return report
            except Refused as exc:
                return Report("unknown", reason=_reason(exc))
            except Unheard as exc:
                return Report("unknown", reason=exc.reason)

    async def _transfer(self, http: httpx.AsyncClient, order: Order) -> dict[str, Any] | None:
        query = {"transfer_group": str(order.payout_id), "limit": "1"}
        found = (await self._get(http, "/v1/transfers", query, None)).get("data")
        return _object(found[0]) if isinstance(found, list) and found else None

    async def _payout(self, http: httpx.AsyncClient, order: Order) -> dict[str, Any] | None:
        account = _details(order).account
        if order.reference is not None and order.reference.startswith("po_"):
            return await self._get(http, f"/v1/payouts/{order.reference}", {}, account)
        query = {"limit": "100", "created[gte]": str(int(order.sending_at.timestamp()) - SLACK_SECONDS)}
        for _ in range(PAGES):
            page = await self._get(http, "/v1/payouts", query, account)
            rows = page.get("data")
            if not isinstance(rows, list):
                raise Unheard("unknown", "no_list")
            for row in map(_object, rows):
                if (row.get("metadata") or {}).get("payout_id") == str(order.payout_id):
                    return row
            if not page.get("has_more") or not rows:
                return None
            query["starting_after"] = str(rows[-1].get("id"))
        raise Unheard("unknown", "too_many_payouts")

    async def _get(
        self, http: httpx.AsyncClient, path: str, query: dict[str, str], account: str | None
    ) -> dict[str, Any]:
        headers = {"Stripe-Version": VERSION} | ({"Stripe-Account": account} if account else {})
        return await ask(http, "GET", path, params=query, headers=headers)

    async def _post(
        self, http: httpx.AsyncClient, path: str, key: str, form: dict[str, str], account: str | None = None
    ) -> dict[str, Any]:
        headers = {"Stripe-Version": VERSION, "Idempotency-Key": key} | ({"Stripe-Account": account} if account else {})
        try:
            return await ask(http, "POST", path, data=form, headers=headers)
        except Refused as exc:
            if (exc.body.get("error") or {}).get("type") == "idempotency_error":
                raise Unheard("unknown", "idempotency_error") from exc
            raise

    async def _make_transfer(self, http: httpx.AsyncClient, order: Order) -> dict[str, Any]:
        return await self._post(
            http,
            "/v1/transfers",
            f"{order.payout_id}-transfer",
            {
                "amount": str(order.hundredths),
                "currency": order.currency.lower(),
                "destination": _details(order).account,
                "transfer_group": str(order.payout_id),
                "metadata[payout_id]": str(order.payout_id),
            },
        )

    async def _make_payout(self, http: httpx.AsyncClient, order: Order) -> dict[str, Any]:
        form = {
            "amount": str(order.hundredths),
            "currency": order.currency.lower(),
            "metadata[payout_id]": str(order.payout_id),
        }
        try:
            return await self._post(
                http, "/v1/payouts", f"{order.payout_id}-payout", form, account=_details(order).account
            )
        except Unheard as exc:
            # the transfer is made, so whatever happened to this the provider has heard of it
            raise Unheard("unknown", exc.reason) from exc

    async def _take_back(self, http: httpx.AsyncClient, order: Order, transfer: dict[str, Any]) -> None:
        try:
            await self._post(http, f"/v1/transfers/{transfer['id']}/reversals", f"{order.payout_id}-reversal", {})
        except Refused as exc:
            raise Unheard("unknown", "transfer_not_reversed") from exc
        except Unheard as exc:
            raise Unheard("unknown", exc.reason) from exc


def _details(order: Order) -> StripeDetails:
    assert isinstance(order.details, StripeDetails)
    return order.details


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unheard("unknown", "no_object")
    return value


def _told(payout: dict[str, Any]) -> Report:
    amount, currency, reference = payout.get("amount"), payout.get("currency"), payout.get("id")
    if not isinstance(amount, int) or not isinstance(currency, str) or not isinstance(reference, str):
        raise Unheard("unknown", "no_payout")
    state: State = STATES.get(str(payout.get("status")), "pending")
    reason = _word(payout.get("failure_code")) or "failed" if state == "failed" else None
    return Report(state, reference, amount * MINOR, currency.upper(), reason)


def _code(exc: Refused) -> str | None:
    found = exc.body.get("error")
    return found.get("code") if isinstance(found, dict) else None


def _word(text: Any) -> str | None:
    word = "".join(c if c.isalnum() and c.isascii() else "_" for c in str(text or "").lower())[:63]
    return word if word and word[0].isalpha() else None


def _reason(exc: Refused) -> str:
    return _word(_code(exc)) or "refused"
