"""Seals outside the database: writing them to a file, and checking such a file with nothing but this module.

The format is docs/seals.md. A block's digests are computed here from the file's rows, in the bytes that PostgreSQL's
`record_send` would give: 4 bytes for the number of columns, then for each its type's OID, its length (-1: NULL) and
its value as PostgreSQL sends it.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
FORMAT = "tessera-seals/1"
NO_DIGEST = "00" * 32


class Anchor(NamedTuple):
    """A seal's digest as it was kept elsewhere."""

    block: int
    digest: str

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """From `BLOCK:DIGEST`; raises ValueError."""
        block, _, digest = text.strip().partition(":")
        if not block.isascii() or not block.isdigit() or len(digest) != 64:
            raise ValueError(f"{text!r} is not BLOCK:DIGEST, as tessera audit prints it")
        return cls(int(block), bytes.fromhex(digest).hex())


class Seal(msgspec.Struct, frozen=True):
    """A block of the chain; digests are hexadecimal, `sealed_at` is microseconds since 2000-01-01 00:00 UTC."""

    block: int
    from_id: UUID
    to_id: UUID
    transfers: int
    wallets: int
    acts: int
    transfers_digest: str
    wallets_digest: str
    acts_digest: str
    sealed_at: int
    previous: str
    digest: str

    @property
    def anchor(self) -> Anchor:
        """What is to be kept elsewhere."""
        return Anchor(self.block, self.digest)


class BlockLine(msgspec.Struct, frozen=True):
    """A line that begins a block. Kinds in `left_out` are not in the file: their months were detached."""

    seal: Seal
    left_out: tuple[str, ...] = ()


class Head(msgspec.Struct, frozen=True):
    """The first line."""

    format: str


class Problem(NamedTuple):
    """What does not fit: the rule, where, and how."""

    rule: str
    subject: str
    detail: str


class Checked(msgspec.Struct):
    """What a file holds, and what is wrong with it."""

    blocks: int = 0
    transfers: int = 0
    newest: Seal | None = None
    problems: list[Problem] = []


def _uuid(value: str | UUID) -> bytes:
    return UUID(str(value)).bytes


def _bigint(value: int) -> bytes:
    return struct.pack(">q", value)


def _text(value: str) -> bytes:
    return value.encode()


_Type = tuple[int, Callable[[Any], bytes]]
UUID_, INT8, TEXT, TIME, BYTEA = (
    (2950, _uuid),
    (20, _bigint),
    (25, _text),
    (1184, _bigint),
    (17, bytes.fromhex),
)
COLUMNS: dict[str, tuple[_Type, ...]] = {
    "transfer": (UUID_, UUID_, INT8, INT8, UUID_, INT8, INT8, INT8, TEXT, TEXT, TEXT, TEXT, UUID_, TEXT, TIME, TIME),
    "wallet": (UUID_, UUID_, TEXT, TEXT, INT8, TIME),
    "act": (UUID_, TIME, UUID_, TEXT, TEXT, UUID_, TEXT, TEXT, TEXT),
}
SEAL_COLUMNS = (INT8, UUID_, UUID_, INT8, INT8, INT8, BYTEA, BYTEA, BYTEA, TIME, BYTEA)


def record(types: Sequence[_Type], values: Sequence[Any]) -> bytes:
    """A row as `record_send` writes it."""
    parts = [struct.pack(">i", len(types))]
    for (oid, send), value in zip(types, values, strict=True):
        if value is None:
            parts.append(struct.pack(">Ii", oid, -1))
        else:
            try:
                sent = send(value)
            except (struct.error, TypeError, AttributeError) as error:
                raise ValueError(f"{value!r} is no value for that column") from error
            parts.append(struct.pack(">Ii", oid, len(sent)) + sent)
    return b"".join(parts)


def seal_digest(seal: Seal) -> str:
    """What the digest of a seal has to be."""
    fields = msgspec.structs.astuple(seal)
    return hashlib.sha256(record(SEAL_COLUMNS, fields[:-1])).hexdigest()


class _Balances:
    """Each wallet's entries lead from one to the next; they may come in another order than that of their seq."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}
        self._early: dict[str, dict[int, tuple[int, int]]] = {}

    def add(self, wallet: str, seq: int, amount: int, balance: int) -> Problem | None:
        early = self._early.setdefault(wallet, {})
        early[seq] = (amount, balance)
        at, before = self._last.get(wallet, (0, 0))
        while at + 1 in early:
            amount, balance = early.pop(at + 1)
            if before + amount != balance:
                return Problem(
                    "running_balance", f"wallet {wallet}, entry {at + 1}", f"{before} {amount:+} is not {balance}"
                )
            at, before = at + 1, balance
        self._last[wallet] = (at, before)
        if not early:
            del self._early[wallet]
        return None

    def gaps(self) -> Iterator[Problem]:
        for wallet, early in self._early.items():
            at, _ = self._last.get(wallet, (0, 0))
            yield Problem("seq_gapless", f"wallet {wallet}", f"no entry {at + 1}, but {min(early)}")


class _Block:
    """The block that is being read."""

    def __init__(self, line: BlockLine) -> None:
        self.seal, self.left_out = line.seal, line.left_out
        self._digests = {what: hashlib.sha256() for what in COLUMNS}
        self._counts = dict.fromkeys(COLUMNS, 0)

    def add(self, what: str, fields: Sequence[Any]) -> None:
        self._digests[what].update(record(COLUMNS[what], fields))
        self._counts[what] += 1

    def problems(self) -> Iterator[Problem]:
        for what in COLUMNS:
            if what in self.left_out:
                continue
            found = (self._counts[what], self._digests[what].hexdigest())
            sealed = (getattr(self.seal, f"{what}s"), getattr(self.seal, f"{what}s_digest"))
            if found != sealed:
                yield Problem(
                    f"sealed_{what}s_are_unchanged",
                    f"block {self.seal.block}",
                    f"{found[0]} {what}s with digest {found[1]}; sealed were {sealed[0]} with {sealed[1]}",
                )


def _chained(before: Seal | None, seal: Seal) -> Iterator[Problem]:
    subject = f"block {seal.block}"
    if seal_digest(seal) != seal.digest:
        yield Problem("seal_is_its_digest", subject, f"{seal.digest} should be {seal_digest(seal)}")
    number, digest = (before.block, before.digest) if before else (0, NO_DIGEST)
    if (seal.block, seal.previous) != (number + 1, digest) or (before and seal.from_id != before.to_id):
        yield Problem("seal_follows_the_one_before", subject, f"it names {seal.previous}; block {number} is {digest}")


def check_lines(lines: Iterable[bytes | str], anchors: Sequence[Anchor] = ()) -> Checked:
    """Check an exported file line by line. Raises msgspec.DecodeError or ValueError where it is no such file."""
    result = Checked(problems=[])
    balances = _Balances()
    whole = True
    block: _Block | None = None
    digests: dict[int, str] = {}
    reader = iter(lines)
    head = msgspec.json.decode(next(reader, b""), type=Head)
    if head.format != FORMAT:
        raise ValueError(f"the file says it is {head.format!r}; this can read {FORMAT!r}")
    for line in reader:
        if line[:1] in (b"{", "{"):
            if block:
                result.problems += block.problems()
            begun = msgspec.json.decode(line, type=BlockLine)
            result.problems += _chained(block.seal if block else None, begun.seal)
            block = _Block(begun)
            whole = whole and "transfer" not in begun.left_out
            digests[begun.seal.block] = begun.seal.digest
            result.blocks, result.newest = result.blocks + 1, begun.seal
            continue
        what, fields = msgspec.json.decode(line, type=tuple[str, list[Any]])
        if block is None or what not in COLUMNS or len(fields) != len(COLUMNS[what]):
            raise ValueError("a row that belongs to no block, or has other columns")
        block.add(what, fields)
        if what == "transfer":
            result.transfers += 1
            result.problems += _of_transfer(fields, balances if whole else None)
    if block:
        result.problems += block.problems()
    if whole:
        result.problems += balances.gaps()
    result.problems += anchored(anchors, digests)
    return result


def _of_transfer(fields: Sequence[Any], balances: _Balances | None) -> Iterator[Problem]:
    name, payer, from_seq, from_balance, payee, to_seq, to_balance, amount = fields[:8]
    if from_balance is None or to_balance is None:
        yield Problem(
            "transfer_has_two_entries", f"transfer {name}", "an entry is missing or is not that of the transfer"
        )
    elif balances is not None:
        for wallet, seq, change, after in (
            (payer, from_seq, -amount, from_balance),
            (payee, to_seq, amount, to_balance),
        ):
            if problem := balances.add(wallet, seq, change, after):
                yield problem


def anchored(anchors: Sequence[Anchor], digests: dict[int, str]) -> Iterator[Problem]:
    """Whether the chain is the one of which these digests were kept."""
    for anchor in anchors:
        found = digests.get(anchor.block)
        if found != anchor.digest:
            yield Problem(
                "seal_is_the_anchored_one", f"block {anchor.block}", f"kept was {anchor.digest}, found is {found}"
            )


@contextmanager
def opened(path: Path, mode: str) -> Iterator[IO[bytes]]:
    """The file, compressed if its name ends with .gz."""
    with gzip.open(path, mode) if path.suffix == ".gz" else path.open(mode) as file:
        yield file  # type: ignore[misc]


async def export(connection: Connection, file: IO[bytes]) -> Seal | None:
    """Write all seals with their rows, on one snapshot; the newest seal."""
    newest = None
    encode = msgspec.json.Encoder().encode
    file.write(encode(Head(FORMAT)) + b"\n")
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(SEALS):
            newest = Seal(*(row[name] for name in Seal.__struct_fields__))
            file.write(encode(BlockLine(newest, tuple(row["left_out"]))) + b"\n")
            async for what, fields in connection.cursor(
                "SELECT r.what, r.fields::text FROM api.sealed_rows($1) AS r WHERE r.what <> ALL ($2)",
                newest.block,
                list(row["left_out"]),
            ):
                file.write(b'["%s",%s]\n' % (what.encode(), fields.encode()))
    return newest


SEALS = """
SELECT s.*, x.sealed_at, array_remove(ARRAY[
    CASE WHEN s.up_to <= d.transfers THEN 'transfer' END, CASE WHEN s.up_to <= d.audit_log THEN 'act' END
], NULL) AS left_out
FROM api.seals AS s
CROSS JOIN LATERAL (
    SELECT ('x' || encode(timestamptz_send(s.sealed_at), 'hex'))::bit(64)::bigint AS sealed_at
) AS x
CROSS JOIN (
    SELECT
        max(p.to_at) FILTER (WHERE p.table_name = 'transfers') AS transfers,
        max(p.to_at) FILTER (WHERE p.table_name = 'audit_log') AS audit_log
    FROM api.partitions() AS p
    WHERE p.state IN ('detached', 'elsewhere')
) AS d
ORDER BY s.block
"""
