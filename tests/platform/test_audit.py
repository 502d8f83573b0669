"""`tessera audit`: the books, the seals, a file of them, and what was anchored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sql.test_seals import seal
from tests.support.commands import run_command
from tests.support.money import Transfer, World, make_world, transfer, unguarded
from tests.support.postgres import Clone, Connection


@pytest.fixture
async def world(db: Connection) -> World:
    """Some money that has moved, sealed."""
    made = await make_world(db)
    await transfer(db, Transfer(source=made.alice.wallet, target=made.bob.wallet, amount=5, kind="gift"))
    await seal(db, limit=3)
    return made


@pytest.mark.breaks_ledger
async def test_an_anchor_and_a_file(world: World, database: Clone, tmp_path: Path) -> None:
    url, file = database.url(), tmp_path / "books.jsonl.gz"
    ran = await run_command("audit", DATABASE_URL=url)
    found = re.search(r"Newest seal: (\d+:[0-9a-f]{64})$", ran.output, re.MULTILINE)
    assert (ran.code, found is not None) == (0, True), ran.output
    assert found is not None
    anchor = found[1]
    assert (await run_command("audit", "--anchor", anchor, DATABASE_URL=url)).code == 0
    written = await run_command("audit", "--export", str(file), DATABASE_URL=url)
    assert (written.code, anchor in written.output) == (0, True), written.output
    for lost_at in (tmp_path / "missing" / "books", tmp_path / "missing" / "books.gz"):
        lost = await run_command("audit", "--export", str(lost_at), DATABASE_URL=url)
        assert (lost.code, f"{lost_at} cannot be written" in lost.output) == (1, True), lost.output
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    checked = await run_command("audit", "--offline", str(file), "--anchor", anchor, **nowhere)
    assert (checked.code, "are as they were sealed" in checked.output) == (0, True), checked.output

    async with unguarded(world.db):
        await world.db.execute("UPDATE core.transfers SET reference = 'x' WHERE kind = 'gift'")
    ran = await run_command("audit", DATABASE_URL=url, COLUMNS="200")
    assert (ran.code, "sealed_transfers_are_unchanged" in ran.output) == (1, True), ran.output
    assert (await run_command("audit", "--no-seals", DATABASE_URL=url)).code == 0
    async with unguarded(world.db):
        await world.db.execute("DELETE FROM core.seals")
    await seal(world.db, limit=3)
    assert (await run_command("audit", DATABASE_URL=url)).code == 0, "sealed anew, it fits"
    for arguments, place in ((("--anchor", anchor), url), (("--export", str(file)), url)):
        ran = await run_command("audit", *arguments, DATABASE_URL=place, COLUMNS="200")
        assert (ran.code, "seal_is_the_anchored_one" in ran.output) == (
            (1, True) if arguments[0] == "--anchor" else (0, False)
        )
    ran = await run_command("audit", "--offline", str(file), "--anchor", anchor, COLUMNS="200")
    assert (ran.code, "seal_is_the_anchored_one" in ran.output) == (1, True), ran.output


async def test_what_it_does_not_understand(tmp_path: Path) -> None:
    file = tmp_path / "books"
    file.write_text("no such thing\n")
    for arguments, code, said in (
        (("--anchor", "12"), 2, "BLOCK:DIGEST"),
        (("--offline", str(tmp_path / "missing")), 2, "does not exist"),
        (("--offline", str(file)), 1, "cannot be read as a file of seals"),
        (("--offline", str(file), "--export", str(file)), 2, "one of them"),
        (("--export", str(file), "--anchor", "1:" + "0" * 64), 2, "--export writes and checks nothing"),
    ):
        ran = await run_command("audit", *arguments)
        assert (ran.code, said in ran.output) == (code, True), ran.output
