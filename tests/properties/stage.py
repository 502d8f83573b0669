"""A cast of wallets in the database and in the model, and requests among them, for tests of properties."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
from hypothesis import strategies as st

from tests.properties.model import Ledger, Wallet
from tests.support.money import MAX_AMOUNT, Transfer, open_wallet, person
from tests.support.postgres import Clone, Connection

T = TypeVar("T")
NOBODY = UUID("00000000-0000-7000-8000-00000000dead")
EFFORT = int(os.environ.get("TESSERA_TEST_EFFORT", "1"))
"""How many times the usual number of examples."""

CAST = ("ann", "ben", "cleo", "overdrawn", "mint", "ann_eur", "ben_eur", "mint_eur", "missing")
ACTORS = (None, "owner", "other", "nobody")


class Stage:
    """A loop and a superuser's connection of its own, for tests that cannot await."""

    def __init__(self, database: Clone) -> None:
        self._runner = asyncio.Runner()
        self.conn: Connection = self.run(asyncpg.connect(database.url()))
        self.run(self.conn.execute("INSERT INTO core.assets (code, scale, name) VALUES ('EUR', 4, 'Euro')"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await, from code that cannot."""
        return self._runner.run(work)

    def close(self) -> None:
        """Close the connection and the loop."""
        self.run(self.conn.close())
        self._runner.close()

    async def cast(self) -> tuple[dict[str, UUID], Ledger]:
        """New users and wallets, empty all of them; the mints can go below zero, and one user a little."""
        mark = uuid4().hex[:8]
        ids: dict[str, UUID] = {}
        wallets: dict[UUID, Wallet] = {}
        users = set()

        def add(name: str, wallet: UUID, state: Wallet) -> None:
            ids[name] = wallet
            wallets[wallet] = state

        for name in ("ann", "ben", "cleo"):
            user = await person(self.conn, f"{name}-{mark}")
            users.add(user.id)
            add(name, user.wallet, Wallet("TOKEN", user.id))
            if name != "cleo":
                euro = await open_wallet(self.conn, asset="EUR", owner=user.id)
                add(f"{name}_eur", euro, Wallet("EUR", user.id))
        for name, asset, minimum in (("overdrawn", "TOKEN", -20), ("mint", "TOKEN", -1000), ("mint_eur", "EUR", -1000)):
            purpose = f"{name}_{mark}"
            wallet = await open_wallet(self.conn, asset=asset, purpose=purpose, minimum=minimum)
            add(name, wallet, Wallet(asset, None, minimum))
        ids["missing"] = NOBODY
        return ids, Ledger(wallets, users)


def amounts() -> st.SearchStrategy[int | None]:
    """Mostly ordinary ones."""
    return st.one_of(
        st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, -1, 200, 1001, MAX_AMOUNT, MAX_AMOUNT + 1, None])
    )


def drafts() -> st.SearchStrategy[dict[str, Any]]:
    """Requests in names; `resolve` makes them real."""
    tokens = st.sampled_from(["ann", "ben", "cleo", "overdrawn", "mint"])
    anyone = st.sampled_from(CAST)
    often_right = st.fixed_dictionaries(
        {
            "source": st.one_of(tokens, tokens, anyone),
            "target": st.one_of(tokens, tokens, anyone),
            "amount": amounts(),
            "asset": st.sampled_from(["TOKEN"] * 6 + ["EUR"]),
            "key": st.sampled_from([None, None, "a", "b", "c", "d", "e", ""]),
            "kind": st.sampled_from(["transfer"] * 12 + ["No Kind"]),
            "actor": st.sampled_from([None, None, "owner", "owner", "other", "nobody"]),
        }
    )
    euro = st.fixed_dictionaries(
        {
            "source": st.sampled_from(["mint_eur", "ann_eur", "ben_eur"]),
            "target": st.sampled_from(["ann_eur", "ben_eur", "ann"]),
            "amount": st.integers(1, 60),
            "asset": st.just("EUR"),
            "key": st.sampled_from([None, "a", "b"]),
            "kind": st.just("transfer"),
            "actor": st.just(None),
        }
    )
    funding = st.fixed_dictionaries(
        {
            "source": st.just("mint"),
            "target": st.sampled_from(["ann", "ben", "cleo"]),
            "amount": st.integers(1, 60),
            "asset": st.just("TOKEN"),
            "key": st.sampled_from([None, "a", "f", "g"]),
            "kind": st.just("transfer"),
            "actor": st.just(None),
        }
    )
    return st.one_of(often_right, often_right, often_right, euro, funding)


def resolve(draft: dict[str, Any], ids: dict[str, UUID], ledger: Ledger) -> Transfer:
    """A draft with the ids of this cast. Keys are the cast's own too: without an actor they belong to the login."""
    source = ids[draft["source"]]
    owner = ledger.wallets[source].owner if source in ledger.wallets else None
    others = sorted(ledger.users - {owner})
    actor = {None: None, "owner": owner, "other": others[0], "nobody": NOBODY}[draft["actor"]]
    key = f"{draft['key']}-{ids['mint']}" if draft["key"] else draft["key"]
    return Transfer(**{**draft, "source": source, "target": ids[draft["target"]], "actor": actor, "key": key})
