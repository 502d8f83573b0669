"""A page of another origin shows tips as they come, loses its network, comes back, and has them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import msgspec
import pytest_asyncio

from tests.api.people import Person, api, register
from tests.api.test_tips import fund
from tests.realtime.world import relay
from tests.support.browser import Page, needs_browser, running_browser, serving
from tests.support.nodes import running_node
from tests.support.postgres import Clone, Connection
from tests.support.proxy import Proxy

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tips</title>
<p id="state"></p><ol id="tips"></ol>
<script type="module">
import { connect } from "SERVICE/widgets/realtime.js";
const ticket = async () => {
  const answer = await fetch("SERVICE/api/v1/realtime/ticket", {
    method: "POST", headers: { Authorization: "Bearer TOKEN" },
  });
  if (!answer.ok) throw new Error(answer.status);
  return (await answer.json()).ticket;
};
window.realtime = connect({ ticket, onState: (state) => { document.querySelector("#state").textContent = state; } });
realtime.subscribe("CHANNEL", {
  onReset: () => { window.resets = (window.resets ?? 0) + 1; },
  onEvent: ({ type, data }) => {
    if (type !== "tip.sent") return;
    const item = document.createElement("li");
    item.textContent = `${data.amount}: ${data.message}`;
    document.querySelector("#tips").append(item);
  },
});
</script></html>"""


class Show(msgspec.Struct):
    """A page that shows the tips of a creator, and what is between it and the service."""

    page: Page
    proxy: Proxy
    http: httpx.AsyncClient
    fan: Person
    creator: Person
    sent: list[str] = []

    async def tip(self, number: int) -> None:
        """Send so many tips, several at a time."""

        async def one(amount: int) -> tuple[str, str]:
            message = f"tip {amount} <b>für</b> \U0001f3a9"
            answer = await self.http.post(
                api("/tips/send"),
                json={"creator_id": str(self.creator.id), "amount": amount, "message": message},
                headers={**self.fan.headers, "Idempotency-Key": uuid4().hex},
            )
            assert answer.status_code == 201, answer.text
            return answer.json()["tip_id"], f"{amount}: {message}"

        start = len(self.sent) + 1
        self.sent += [text for _, text in await asyncio.gather(*(one(start + n) for n in range(number)))]

    async def shown(self) -> list[str]:
        """What the page shows."""
        texts: list[str] = await self.page.run("[...document.querySelectorAll('#tips li')].map((i) => i.textContent)")
        return texts

    async def shows_all(self) -> None:
        """Wait until as many tips are shown as were sent; they are the same, each once."""
        await self.page.until(f"document.querySelectorAll('#tips li').length >= {len(self.sent)}")
        shown = await self.shown()
        assert sorted(shown) == sorted(self.sent)

    async def state(self, *wanted: str) -> None:
        """Wait until the page says so."""
        await self.page.until(f"{list(wanted)}.includes(document.querySelector('#state').textContent)")


@pytest_asyncio.fixture
async def show(database: Clone, db: Connection) -> AsyncIterator[Show]:
    await relay(db)
    pages: dict[str, bytes] = {}
    async with (
        serving(pages) as origin,
        running_node(database.settings(cors_origins=(origin,))) as node,
        Proxy(node.port) as proxy,
        running_browser() as browser,
    ):
        fan, creator = await register(node.http), await register(node.http)
        await db.execute("UPDATE core.users SET roles = '{creator}' WHERE id = $1", creator.id)
        await fund(db, fan, 1_000_000)
        words = {"SERVICE": f"http://127.0.0.1:{proxy.port}", "TOKEN": creator.access_token}
        text = PAGE
        for word, value in (words | {"CHANNEL": f"creator:{creator.id}"}).items():
            text = text.replace(word, value)
        pages["/tips"] = text.encode()
        page = await browser.page(f"{origin}/tips")
        made = Show(page, proxy, node.http, fan, creator)
        await page.until("window.resets === 1")
        yield made
        await page.run("realtime.close()")


@needs_browser
async def test_the_page_has_every_tip(show: Show, db: Connection) -> None:
    await show.tip(5)
    await show.shows_all()

    await show.page.offline(True)  # the browser knows that it has no network
    show.proxy.cut()
    await show.state("waiting")
    await show.tip(20)
    assert len(await show.shown()) == 5
    await show.page.offline(False)
    await show.shows_all()

    for _ in range(3):  # the connection is cut while tips are on their way
        sending = asyncio.create_task(show.tip(20))
        await asyncio.sleep(0.05)
        show.proxy.cut()
        await sending
        await show.shows_all()

    show.proxy.refuse(True)  # nothing gets through for a while
    show.proxy.cut()
    await show.state("waiting", "connecting")
    await show.tip(30)
    show.proxy.refuse(False)
    await show.shows_all()
    await show.tip(3)
    await show.shows_all()

    log = await db.fetch(
        "SELECT e.payload ->> 'amount' || ': ' || (e.payload ->> 'message') AS text"
        " FROM api.channel_position($1) AS p, api.read_channel($1, p.epoch, 0, 10000) AS e WHERE e.type = 'tip.sent'"
        " ORDER BY e.seq",
        f"creator:{show.creator.id}",
    )
    assert await show.shown() == [row["text"] for row in log]  # in the order in which they were committed
    assert await show.page.run("window.resets") == 1
