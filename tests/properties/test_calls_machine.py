"""Calls against a model in plain Python, in any order that Hypothesis can think of: who pays for how much time.

100 runs of up to 40 steps, always the same ones; TESSERA_TEST_EFFORT=10 makes ten times as many, at random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.properties.callmodel import BLOCK, COOLDOWN, GRACE, LIMIT, RINGING, Call, Exchange, Refused
from tests.properties.stage import EFFORT, Stage
from tests.support.calls import ACCEPT, BEAT, DECLINE, END, METER_DUE, OPEN, PAUSE, RESUME, ask_for, pass_time
from tests.support.money import person, raised, set_rate
from tests.support.postgres import Clone, violations

FANS = ("ann", "ben")
CREATORS = {"star": 20, "moon": 13}
PRICES = {name: -(-rate * BLOCK // 60) for name, rate in CREATORS.items()}
TOKENS = 30
BEGIN = 5
"""Seconds that pass after the clock of a call began to run: no block then begins when something else happens."""

fans = st.sampled_from(FANS)
creators = st.sampled_from(sorted(CREATORS))
sides = st.sampled_from(["fan", "creator"])
seconds = st.sampled_from([10, 10, 20, 30, 40, 60, 90, 120, 200, 500])


@pytest.fixture
def stage(database: Clone) -> Iterator[Stage]:
    """Where the machine runs."""
    stage = Stage(database)
    for name, value in (("call_grace", GRACE), ("call_ringing", RINGING), ("call_cooldown", COOLDOWN)):
        stage.run(set_rate(stage.conn, name, value, "seconds"))
    stage.run(set_rate(stage.conn, "call_longest", LIMIT * BLOCK, "seconds"))
    yield stage
    stage.close()


class CallsMachine(RuleBasedStateMachine):
    """Each rule is one act; after it calls and wallets are those of the model."""

    stage: Stage
    seen: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        mark = uuid4().hex[:8]
        self.people: dict[str, UUID] = {}
        self.wallets: dict[str, UUID] = {}
        for name in (*FANS, *CREATORS):
            roles = ["creator"] if name in CREATORS else []
            someone = self.stage.run(person(self.stage.conn, f"{name}-{mark}", tokens=TOKENS, roles=roles))
            self.people[name], self.wallets[name] = someone
            if name in CREATORS:
                self.stage.run(ask_for(self.stage.conn, someone, CREATORS[name]))
        self.model = Exchange(dict.fromkeys(self.people, TOKENS), PRICES)
        self.ids: list[UUID] = []

    @rule(fan=fans, creator=creators)
    def open(self, fan: str, creator: str) -> None:
        rows = self._both(lambda: self.model.open(fan, creator), OPEN, self.people[fan], self.people[creator], None)
        if rows:
            self.ids.append(rows[0]["call_id"])

    @precondition(lambda self: self.ids)
    @rule()
    def accept(self) -> None:
        call, id_ = self._latest()
        rang = call.status == "ringing"
        self._both(lambda: self.model.accept(call), ACCEPT, id_, self.people[call.creator])
        if rang:
            self._pass(BEGIN)

    @precondition(lambda self: self.ids)
    @rule()
    def decline(self) -> None:
        call, id_ = self._latest()
        self._both(lambda: self.model.decline(call), DECLINE, id_, self.people[call.creator])

    @precondition(lambda self: self.ids)
    @rule(side=sides)
    def pause(self, side: str) -> None:
        call, id_ = self._latest()
        who = getattr(call, side)
        self._both(lambda: self.model.pause(call, who), PAUSE, id_, self.people[who])

    @precondition(lambda self: self.ids)
    @rule(side=sides)
    def resume(self, side: str) -> None:
        call, id_ = self._latest()
        who = getattr(call, side)
        self._both(lambda: self.model.resume(call, who), RESUME, id_, self.people[who])

    @precondition(lambda self: self.ids)
    @rule(side=sides)
    def stop(self, side: str) -> None:
        call, id_ = self._latest()
        who = getattr(call, side)
        self._both(lambda: self.model.stop(call, who), END, id_, self.people[who])

    @precondition(lambda self: self.ids)
    @rule(side=sides)
    def beat(self, side: str) -> None:
        for call, id_ in zip(self.model.calls, self.ids, strict=True):
            who = getattr(call, side)
            self._both(lambda c=call, w=who: self.model.beat(c, w), BEAT, [(id_, self.people[who])])  # type: ignore[misc]

    @rule(fan=fans, creator=creators, amount=st.integers(1, 30))
    def tip(self, fan: str, creator: str, amount: int) -> None:
        if self.model.balances[fan] >= amount:
            self.model._move(fan, creator, amount)
            self._ask("SELECT * FROM api.send_tip($1, $2, $3)", self.people[fan], self.people[creator], amount)

    @rule(fan=fans, amount=st.integers(1, 80))
    def top_up(self, fan: str, amount: int) -> None:
        self.model.balances[fan] += amount
        self._ask("SELECT * FROM api.grant_tokens($1, $2, 'test')", self.people[fan], amount)

    @rule(length=seconds)
    def time_passes(self, length: int) -> None:
        self._pass(length)

    @rule(length=seconds)
    def time_passes_and_all_is_seen_to(self, length: int) -> None:
        self._pass(length)
        self.sweep()

    @rule(fan=fans, creator=creators)
    def call(self, fan: str, creator: str) -> None:
        """Somebody calls, and it is answered."""
        before = len(self.ids)
        self.open(fan, creator)
        if len(self.ids) > before:
            self.accept()

    @precondition(lambda self: any(call.running is not None for call in self.model.calls))
    @rule(side=sides, length=seconds)
    def interrupt(self, side: str, length: int) -> None:
        """A pause, and on they go."""
        self.pause(side)
        self._pass(length)
        if not self._latest()[0].over:
            self.resume(side)

    @precondition(lambda self: any(call.running is not None for call in self.model.calls))
    @rule(times=st.integers(1, 6))
    def silence(self, times: int) -> None:
        """Nobody is there any more, and the scheduler goes on."""
        for _ in range(times):
            self._pass(30)
            self.sweep()

    @precondition(lambda self: any(call.running is not None for call in self.model.calls))
    @rule(minutes=st.integers(1, 5), side=sides)
    def talk(self, minutes: int, side: str) -> None:
        """As it should be: signs of life, and metering."""
        for _ in range(minutes):
            self._pass(60)
            self.beat(side)
            self.sweep()

    @rule()
    def sweep(self) -> None:
        self.model.sweep()
        self._ask(METER_DUE, 100)

    def _latest(self) -> tuple[Call, UUID]:
        """The newest call that is not over, else the newest."""
        alive = [n for n, call in enumerate(self.model.calls) if not call.over]
        number = alive[-1] if alive else len(self.ids) - 1
        return self.model.calls[number], self.ids[number]

    def _pass(self, length: int) -> None:
        self.model.now += length
        self.stage.run(pass_time(self.stage.conn, self.ids, length, seen=False))

    def _ask(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        return list(self.stage.run(self.stage.conn.fetch(query, *arguments)))

    def _both(self, expected: Callable[[], object], query: str, *arguments: Any) -> list[asyncpg.Record]:
        """The same of the model and of the database, refusals too."""
        slug = None
        try:
            expected()
        except Refused as refused:
            slug = str(refused)
        if slug is None:
            return self._ask(query, *arguments)
        self.seen[slug] += 1
        with pytest.raises(asyncpg.PostgresError) as caught:
            self._ask(query, *arguments)
        assert raised(caught.value).slug == slug
        return []

    @invariant()
    def all_agrees(self) -> None:
        rows = {row["call_id"]: row for row in self._ask("SELECT * FROM api.calls WHERE call_id = ANY ($1)", self.ids)}
        for call, id_ in zip(self.model.calls, self.ids, strict=True):
            row = rows[id_]
            found = (row["status"], row["end_reason"], row["blocks"], row["billed"])
            assert found == (call.status, call.reason, call.blocks, call.blocks * call.price), call
            if call.over or call.status == "paused":
                # real time passes too, but never this much
                assert 0 <= row["active_ms"] - call.active * 1000 < 2000, call
        balances = {
            row["wallet_id"]: row["balance"]
            for row in self._ask("SELECT * FROM api.wallets WHERE wallet_id = ANY ($1)", list(self.wallets.values()))
        }
        assert balances == {self.wallets[name]: amount for name, amount in self.model.balances.items()}

    def teardown(self) -> None:
        self.seen.update(call.reason for call in self.model.calls if call.reason)
        self.seen["given back"] += self.model.given_back
        self.seen["paused again"] += any(call.pauses > 1 for call in self.model.calls)
        for call, id_ in zip(self.model.calls, self.ids, strict=True):
            if not call.over:
                self._ask(END, id_, None)
        assert self.stage.run(violations(self.stage.conn)) == []


def test_nobody_pays_for_more_or_less_than_their_time(stage: Stage) -> None:
    class Machine(CallsMachine):
        pass

    Machine.stage, Machine.seen = stage, Counter()
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=100 * EFFORT, stateful_step_count=40, derandomize=EFFORT == 1)
    )
    # a test that never gets anywhere proves nothing
    assert set(Machine.seen) >= {
        "stopped",
        "insufficient_tokens",
        "not_seen",
        "no_answer",
        "declined",
        "cancelled",
        "CALL_IN_PROGRESS",
        "CREATOR_BUSY",
        "CALL_COOLDOWN",
        "CALL_ENDED",
        "CALL_NOT_ACTIVE",
        "CALL_NOT_RINGING",
        "INSUFFICIENT_TOKENS",
    }
    assert min(Machine.seen["given back"], Machine.seen["paused again"]) > 0
