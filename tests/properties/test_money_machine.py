"""All money functions against a bank in plain Python, in any order that Hypothesis can think of.

200 runs of up to 50 steps, always the same ones; TESSERA_TEST_EFFORT=10 makes ten times as many, at random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.properties.bank import Account, Bank, Leg, Refused
from tests.properties.stage import EFFORT, Stage
from tests.support.money import MAX_AMOUNT, lapse, open_wallet, person, raised, set_status
from tests.support.postgres import Clone, violations

NAMES = ("ann", "ben", "cleo", "lender", "mint")
MINIMA = {"mint": -1000, "lender": -30}
HOUR = timedelta(hours=1)

names = st.sampled_from(NAMES)
people = st.sampled_from(NAMES[:4])
amounts = st.one_of(*[st.integers(1, 60)] * 5, st.sampled_from([0, -1, 300, MAX_AMOUNT + 1]))
numbers = st.integers(0, 1000)
SQL = {
    "transfer": "SELECT * FROM api.transfer($1, $2, $3, p_key => $4)",
    "journal": "SELECT * FROM api.post_journal($1::api.journal_leg[], $2)",
    "place": "SELECT * FROM api.place_hold($1, $2, $3, $4)",
    "capture": "SELECT * FROM api.capture_hold($1, $2, $3, $4, $5)",
    "release": "SELECT * FROM api.release_hold($1, $2)",
    "refund": "SELECT * FROM api.refund_transfer($1, $2, $3, $4)",
}


@pytest.fixture
def stage(database: Clone) -> Iterator[Stage]:
    """Where the machine runs."""
    stage = Stage(database)
    yield stage
    stage.close()


def _latest(things: Sequence[object], number: int) -> int:
    """The position of one of them; Hypothesis likes small numbers, and the latest is the likeliest to be alive."""
    return len(things) - 1 - number % len(things)


class MoneyMachine(RuleBasedStateMachine):
    """Each rule is one call; after it the wallets are those of the bank."""

    stage: Stage
    seen: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.mark = uuid4().hex[:8]
        self.wallets: dict[str, UUID] = self.stage.run(self._open())
        self.bank = Bank({name: Account(MINIMA.get(name, 0)) for name in NAMES})
        self.holds: list[UUID] = []
        self.paid: list[UUID] = []
        self.sent: list[tuple[str, tuple[Any, ...]]] = []
        for name in ("ann", "ben", "cleo"):
            self.call(("transfer", "mint", name, 100))

    async def _open(self) -> dict[str, UUID]:
        conn = self.stage.conn
        wallets = {name: (await person(conn, f"{name}-{self.mark}")).wallet for name in NAMES[:3]}
        for name, minimum in MINIMA.items():
            purpose = f"{name}_{self.mark}"
            wallets[name] = await open_wallet(conn, asset="TOKEN", purpose=purpose, minimum=minimum)
        return wallets

    @rule(source=names, payee=names, amount=amounts)
    def transfer(self, source: str, payee: str, amount: int) -> None:
        self.call(("transfer", source, payee, amount))

    @rule(legs=st.lists(st.builds(Leg, names, names, st.integers(1, 90)), min_size=1, max_size=4))
    def journal(self, legs: list[Leg]) -> None:
        self.call(("journal", tuple(legs)))

    @rule(wallet=people, amount=amounts)
    def place(self, wallet: str, amount: int) -> None:
        self.call(("place", wallet, amount))

    @precondition(lambda self: self.holds)
    @rule(number=numbers, payee=names, amount=st.none() | amounts, close=st.booleans())
    def capture(self, number: int, payee: str, amount: int | None, close: bool) -> None:
        self.call(("capture", _latest(self.holds, number), payee, amount, close))

    @precondition(lambda self: self.holds)
    @rule(number=numbers)
    def release(self, number: int) -> None:
        self.call(("release", _latest(self.holds, number)))

    @rule(
        number=numbers,
        amount=st.none() | amounts,
        policy=st.sampled_from(["refuse", "within_balance", "create_debt"]),
    )
    def refund(self, number: int, amount: int | None, policy: str) -> None:
        self.call(("refund", _latest(self.paid, number), amount, policy))

    @rule(number=numbers)
    def again(self, number: int) -> None:
        """A call once more, with its key: whatever it led to, it leads to."""
        self.ask(*self.sent[number % len(self.sent)])

    @rule(number=numbers, amount=amounts)
    def key_of_another(self, number: int, amount: int) -> None:
        """A new request under an old key."""
        self.ask(self.sent[number % len(self.sent)][0], ("place", "cleo", amount))

    @precondition(lambda self: any(hold.left for hold in self.bank.holds))
    @rule(number=numbers)
    def time_passes(self, number: int) -> None:
        """A hold's time is over."""
        open_ = [n for n, hold in enumerate(self.bank.holds) if hold.left]
        chosen = open_[number % len(open_)]
        self.bank.holds[chosen].expired = True
        self.stage.run(lapse(self.stage.conn, self.holds[chosen]))

    @rule()
    def scheduler(self) -> None:
        self.stage.run(self.stage.conn.execute("SELECT api.expire_holds()"))

    @rule(name=people, status=st.sampled_from(["active"] * 6 + ["debits_frozen", "frozen", "closed"]))
    def shut(self, name: str, status: str) -> None:
        self.bank.accounts[name].status = status
        self.stage.run(set_status(self.stage.conn, self.wallets[name], status))

    def call(self, request: tuple[Any, ...]) -> None:
        """A new request, with a key of its own."""
        self.sent.append((f"{self.mark}-{len(self.sent)}", request))
        self.ask(*self.sent[-1])

    def ask(self, key: str, request: tuple[Any, ...]) -> None:
        """The same of both, and compare."""
        slug: str | None = None
        try:
            expected, replayed = self.bank.do(key, request)
        except Refused as refused:
            slug = str(refused)
        if slug is not None:
            self.seen[slug] += 1
            with pytest.raises(asyncpg.PostgresError) as caught:
                self.stage.run(self._ask(key, request))
            assert raised(caught.value).slug == slug, request
            return
        self.seen["replayed" if replayed else request[0]] += 1
        rows = self.stage.run(self._ask(key, request))
        assert {row["replayed"] for row in rows} == {replayed}, request
        if request[0] == "journal":
            assert [(row["from_balance"], row["to_balance"]) for row in rows] == expected["balances"]
        else:
            assert {name: rows[0][name] for name in expected} == expected, request
        if not replayed:
            if request[0] == "place":
                self.holds.append(rows[0]["hold_id"])
            elif request[0] != "release":
                self.paid += [row["transfer_id"] for row in rows]

    async def _ask(self, key: str, request: tuple[Any, ...]) -> list[asyncpg.Record]:
        name, *given = request
        arguments: list[Any]
        if name == "transfer":
            arguments = [self.wallets[given[0]], self.wallets[given[1]], given[2], key]
        elif name == "journal":
            legs = [
                (self.wallets[leg.source], self.wallets[leg.target], leg.amount, None, None, None) for leg in given[0]
            ]
            arguments = [legs, key]
        elif name == "place":
            arguments = [self.wallets[given[0]], given[1], HOUR, key]
        elif name == "capture":
            arguments = [self.holds[given[0]], self.wallets[given[1]], given[2], given[3], key]
        elif name == "release":
            arguments = [self.holds[given[0]], key]
        else:
            arguments = [self.paid[given[0]], given[1], key, given[2]]
        return await self.stage.conn.fetch(SQL[name], *arguments)

    @invariant()
    def wallets_agree(self) -> None:
        rows = self.stage.run(
            self.stage.conn.fetch(
                """
                SELECT w.id, w.balance, w.version, w.minimum, coalesce((
                    SELECT sum(h.remaining) FROM api.holds AS h WHERE h.wallet_id = w.id
                ), 0)::bigint AS held
                FROM core.wallets AS w WHERE w.id = ANY ($1)
                """,
                list(self.wallets.values()),
            )
        )
        found = {row["id"]: (row["balance"], row["version"], row["held"]) for row in rows}
        accounts = self.bank.accounts.items()
        assert found == {self.wallets[n]: (a.balance, a.entries, self.bank.held(n)) for n, a in accounts}

    def teardown(self) -> None:
        conn = self.stage.conn
        while self.stage.run(conn.fetchval("SELECT api.expire_holds()")):
            pass
        rows = self.stage.run(
            conn.fetch("SELECT id, debt FROM core.wallets WHERE id = ANY ($1)", list(self.wallets.values()))
        )
        owing = {self.wallets[name]: max(0, -self.bank.spendable(name)) for name in NAMES}
        assert {row["id"]: row["debt"] for row in rows} == owing
        self.seen["in debt"] += any(owing.values())
        assert self.stage.run(violations(conn)) == []


def test_the_money_is_that_of_the_bank(stage: Stage) -> None:
    class Machine(MoneyMachine):
        pass

    Machine.stage, Machine.seen = stage, Counter()
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=200 * EFFORT, stateful_step_count=50, derandomize=EFFORT == 1)
    )
    # a test that never gets anywhere proves nothing
    assert set(Machine.seen) >= {
        *SQL,
        "replayed",
        "in debt",
        "IDEMPOTENCY_KEY_REUSED",
        "INSUFFICIENT_TOKENS",
        "HOLD_CLOSED",
        "HOLD_EXCEEDED",
        "REFUND_EXCEEDED",
        "NOT_REFUNDABLE",
        "WALLET_FROZEN",
        "WALLET_CLOSED",
        "SELF_TRANSFER",
        "INVALID_AMOUNT",
    }
