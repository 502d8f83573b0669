"""api.transfer_batch against a ledger in plain Python, in any order that Hypothesis can think of.

TESSERA_TEST_EFFORT=50 looks fifty times as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.properties.model import Ledger, Outcome
from tests.properties.stage import EFFORT, Stage, drafts, resolve
from tests.support.money import Transfer, set_status, transfer_batch
from tests.support.postgres import Clone, violations


@pytest.fixture
def stage(database: Clone) -> Iterator[Stage]:
    """Where the machine runs."""
    stage = Stage(database)
    yield stage
    stage.close()


class LedgerMachine(RuleBasedStateMachine):
    """Batches, wallets shut and opened; after each step the books are those of the model."""

    stage: Stage
    seen: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[str, UUID]
        self.ledger: Ledger
        self.ids, self.ledger = self.stage.run(self.stage.cast())
        self.transfers: dict[int, UUID] = {}
        self.sent: list[Transfer] = []

    @rule(batch=st.lists(drafts(), min_size=3, max_size=14), again=st.lists(st.integers(1, 12), max_size=6))
    def post(self, batch: list[dict[str, Any]], again: list[int]) -> None:
        """New requests, and after them some of the latest ones once more."""
        self.sent += [resolve(draft, self.ids, self.ledger) for draft in batch]
        requests = self.sent[-len(batch) :] + [self.sent[-n] for n in again if n <= len(self.sent)]
        rows = self.stage.run(transfer_batch(self.stage.conn, requests))
        expected = [self.ledger.post(request) for request in requests]
        assert [row["ord"] for row in rows] == list(range(1, len(requests) + 1))
        for request, row, outcome in zip(requests, rows, expected, strict=True):
            self._compare(request, row, outcome)

    @rule(name=st.sampled_from(["ann", "ben", "ann_eur", "mint"]), status=st.sampled_from(["frozen", "closed"]))
    def shut(self, name: str, status: str) -> None:
        self._set(name, status)

    @rule(name=st.sampled_from(["ann", "ben", "ann_eur", "mint"]))
    def open_again(self, name: str) -> None:
        self._set(name, "active")

    def _set(self, name: str, status: str) -> None:
        self.ledger.wallets[self.ids[name]].status = status
        self.stage.run(set_status(self.stage.conn, self.ids[name], status))

    def _compare(self, request: Transfer, row: asyncpg.Record, outcome: Outcome) -> None:
        self.seen[outcome.error or ("replayed" if outcome.replayed else "posted")] += 1
        assert row["error"] == outcome.error, request
        assert row["replayed"] == outcome.replayed, request
        if outcome.done is None:
            assert (row["transfer_id"], row["from_balance"], row["to_balance"]) == (None, None, None)
            return
        assert (row["from_balance"], row["to_balance"]) == (outcome.done.from_balance, outcome.done.to_balance)
        assert row["transfer_id"] == self.transfers.setdefault(outcome.done.number, row["transfer_id"])

    @invariant()
    def wallets_agree(self) -> None:
        rows = self.stage.run(
            self.stage.conn.fetch(
                "SELECT id, balance, version FROM core.wallets WHERE id = ANY ($1)", list(self.ledger.wallets)
            )
        )
        found = {row["id"]: (row["balance"], row["version"]) for row in rows}
        assert found == {id_: (w.balance, len(w.entries)) for id_, w in self.ledger.wallets.items()}

    def teardown(self) -> None:
        for id_, wallet in self.ledger.wallets.items():
            rows = self.stage.run(
                self.stage.conn.fetch(
                    "SELECT seq, amount, balance FROM core.entries WHERE wallet_id = $1 ORDER BY seq", id_
                )
            )
            assert [tuple(row) for row in rows] == [(n, *entry) for n, entry in enumerate(wallet.entries, start=1)]
        assert len(set(self.transfers.values())) == len(self.transfers)
        assert self.stage.run(violations(self.stage.conn)) == []


def test_the_ledger_is_the_one_of_the_model(stage: Stage) -> None:
    class Machine(LedgerMachine):
        pass

    Machine.stage, Machine.seen = stage, Counter()
    run_state_machine_as_test(Machine, settings=settings(max_examples=25 * EFFORT, stateful_step_count=12))
    # a test that never gets anywhere proves nothing
    assert {"posted", "replayed", "INSUFFICIENT_TOKENS", "WALLET_NOT_FOUND", "SELF_TRANSFER"} <= set(Machine.seen)
