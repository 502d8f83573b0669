"""A batch of tickets is what a plain seller would make of its requests, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.stage import EFFORT, NOBODY, Stage
from tests.support.money import overdraft, person, set_fee, set_status
from tests.support.postgres import Clone, violations

BUY = "SELECT * FROM api.buy_tickets($1::api.ticket_request[])"
FEES = [0, 1, 250, 5000, 9999, 10000]


class Show(NamedTuple):
    """A stream as it is announced."""

    price: int
    seats: int | None
    closed: bool


class Ask(NamedTuple):
    """A request: who, which stream (both by number, or somebody and something that is not there), and the key."""

    viewer: int
    show: int
    key: str | None


class Answer(NamedTuple):
    """What a request is told: a refusal, or the ticket's number and the balance after it."""

    error: str | None
    ticket: int | None = None
    balance: int | None = None
    replayed: bool = False


@dataclass
class Seller:
    """Sells one ticket after the other."""

    shows: list[Show]
    balances: list[int]
    shut: set[int]
    tickets: dict[tuple[int, int], Answer] = field(default_factory=dict)
    keys: dict[tuple[int, str], int] = field(default_factory=dict)
    sold: Counter[int] = field(default_factory=Counter)

    def sell(self, ask: Ask) -> Answer:
        """One request."""
        if ask.key is not None and (ask.viewer, ask.key) in self.keys:
            if self.keys[ask.viewer, ask.key] != ask.show:
                return Answer("IDEMPOTENCY_KEY_REUSED")
            return self.tickets[ask.viewer, ask.show]._replace(replayed=True)
        answer = self._new(ask)
        if answer.error is None:
            self.tickets[ask.viewer, ask.show] = answer
            self.sold[ask.show] += 1
            if ask.key is not None:
                self.keys[ask.viewer, ask.key] = ask.show
        return answer

    def _new(self, ask: Ask) -> Answer:
        if ask.viewer == len(self.balances):
            return Answer("USER_NOT_FOUND")
        if ask.show == len(self.shows):
            return Answer("STREAM_NOT_FOUND")
        show = self.shows[ask.show]
        if (ask.viewer, ask.show) in self.tickets:
            return Answer("TICKET_ALREADY_PURCHASED")
        if show.closed:
            return Answer("SALES_CLOSED")
        if show.seats is not None and self.sold[ask.show] >= show.seats:
            return Answer("SOLD_OUT")
        number = len(self.tickets)
        if show.price == 0:
            return Answer(None, number)
        if ask.viewer in self.shut:
            return Answer("WALLET_FROZEN")
        if self.balances[ask.viewer] < show.price:
            return Answer("INSUFFICIENT_TOKENS")
        self.balances[ask.viewer] -= show.price
        return Answer(None, number, self.balances[ask.viewer])


@pytest.fixture
def stage(database: Clone) -> Iterator[Stage]:
    """Where the examples run."""
    stage = Stage(database)
    yield stage
    stage.close()


async def _open(stage: Stage, seller: Seller, minima: list[int]) -> tuple[list[UUID], list[UUID], list[UUID]]:
    """The seller's streams and viewers, in the database."""
    mark = uuid4().hex[:8]
    creators = [await person(stage.conn, f"creator-{n}-{mark}", roles=["creator"]) for n in range(2)]
    streams = []
    for n, show in enumerate(seller.shows):
        stream = await stage.conn.fetchval(
            "SELECT stream_id FROM api.create_stream($1, 'T', $2, 'private', $3, $4, NULL, NULL,"
            " CASE WHEN $5 THEN now() END)",
            creators[n % 2].id,
            f"{mark}-{n}",
            show.price,
            show.seats,
            show.closed,
        )
        streams.append(stream)
    viewers = []
    for n, (tokens, minimum) in enumerate(zip(seller.balances, minima, strict=True)):
        viewer = await person(stage.conn, f"viewer-{n}-{mark}", tokens=tokens + minimum)
        await overdraft(stage.conn, viewer.wallet, minimum)
        if n in seller.shut:
            await set_status(stage.conn, viewer.wallet, "frozen")
        viewers.append(viewer)
    return [*streams, NOBODY], [*(viewer.id for viewer in viewers), NOBODY], [viewer.wallet for viewer in viewers]


async def _agree(stage: Stage, bps: int, seller: Seller, minima: list[int], batches: list[list[Ask]]) -> set[str]:
    conn = stage.conn
    undo = conn.transaction()
    await undo.start()
    try:
        await set_fee(conn, bps)
        streams, viewers, wallets = await _open(stage, seller, minima)
        numbers: dict[UUID, int] = {}
        seen = set()
        for batch in batches:
            rows = await conn.fetch(BUY, [(viewers[ask.viewer], streams[ask.show], ask.key) for ask in batch])
            assert [row["ord"] for row in rows] == list(range(1, len(batch) + 1))
            for ask, row in zip(batch, rows, strict=True):
                told = seller.sell(ask)
                price = None if told.error else seller.shows[ask.show].price
                floor = minima[ask.viewer] if told.balance is not None else 0
                if row["ticket_id"] is not None:
                    numbers.setdefault(row["ticket_id"], len(numbers))
                found = Answer(
                    row["error"],
                    numbers.get(row["ticket_id"]),
                    None if row["new_balance"] is None else row["new_balance"] - floor,
                    row["replayed"],
                )
                assert (found, row["price"]) == (told, price), ask
                seen |= {told.error or ("free" if price == 0 else "sold"), "replayed" if told.replayed else ""}
        kept = [tuple(row) for row in await conn.fetch("SELECT viewer_id, stream_id, price FROM core.tickets")]
        tickets = [(viewers[who], streams[what], seller.shows[what].price) for who, what in seller.tickets]
        assert sorted(kept) == sorted(tickets)
        left: list[Any] = [
            await conn.fetchval("SELECT balance - minimum FROM core.wallets WHERE id = $1", wallet)
            for wallet in wallets
        ]
        assert left == seller.balances
        assert await conn.fetchval("SELECT count(*) FROM core.outbox WHERE type = 'ticket.sold'") == len(kept)
        assert await violations(conn) == []
        return seen
    finally:
        await undo.rollback()


def test_a_batch_is_sold_as_if_one_by_one(stage: Stage) -> None:
    seen: set[str] = set()
    shows = st.lists(
        st.builds(
            Show,
            st.sampled_from([0, 1, 5, 9, 30]),
            st.sampled_from([None, 1, 1, 2, 3]),
            st.sampled_from([False] * 5 + [True]),
        ),
        min_size=1,
        max_size=4,
    )
    people = st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([0, 0, 7]), st.sampled_from([False] * 6 + [True])),
        min_size=1,
        max_size=6,
    )

    @settings(max_examples=100 * EFFORT, derandomize=EFFORT == 1)
    @given(st.data(), st.sampled_from(FEES), shows, people)
    def check(data: st.DataObject, bps: int, offered: list[Show], crowd: list[tuple[int, int, bool]]) -> None:
        shut = {n for n, (_, _, frozen) in enumerate(crowd) if frozen}
        seller = Seller(offered, [tokens for tokens, _, _ in crowd], shut)
        ask = st.builds(
            Ask,
            # the last of each is somebody or something that is not there
            st.integers(0, 8 * len(crowd)).map(lambda n: n // 8),
            st.integers(0, 8 * len(offered)).map(lambda n: n // 8),
            st.sampled_from([None, None, "a", "b", "c"]),
        )
        batches = data.draw(st.lists(st.lists(ask, min_size=1, max_size=25), min_size=1, max_size=3))
        seen.update(stage.run(_agree(stage, bps, seller, [minimum for _, minimum, _ in crowd], batches)))

    check()
    # a test that never gets anywhere proves nothing
    assert seen >= {
        "sold",
        "free",
        "replayed",
        "IDEMPOTENCY_KEY_REUSED",
        "INSUFFICIENT_TOKENS",
        "SALES_CLOSED",
        "SOLD_OUT",
        "STREAM_NOT_FOUND",
        "TICKET_ALREADY_PURCHASED",
        "USER_NOT_FOUND",
        "WALLET_FROZEN",
    }
