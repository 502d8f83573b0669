"""How bodies are read, dependencies are filled in and answers are written: the seams where Litestar is fitted to us.

- ``StrictBody``: a body is decoded once, straight into its struct, strictly (Litestar decodes to dicts and then
  converts with ``strict=False``, which would take ``"10"`` for 10). JSON or MessagePack by Content-Type.
- ``DirectRequest``: the body is read without a generator and a header object.
- ``Reply``: JSON, or MessagePack if Accept asks for it.
- ``DirectDependencies``: our dependencies never wait, so they are computed in line. Litestar runs two or more
  dependencies in an anyio task group, which costs a request more than the rest of its handling (docs/performance.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from typing import Any, ClassVar

import msgspec
from litestar.connection import ASGIConnection, Request
from litestar.dto import AbstractDTO
from litestar.plugins import ReceiveRoutePlugin
from litestar.response import Response
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import Empty, Receive, Scope, Send
from litestar.typing import FieldDefinition

from app.core.context import RequestProvide, info_of
from app.core.errors import TesseraError, error

JSON = "application/json"
MSGPACK = "application/vnd.msgpack"
MONEY_BODY_LIMIT = 64 * 1024
"""``request_max_body_size`` of every router that moves money, in bytes."""
_JSON_TYPE = JSON.encode()
_MSGPACK_TYPES = (b"application/vnd.msgpack", b"application/msgpack", b"application/x-msgpack")
_PATH = re.compile(r" - at `\$\.?(.*)`$")

Decoders = tuple[msgspec.json.Decoder[Any], msgspec.msgpack.Decoder[Any]]


def validation_error(exc: msgspec.ValidationError) -> TesseraError:
    """422 that says which field does not fit, in the words of the schema."""
    text = str(exc)
    match = _PATH.search(text)
    field = match.group(1) if match else ""
    return error("VALIDATION_ERROR", errors=[{"field": field, "message": _PATH.sub("", text)}])


class StrictBody(AbstractDTO[Any]):
    """Decodes a body straight into the annotated type; unknown fields are refused by the structs themselves."""

    _decoders: ClassVar[dict[str, Decoders]] = {}
    _fields: ClassVar[dict[str, FieldDefinition]] = {}

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[Any, None, None]:
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        return False

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        annotation = field_definition.annotation
        cls._decoders[handler_id] = (msgspec.json.Decoder(annotation), msgspec.msgpack.Decoder(annotation))

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        return schema_creator.for_field_definition(field_definition)

    def decode_bytes(self, value: bytes) -> Any:
        connection = self.asgi_connection
        content_type = info_of(connection.scope).content_type
        json, msgpack = self._decoders[connection.route_handler.handler_id]
        media_type = _JSON_TYPE if content_type is None else content_type.partition(b";")[0].strip().lower()
        if media_type == _JSON_TYPE:
            decoder: Any = json
        elif media_type in _MSGPACK_TYPES:
            decoder = msgpack
        else:
            raise error("UNSUPPORTED_MEDIA_TYPE")
        try:
            return decoder.decode(value)
        except msgspec.ValidationError as exc:
            raise validation_error(exc) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise error("MALFORMED_JSON", f"{exc}." if isinstance(exc, msgspec.DecodeError) else None) from exc


class DirectRequest(Request[Any, Any, Any]):
    """Reads the body without a generator; the limit holds for what arrives, not only for what is announced."""

    async def body(self) -> bytes:
        if self._body is not Empty:
            return self._body
        limit = self.route_handler.resolve_request_max_body_size() or math.inf
        announced = info_of(self.scope).content_length
        if announced is not None and (not announced.isdigit() or int(announced) > limit):
            raise error("PAYLOAD_TOO_LARGE" if announced.isdigit() else "BAD_REQUEST")
        chunks: list[bytes] = []
        size = 0
        while True:
            message: Any = await self.receive()
            if message["type"] == "http.disconnect":
                raise error("BAD_REQUEST", "The client went away.")
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise error("PAYLOAD_TOO_LARGE")
            chunks.append(chunk)
            if not message.get("more_body", False):
                break
        self._body = self._connection_state.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return self._body


class Reply(Response[Any]):
    """An answer in the media type that the client accepts."""

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **kwargs: Any) -> Any:
        media_type: str = self.media_type or JSON
        if media_type == JSON and info_of(request.scope).msgpack:
            media_type = self.media_type = MSGPACK
        if self.cookies or self.background or kwargs.get("cookies") or kwargs.get("background"):
            return super().to_asgi_response(app, request, **kwargs)
        status = self.status_code or kwargs.get("status_code") or 200
        headers = [(name.lower().encode(), str(value).encode("latin-1")) for name, value in self.headers.items()]
        for name, value in (kwargs.get("headers") or {}).items():
            headers.append((name.lower().encode(), str(value).encode("latin-1")))
        if status in (204, 304):
            return _Answer(status, headers, b"")
        body = self.render(self.content, media_type)
        headers.append((b"content-type", media_type.encode()))
        headers.append((b"content-length", b"%d" % len(body)))
        return _Answer(status, headers, body)

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        if isinstance(content, bytes):
            return content
        if media_type == MSGPACK:
            return msgspec.msgpack.encode(content)
        if media_type.endswith("json"):
            return msgspec.json.encode(content)
        return super().render(content, media_type)


class _Answer:
    """An encoded answer: what ASGI wants to hear, and nothing that has to be worked out again."""

    __slots__ = ("status", "headers", "body")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class DirectDependencies(ReceiveRoutePlugin):
    """Computes RequestProvide dependencies in line, where a handler has no others."""

    def receive_route(self, route: BaseRoute) -> None:
        if isinstance(route, HTTPRoute):
            for _, model in route.route_handler_map.values():
                _compute_in_line(model)


def _compute_in_line(model: Any) -> None:
    containers = [container for batch in model.dependency_batches for container in batch]
    if not containers or not all(isinstance(c.provide, RequestProvide) for c in containers):
        return
    computes = [(container.key, container.provide.compute) for container in containers]

    async def extract(values: dict[str, Any], connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        info = info_of(connection.scope)
        for key, compute in computes:
            values[key] = compute(info)

    model.extractors.append(extract)
    model.dependency_batches = []
