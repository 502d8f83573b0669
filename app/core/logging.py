"""Logs: one JSON object a line on standard output, with secrets blanked out before anything is written.

``configure(settings)`` is called once per process. Access lines (one per request) are gathered and written together
several times a second, because a write per request costs a tenth of the throughput; everything else is written at once.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from app.settings import Settings

REDACTED = "[redacted]"
FLUSH_SECONDS = 0.25
FLUSH_LINES = 2000

_SECRET_NAMES = re.compile(
    r"password|passwd|secret|token(?!_epoch)|authorization|api_?key|cookie|private_key|dsn|database_url|credential",
    re.IGNORECASE,
)
_SECRET_TEXTS = re.compile(
    r"(?P<head>\bBearer\s+)[^\s\"',]+"
    r"|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|\btsk_[A-Za-z0-9_]{8,}|\btsr_[A-Za-z0-9_-]{8,}"
    r"|(?P<url>\b[a-z][a-z0-9+]*://[^\s:/@]*:)[^\s@/]+(?=@)",
    re.IGNORECASE,
)
_HARMLESS = ("idempotency_key_id", "token_type")


def redact_text(text: str) -> str:
    """The text with tokens, keys and passwords in URLs blanked out."""
    return _SECRET_TEXTS.sub(lambda m: (m.group("head") or m.group("url") or "") + REDACTED, text)


def redact(value: Any, name: str = "") -> Any:
    """The value with everything blanked out that its name or its shape gives away as a secret."""
    if isinstance(value, Mapping):
        return {key: redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item, name) for item in value]
    if name and name not in _HARMLESS and _SECRET_NAMES.search(name) and value is not None:
        return REDACTED
    return redact_text(value) if isinstance(value, str) else value


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = redact(value, key)
    return event


def _dumps(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def configure(settings: Settings) -> None:
    """Send all logs of this process, also those of libraries, through one JSON pipeline with redaction."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    last: Any = (
        structlog.dev.ConsoleRenderer()
        if settings.log_format == "console"
        else structlog.processors.JSONRenderer(_dumps)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "_granian", "granian.access"):
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.propagate = True
    logging.getLogger("uvicorn.access").disabled = True


class AccessLog:
    """Gathers one line per request and writes them together. ``flush`` writes what is left."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._encode = msgspec.json.Encoder().encode

    def write(self, event: Mapping[str, Any]) -> None:
        """Note one request. The values must hold no secrets: they are not looked through again."""
        self._lines.append(self._encode(event))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write the gathered lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            stream = self._stream or sys.stdout
            stream.write(b"\n".join(lines).decode() + "\n")
            stream.flush()
