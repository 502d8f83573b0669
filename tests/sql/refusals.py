"""Every transfer that is refused, and the facts it is refused with: for api.transfer and api.transfer_batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from tests.support.money import AMOUNT_RANGE, MAX_AMOUNT, Refusal, Transfer, World

NOBODY = UUID("00000000-0000-7000-8000-00000000dead")
Case = Callable[[World], tuple[Transfer, Refusal]]


def _plain(world: World, **changes: Any) -> Transfer:
    request = Transfer(source=world.alice.wallet, target=world.bob.wallet, amount=10)
    return msgspec.structs.replace(request, **changes)


def _case(code: str, slug: str, facts: dict[str, Any], **changes: Any) -> Case:
    return lambda world: (_plain(world, **changes), Refusal(code, slug, facts))


def _amount(amount: int) -> Case:
    return _case("TS102", "INVALID_AMOUNT", {"amount": amount, **AMOUNT_RANGE}, amount=amount)


REFUSALS: dict[str, Case] = {
    "reference too long": _case(
        "TS101", "INVALID_REQUEST", {"field": "reference", "maximum_bytes": 255}, reference="é" * 128
    ),
    "nothing": _amount(0),
    "less than nothing": _amount(-1),
    "least bigint": _amount(-(2**63)),
    "most bigint": _amount(2**63 - 1),
    "above the limit": _amount(MAX_AMOUNT + 1),
    "no amount": _case("TS102", "INVALID_AMOUNT", {"amount": None, **AMOUNT_RANGE}, amount=None),
    "another asset than the wallets'": _case(
        "TS103", "ASSET_MISMATCH", {"asset": "EUR", "from_asset": "TOKEN", "to_asset": "TOKEN"}, asset="EUR"
    ),
    "an asset that is not": _case(
        "TS103", "ASSET_MISMATCH", {"asset": "GOLD", "from_asset": "TOKEN", "to_asset": "TOKEN"}, asset="GOLD"
    ),
    "across assets": lambda w: (
        _plain(w, target=w.bob_eur),
        Refusal("TS103", "ASSET_MISMATCH", {"asset": "TOKEN", "from_asset": "TOKEN", "to_asset": "EUR"}),
    ),
    "to oneself": lambda w: (
        _plain(w, target=w.alice.wallet),
        Refusal("TS104", "SELF_TRANSFER", {"wallet_id": str(w.alice.wallet)}),
    ),
    "empty key": _case("TS106", "IDEMPOTENCY_KEY_INVALID", {"bytes": 0, "maximum_bytes": 255}, key=""),
    "long key": _case("TS106", "IDEMPOTENCY_KEY_INVALID", {"bytes": 256, "maximum_bytes": 255}, key="k" * 256),
    "kind": _case("TS109", "INVALID_KIND", {"kind": "No Kind"}, kind="No Kind"),
    **{
        f"kind of another function: {kind}": _case("TS109", "INVALID_KIND", {"kind": kind, "reserved": True}, kind=kind)
        for kind in (
            "tip",
            "fee",
            "refund",
            "reward",
            "referral",
            "adjustment",
            "stream_ticket",
            "call_block",
            "purchase",
            "purchase_restored",
            "payout",
            "payout_paid",
        )
    },
    "long kind": _case("TS109", "INVALID_KIND", {"kind": "k" * 80}, kind="k" * 200),
    "payer's wallet is not": _case("TS210", "WALLET_NOT_FOUND", {"wallet_id": str(NOBODY)}, source=NOBODY),
    "payee's wallet is not": _case("TS210", "WALLET_NOT_FOUND", {"wallet_id": str(NOBODY)}, target=NOBODY),
    "neither wallet is": _case("TS210", "WALLET_NOT_FOUND", {"wallet_id": str(NOBODY)}, source=NOBODY, target=NOBODY),
    "no payer": _case("TS210", "WALLET_NOT_FOUND", {"wallet_id": None}, source=None),
    "no payee": _case("TS210", "WALLET_NOT_FOUND", {"wallet_id": None}, target=None),
    "unknown actor": _case("TS211", "USER_NOT_FOUND", {"user_id": str(NOBODY)}, actor=NOBODY),
    "frozen payer": lambda w: (
        _plain(w, source=w.frozen.wallet),
        Refusal("TS310", "WALLET_FROZEN", {"wallet_id": str(w.frozen.wallet), "wallet_status": "frozen"}),
    ),
    "frozen payee": lambda w: (
        _plain(w, target=w.frozen.wallet),
        Refusal("TS310", "WALLET_FROZEN", {"wallet_id": str(w.frozen.wallet), "wallet_status": "frozen"}),
    ),
    "closed payer": lambda w: (
        _plain(w, source=w.closed.wallet),
        Refusal("TS311", "WALLET_CLOSED", {"wallet_id": str(w.closed.wallet), "wallet_status": "closed"}),
    ),
    "closed payee": lambda w: (
        _plain(w, target=w.closed.wallet),
        Refusal("TS311", "WALLET_CLOSED", {"wallet_id": str(w.closed.wallet), "wallet_status": "closed"}),
    ),
    "one token short": _case(
        "TS401",
        "INSUFFICIENT_TOKENS",
        {"required": 101, "current": 100, "shortfall": 1, "asset": "TOKEN"},
        amount=101,
    ),
    "somebody else's wallet": lambda w: (
        _plain(w, actor=w.bob.id),
        Refusal("TS501", "NOT_WALLET_OWNER", {"wallet_id": str(w.alice.wallet)}),
    ),
    "suspended actor": lambda w: (
        _plain(w, source=w.suspended.wallet, actor=w.suspended.id),
        Refusal("TS502", "USER_SUSPENDED", {"user_id": str(w.suspended.id)}),
    ),
}
