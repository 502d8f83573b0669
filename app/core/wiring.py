"""How bodies are read, dependencies are filled in and answers are written: the seams where Litestar is fitted to us.

- ``StrictBody``: a body is decoded once, straight into its struct, strictly (Litestar decodes to dicts and then
  converts with ``strict=False``, which would take ``"10"`` for 10). JSON or MessagePack by Content-Type.
- ``Reply``: JSON, or MessagePack if Accept asks for it.
- ``DirectDependencies``: our dependencies never wait, so they are computed in line. Litestar runs two or more
  dependencies in an anyio task group, which costs a request more than the rest of its handling (docs/performance.md).
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, ClassVar, cast

import msgspec
from litestar.connection import ASGIConnection, Request
from litestar.dto import AbstractDTO
from litestar.plugins import ReceiveRoutePlugin
from litestar.response import Response
from litestar.response.base import ASGIResponse
from litestar.routes import BaseRoute, HTTPRoute
from litestar.typing import FieldDefinition

from app.core.context import RequestProvide, info_of
from app.core.errors import error

JSON = "application/json"
MSGPACK = "application/vnd.msgpack"
MONEY_BODY_LIMIT = 64 * 1024
"""``request_max_body_size`` of every router that moves money, in bytes."""
_MSGPACK_TYPES = (b"application/vnd.msgpack", b"application/msgpack", b"application/x-msgpack")
_PATH = re.compile(r" - at `\$\.?(.*)`$")

Decoders = tuple[msgspec.json.Decoder[Any], msgspec.msgpack.Decoder[Any]]


def validation_error(exc: msgspec.ValidationError) -> Exception:
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
        if content_type is None or content_type.startswith(b"application/json"):
            decoder: Any = json
        elif content_type.partition(b";")[0].strip() in _MSGPACK_TYPES:
            decoder = msgpack
        else:
            raise error("UNSUPPORTED_MEDIA_TYPE")
        try:
            return decoder.decode(value)
        except msgspec.ValidationError as exc:
            raise validation_error(exc) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise error("MALFORMED_JSON", f"{exc}." if isinstance(exc, msgspec.DecodeError) else None) from exc


class Reply(Response[Any]):
    """An answer in the media type that the client accepts."""

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **kwargs: Any) -> ASGIResponse:
        if self.media_type == JSON and info_of(request.scope).msgpack:
            self.media_type = MSGPACK
        return super().to_asgi_response(app, request, **kwargs)

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:
        if isinstance(content, bytes):
            return content
        if media_type == MSGPACK:
            return msgspec.msgpack.encode(content)
        if media_type.endswith("json"):
            return msgspec.json.encode(content)
        return cast("bytes", super().render(content, media_type, enc_hook))


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
