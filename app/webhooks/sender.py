"""One attempt to deliver a webhook: signed, sent to where it may go, and what came of it. Never raises."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import UUID

import httpcore
import msgspec
from standardwebhooks import Webhook

from app.webhooks.guard import PinnedBackend, Refused, Resolve, SystemResolver, parse_url

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
KEPT_ANSWER = 1024
"""So much of it is kept, in bytes."""
USER_AGENT = "Tessera-Webhooks/1"


class Message(msgspec.Struct, frozen=True):
    """A delivery to be sent: its webhook-id, where to, the secrets that sign it (newest first), and the event."""

    id: UUID
    url: str
    secrets: Sequence[str]
    type: str
    event_at: datetime
    payload: str


class Result(msgspec.Struct, frozen=True):
    """What came of an attempt. ``error`` in one word, None for success; ``retry_after`` in seconds."""

    status: int | None
    error: str | None
    duration_ms: int
    answer: str | None = None
    retry_after: int | None = None


class _Body(msgspec.Struct, frozen=True):
    type: str
    timestamp: datetime
    data: msgspec.Raw


class Sender:
    """Sends webhooks, each on a connection of its own, through no proxy, following no redirect."""

    def __init__(
        self,
        *,
        development: bool,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._development = development
        self._resolve = SystemResolver() if resolve is None else resolve
        self._ssl_context = httpcore.default_ssl_context() if ssl_context is None else ssl_context
        self._total_seconds = total_seconds

    async def send(self, message: Message) -> Result:
        """Send it once, now."""
        started = time.monotonic()
        progress = _Progress()
        try:
            async with asyncio.timeout(self._total_seconds):
                await self._post(message, progress)
            error = None
        except Refused:
            error = "address"
        except (TimeoutError, httpcore.TimeoutException):
            error = "timeout"
        except ssl.SSLError:
            error = "tls"
        except (httpcore.ConnectError, OSError) as exc:
            error = "tls" if isinstance(exc.__cause__ or exc.__context__, ssl.SSLError) else "connect"
        except Exception:  # of whatever a hostile server can make a parser raise
            error = "protocol"
        return progress.result(error, round((time.monotonic() - started) * 1000))

    async def _post(self, message: Message, progress: _Progress) -> None:
        url = parse_url(message.url, development=self._development)
        body = encode(message)
        port = url.port or (443 if url.scheme == "https" else 80)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=port, target=url.raw_path)
        connection = httpcore.AsyncHTTPConnection(
            origin=target.origin,
            ssl_context=self._ssl_context,
            retries=0,
            network_backend=PinnedBackend(url, self._resolve, development=self._development),
        )
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": USER_AGENT,
        } | signed_headers(message, body, datetime.now(UTC))
        timeouts = dict.fromkeys(("read", "write", "pool"), self._total_seconds) | {"connect": CONNECT_SECONDS}
        async with (
            connection,
            connection.stream(
                "POST", target, headers=list(headers.items()), content=body, extensions={"timeout": timeouts}
            ) as response,
        ):
            progress.status = response.status
            progress.retry_after = _seconds(next((v for k, v in response.headers if k.lower() == b"retry-after"), b""))
            async for chunk in response.aiter_stream():
                progress.answer = (progress.answer + chunk)[:KEPT_ANSWER]


class _Progress:
    """How far an attempt has come. Once the status is there, what happens to the rest of the answer does not matter."""

    status: int | None = None
    retry_after: int | None = None
    answer = b""

    def result(self, error: str | None, duration_ms: int) -> Result:
        if self.status is None:
            return Result(None, error or "protocol", duration_ms)
        if 200 <= self.status <= 299:
            error = None
        elif self.status == 410:
            error = "gone"
        else:
            error = "redirect" if 300 <= self.status <= 399 else "status"
        text = self.answer.decode("utf-8", "replace").replace("\x00", "\ufffd")
        return Result(self.status, error, duration_ms, text, self.retry_after if error is not None else None)


def encode(message: Message) -> bytes:
    """The body: the same in every attempt."""
    return msgspec.json.encode(_Body(message.type, message.event_at, msgspec.Raw(message.payload.encode())))


def signed_headers(message: Message, body: bytes, now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature by each secret."""
    text, identity = body.decode(), str(message.id)
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(identity, now, text) for secret in message.secrets),
    }


def _seconds(header: bytes) -> int | None:
    """How long Retry-After asks to wait: seconds or a date; None where it says nothing that can be read."""
    text = header.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), 10**8)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return max(0, min(int((at - datetime.now(UTC)).total_seconds()), 10**8))
