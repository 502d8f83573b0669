"""The ledger in plain Python: requests one after another, no locks, no SQL. What the database must agree with."""

from __future__ import annotations

from uuid import UUID

import msgspec

from tests.support.money import MAX_AMOUNT, Transfer


class Wallet(msgspec.Struct):
    """A wallet and its history, as (amount, balance after it)."""

    asset: str
    owner: UUID | None
    minimum: int = 0
    status: str = "active"
    balance: int = 0
    entries: list[tuple[int, int]] = msgspec.field(default_factory=list)

    def add(self, amount: int) -> None:
        """One entry."""
        self.balance += amount
        self.entries.append((amount, self.balance))


class Done(msgspec.Struct, frozen=True):
    """A transfer that took effect. `number` tells it from all others."""

    number: int
    from_balance: int
    to_balance: int


class Outcome(msgspec.Struct, frozen=True):
    """What a request led to: an error's slug, or a transfer."""

    error: str | None = None
    done: Done | None = None
    replayed: bool = False


class Ledger:
    """Wallets, users and keys."""

    def __init__(self, wallets: dict[UUID, Wallet], users: set[UUID]) -> None:
        self.wallets = wallets
        self.users = users
        self._keys: dict[tuple[UUID | None, str], tuple[Transfer, Done]] = {}
        self._count = 0

    def post(self, request: Transfer) -> Outcome:
        """One request, after all those before it."""
        known = self._keys.get((request.actor, request.key)) if request.key is not None else None
        if known is not None:
            # an actor is not part of a request but of the key
            return Outcome(done=known[1], replayed=True) if known[0] == request else Outcome("IDEMPOTENCY_KEY_REUSED")
        error = self._form(request) or self._wallets(request)
        if error is not None:
            return Outcome(error)
        assert request.amount is not None
        assert request.source is not None
        assert request.target is not None
        source, target = self.wallets[request.source], self.wallets[request.target]
        if source.balance - request.amount < source.minimum:
            return Outcome("INSUFFICIENT_TOKENS")
        source.add(-request.amount)
        target.add(request.amount)
        self._count += 1
        done = Done(self._count, source.balance, target.balance)
        if request.key is not None:
            self._keys[request.actor, request.key] = (request, done)
        return Outcome(done=done)

    def _form(self, request: Transfer) -> str | None:
        if request.kind != "transfer":
            return "INVALID_KIND"
        if request.key == "":
            return "IDEMPOTENCY_KEY_INVALID"
        if request.actor is not None and request.actor not in self.users:
            return "USER_NOT_FOUND"
        if request.amount is None or not 1 <= request.amount <= MAX_AMOUNT:
            return "INVALID_AMOUNT"
        return None

    def _wallets(self, request: Transfer) -> str | None:
        source = self.wallets.get(request.source) if request.source else None
        target = self.wallets.get(request.target) if request.target else None
        if source is None or target is None:
            return "WALLET_NOT_FOUND"
        if source is target:
            return "SELF_TRANSFER"
        if not source.asset == target.asset == request.asset:
            return "ASSET_MISMATCH"
        if request.actor is not None and request.actor != source.owner:
            return "NOT_WALLET_OWNER"
        shut = [wallet.status for wallet in (source, target) if wallet.status != "active"]
        return {"frozen": "WALLET_FROZEN", "closed": "WALLET_CLOSED"}[shut[0]] if shut else None
