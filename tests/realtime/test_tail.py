"""`tessera tail`: a program of its own against a service that really listens."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from app.settings import API_TOKEN, PROJECT_ROOT, unknown_settings
from tests.api.people import Person, api, register
from tests.api.test_tips import fund
from tests.support.commands import run_command
from tests.support.nodes import Node
from tests.support.postgres import Connection
from tests.support.proxy import Proxy


class Cast(msgspec.Struct):
    """A fan with tokens, and a creator."""

    fan: Person
    creator: Person
    node: Node

    @property
    def channel(self) -> str:
        """Where the creator's tips are told."""
        return f"creator:{self.creator.id}"

    async def tip(self, *amounts: int) -> None:
        """One after the other."""
        for amount in amounts:
            answer = await self.node.http.post(
                api("/tips/send"),
                json={"creator_id": str(self.creator.id), "amount": amount},
                headers={**self.fan.headers, "Idempotency-Key": uuid4().hex},
            )
            assert answer.status_code == 201, answer.text


@pytest.fixture
async def cast(node: Node, db: Connection) -> Cast:
    made = Cast(await register(node.http), await register(node.http), node)
    await db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", made.creator.id)
    await fund(db, made.fan, 1000)
    return made


def _amounts(output: str) -> list[int]:
    events = [msgspec.json.decode(line) for line in output.splitlines() if line.startswith("{")]
    return [event["data"]["amount"] for event in events if event["type"] == "tip.sent"]


async def test_it_prints_what_was_and_goes_on_where_it_was(cast: Cast, tmp_path: Path) -> None:
    url, who = f"http://127.0.0.1:{cast.node.port}", {API_TOKEN: cast.creator.access_token}
    await cast.tip(1, 2, 3)
    readable = await run_command("tail", cast.channel, "--url", url, "--from", "start", "--count", "2", **who)
    assert readable.code == 0, readable.output
    first, second = readable.output.splitlines()
    assert [word in first for word in (cast.channel, "  1  ", "tip.sent", '"amount":1,')] == [True] * 4, first
    assert '"amount":2,' in second

    kept = ("--json", "--since-file", str(tmp_path / "positions.json"))
    some = await run_command("tail", cast.channel, "--url", url, "--from", "start", "--count", "2", *kept, **who)
    assert (some.code, _amounts(some.output)) == (0, [1, 2]), some.output
    await cast.tip(4, 5)
    more = await run_command("tail", cast.channel, "--url", url, "--count", "3", *kept, **who)
    assert (more.code, _amounts(more.output)) == (0, [3, 4, 5]), more.output
    (position,) = msgspec.json.decode((tmp_path / "positions.json").read_bytes()).values()
    assert position["seq"] == 5
    at = f"{position['epoch']}:3"
    again = await run_command("tail", cast.channel, "--url", url, "--from", at, "--count", "1", "--json", **who)
    assert _amounts(again.output) == [4]
    assert cast.creator.access_token not in readable.output + some.output + more.output


async def test_it_follows_through_cuts_until_it_is_ended(cast: Cast, tmp_path: Path) -> None:
    async with Proxy(cast.node.port) as proxy:
        file = tmp_path / "positions.json"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "app.cli", "tail", cast.channel, "--from", "start", "--json"),
            *("--url", f"http://127.0.0.1:{proxy.port}", "--since-file", str(file)),
            cwd=PROJECT_ROOT,
            env={API_TOKEN: cast.creator.access_token, "PATH": "/usr/bin:/bin"},
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            await cast.tip(1, 2)
            lines = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(2)]
            proxy.cut()
            await cast.tip(3, 4)
            lines += [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(2)]
            assert _amounts(b"".join(lines).decode()) == [1, 2, 3, 4]
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 60) == 0
            assert b"not connected" in await process.stderr.read()
            assert msgspec.json.decode(file.read_bytes())[cast.channel]["seq"] == 4
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_it_says_why_not(cast: Cast, tmp_path: Path) -> None:
    url, who = f"http://127.0.0.1:{cast.node.port}", {API_TOKEN: cast.fan.access_token}
    nobody = await run_command("tail", cast.channel, "--url", url)
    assert (nobody.code, f"{API_TOKEN} in the environment" in nobody.output) == (2, True)
    stranger = await run_command("tail", cast.channel, "--url", url, **who)
    assert (stranger.code, stranger.output.splitlines()[-1]) == (1, f"Error: {cast.channel}: FORBIDDEN")
    wrong = await run_command("tail", cast.channel, "--url", url, **{API_TOKEN: "no-such-token"})
    assert wrong.code == 1
    assert wrong.output.startswith(f"Error: {url} says INVALID_TOKEN")
    assert "no-such-token" not in wrong.output
    for start in ("yesterday", "1:2", f"{uuid4()}:-1"):
        refused = await run_command("tail", cast.channel, "--url", url, "--from", start, **who)
        assert (refused.code, "must be now, start or EPOCH:SEQ" in refused.output) == (2, True)
    both = await run_command("tail", "ops", cast.channel, "--url", url, "--from", f"{uuid4()}:1", **who)
    assert (both.code, "--since-file keeps many" in both.output) == (2, True)
    (tmp_path / "other").write_text("not ours")
    other = await run_command("tail", "ops", "--url", url, "--since-file", str(tmp_path / "other"), **who)
    assert (other.code, "none of our files" in other.output) == (1, True)


def test_the_token_is_no_setting_that_is_unknown() -> None:
    assert unknown_settings({API_TOKEN: "x"}) == {}
