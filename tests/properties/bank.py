"""Holds, refunds, debts and journals in plain Python: what the database must agree with.

Beside tests/properties/model.py, which is about batches of transfers: here a request is one call, and expired holds,
debts and linked legs matter. One asset.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tests.support.money import MAX_AMOUNT


class Account(msgspec.Struct):
    """A wallet; what its holds set aside is reckoned from the holds."""

    minimum: int = 0
    balance: int = 0
    status: str = "active"
    entries: int = 0


class Hold(msgspec.Struct):
    """A hold; ``expired`` from the moment its time has passed, whoever has noticed."""

    wallet: str
    amount: int
    captured: int = 0
    released: int = 0
    status: str = "open"
    expired: bool = False

    @property
    def left(self) -> int:
        """What it still sets aside."""
        return self.amount - self.captured - self.released if self.status == "open" and not self.expired else 0


class Paid(msgspec.Struct):
    """A transfer that took effect."""

    source: str
    target: str
    amount: int
    kind: str
    refunded: int = 0


class Refused(Exception):
    """The slug of an error."""


class Leg(NamedTuple):
    """One movement of a journal."""

    source: str
    target: str
    amount: int


class Bank:
    """Accounts, holds, transfers and keys. Every operation returns what the database's receipt must say."""

    def __init__(self, accounts: dict[str, Account]) -> None:
        self.accounts = accounts
        self.holds: list[Hold] = []
        self.paid: list[Paid] = []
        self._keys: dict[str, tuple[Any, dict[str, Any]]] = {}

    def do(self, key: str, request: tuple[Any, ...]) -> tuple[dict[str, Any], bool]:
        """Run ``(operation, *arguments)`` once a key; the receipt, and whether it is that of an earlier time."""
        if key in self._keys:
            known, receipt = self._keys[key]
            if known != request:
                raise Refused("IDEMPOTENCY_KEY_REUSED")
            return receipt, True
        receipt = getattr(self, request[0])(*request[1:])
        self._keys[key] = (request, receipt)
        return receipt, False

    def spendable(self, name: str) -> int:
        """What may leave the account now."""
        account = self.accounts[name]
        return account.balance - self.held(name) - account.minimum

    def held(self, name: str) -> int:
        """What its open holds set aside."""
        return sum(hold.left for hold in self.holds if hold.wallet == name)

    def transfer(self, source: str, target: str, amount: int) -> dict[str, Any]:
        self._move(source, target, amount, "transfer")
        return self._balances(source, target)

    def journal(self, legs: tuple[Leg, ...]) -> dict[str, Any]:
        before = {name: (account.balance, account.entries) for name, account in self.accounts.items()}
        count, balances = len(self.paid), []
        try:
            for leg in legs:
                self._move(*leg, "journal")
                balances.append((self.accounts[leg.source].balance, self.accounts[leg.target].balance))
        except Refused:
            for name, (balance, entries) in before.items():
                self.accounts[name].balance, self.accounts[name].entries = balance, entries
            del self.paid[count:]
            raise
        return {"balances": balances}

    def place(self, wallet: str, amount: int) -> dict[str, Any]:
        account = self.accounts[wallet]
        if not 1 <= amount <= MAX_AMOUNT:
            raise Refused("INVALID_AMOUNT")
        self._open(wallet, ("active",))
        if account.balance - self.held(wallet) - max(account.minimum, 0) < amount:
            raise Refused("INSUFFICIENT_TOKENS")
        self.holds.append(Hold(wallet, amount))
        return {"status": "open", "captured": 0, "remaining": amount, "balance": account.balance}

    def capture(self, number: int, target: str, amount: int | None, close: bool) -> dict[str, Any]:
        hold = self._hold(number)
        taken = hold.left if amount is None else amount
        if taken < 1:
            raise Refused("INVALID_AMOUNT")
        if taken > hold.left:
            raise Refused("HOLD_EXCEEDED")
        rest = hold.left - taken
        self._move(hold.wallet, target, taken, "hold", covered=True)
        hold.captured += taken
        if close or rest == 0:
            hold.released, hold.status = rest, "captured"
        return self._receipt(hold)

    def release(self, number: int) -> dict[str, Any]:
        hold = self._hold(number)
        hold.released, hold.status = hold.released + hold.left, "released"
        return self._receipt(hold)

    def refund(self, number: int, amount: int | None, policy: str) -> dict[str, Any]:
        original = self.paid[number]
        left = original.amount - original.refunded
        wanted = left if amount is None else amount
        if original.kind == "refund":
            raise Refused("NOT_REFUNDABLE")
        if wanted > left or left == 0:
            raise Refused("REFUND_EXCEEDED")
        spendable = self.spendable(original.target)
        if policy == "within_balance":
            wanted = min(wanted, max(spendable, 0)) or wanted
        owed = min(wanted, max(0, wanted - spendable)) if policy == "create_debt" else 0
        self._move(original.target, original.source, wanted, "refund", covered=policy == "create_debt")
        original.refunded += wanted
        return {
            "amount": wanted,
            "owed": owed,
            "refundable": left - wanted,
            **self._balances(original.target, original.source),
        }

    def _move(self, source: str, target: str, amount: int, kind: str, *, covered: bool = False) -> None:
        if not 1 <= amount <= MAX_AMOUNT:
            raise Refused("INVALID_AMOUNT")
        if source == target:
            raise Refused("SELF_TRANSFER")
        self._open(source, ("active",))
        self._open(target, ("active", "debits_frozen"))
        if not covered and self.spendable(source) < amount:
            raise Refused("INSUFFICIENT_TOKENS")
        for name, change in ((source, -amount), (target, amount)):
            self.accounts[name].balance += change
            self.accounts[name].entries += 1
        self.paid.append(Paid(source, target, amount, kind))

    def _open(self, name: str, allowed: tuple[str, ...]) -> None:
        status = self.accounts[name].status
        if status not in allowed:
            raise Refused("WALLET_CLOSED" if status == "closed" else "WALLET_FROZEN")

    def _hold(self, number: int) -> Hold:
        hold = self.holds[number]
        if hold.status != "open" or hold.expired:
            raise Refused("HOLD_CLOSED")
        return hold

    def _receipt(self, hold: Hold) -> dict[str, Any]:
        return {
            "status": hold.status,
            "captured": hold.captured,
            "remaining": hold.amount - hold.captured - hold.released,
            "balance": self.accounts[hold.wallet].balance,
        }

    def _balances(self, source: str, target: str) -> dict[str, Any]:
        return {"from_balance": self.accounts[source].balance, "to_balance": self.accounts[target].balance}
