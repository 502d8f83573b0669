"""Chromium without a window, driven by its DevTools protocol over a WebSocket."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

SECONDS = 60
PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs a browser: Debian's package chromium")


class Browser:
    """A running one. `page` opens a page of its own in it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a DevTools method."""
        self._last_id += 1
        frame: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if session is not None:
            frame["sessionId"] = session
        answer = self._waiting[self._last_id] = asyncio.get_running_loop().create_future()
        await self._socket.send(msgspec.json.encode(frame).decode())
        return await asyncio.wait_for(answer, SECONDS)

    async def page(self, url: str) -> Page:
        """A new page, with cookies and storage of its own, at this address."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = (await self.call("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session, context)
        await page.call("Network.enable")
        await page.go(url)
        return page

    async def close(self) -> None:
        """Talk to it no more."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._socket:
                frame = msgspec.json.decode(text, type=dict[str, Any])
                answer = self._waiting.pop(frame.get("id", 0), None)
                if answer is None or answer.done():
                    continue
                if "error" in frame:
                    answer.set_exception(AssertionError(str(frame["error"])))
                else:
                    answer.set_result(frame["result"])
        for answer in self._waiting.values():
            answer.cancel()


class Page:
    """One page of the browser."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self._context = context

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a DevTools method for this page."""
        return await self._browser.call(method, self._session, **parameters)

    async def go(self, url: str) -> None:
        """Load a page, and return once its scripts have run."""
        told = await self.call("Page.navigate", url=url)
        assert "errorText" not in told, told
        await self.until(f"document.readyState === 'complete' && location.href === {msgspec.json.encode(url).decode()}")

    async def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, condition: str) -> None:
        """Return once an expression is true."""
        for _ in range(int(SECONDS / 0.02)):
            if await self.run(condition):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"it does not come to that: {condition}")

    async def offline(self, offline: bool) -> None:
        """Take this page's network away, or give it back."""
        await self.call(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    async def close(self) -> None:
        """Close it and forget what it stored."""
        await self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """A browser of its own, ended afterwards."""
    assert PROGRAM is not None
    folder = Path(tempfile.mkdtemp(prefix="tessera-browser-"))
    options = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run"]
    options += ["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions"]
    options += ["--no-proxy-server", "--disable-background-timer-throttling", "--disable-renderer-backgrounding"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # which root has none of
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *options, "about:blank", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
    )
    try:
        async with asyncio.timeout(SECONDS):
            port = folder / "DevToolsActivePort"
            while not port.is_file() or len(port.read_text().split()) < 2:
                assert process.returncode is None, f"the browser ended with {process.returncode}"
                await asyncio.sleep(0.05)
        number, path = port.read_text().split()
        socket = await connect(f"ws://127.0.0.1:{number}{path}", proxy=None, max_size=None, ping_interval=None)
        browser = Browser(socket)
        try:
            yield browser
            with suppress(ConnectionClosed, asyncio.CancelledError):
                await browser.call("Browser.close")
        finally:
            await browser.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def serving(pages: dict[str, bytes]) -> AsyncIterator[str]:
    """A small web server with these HTML pages, of an origin of its own: its URL. `pages` may be changed meanwhile."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = pages.get(head.split()[1].decode().partition("?")[0])
            status = b"404 Not Found" if body is None else b"200 OK"
            body = body or b""
            writer.write(b"HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\n" % status)
            writer.write(b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
