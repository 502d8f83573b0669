"""The AsyncAPI 3.0 document: channels, their events, and what is said on the WebSocket.

Made from ``app.realtime.events`` and ``PROTOCOL``; ``./run asyncapi`` writes docs/asyncapi.json, and the API serves
the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import msgspec

from app.realtime.events import CHANNELS, EVENTS, NO_ID, EventSpec

SOCKET = "/api/v1/realtime"


class Frame(NamedTuple):
    """A message of the WebSocket's own protocol."""

    direction: Literal["client", "server"]
    """Who sends it."""
    struct: type[msgspec.Struct]
    summary: str


PROTOCOL: Sequence[Frame] = ()
"""Operations and their replies, as structs: what is listed here is in the document."""


def _schemas(structs: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        # Fields may come; whoever reads an event passes over those it does not know. Ours are strict for our own sake.
        schema.pop("additionalProperties", None)
        schema.pop("title", None)
    return schemas


def _message(name: str, summary: str, struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{struct.__name__}"},
    }


def _channel(kind: str, specs: list[EventSpec]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "address": kind if kind in NO_ID else f"{kind}:{{{kind}_id}}",
        "description": CHANNELS[kind],
        "messages": {spec.name: {"$ref": f"#/components/messages/{spec.name}"} for spec in specs},
    }
    if kind not in NO_ID:
        whose = "user" if kind == "creator" else kind
        made["parameters"] = {f"{kind}_id": {"description": f"Id of the {whose}."}}
    return made


def _sends(channel: str, summary: str, messages: Iterable[str], action: str = "send") -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def asyncapi(protocol: Sequence[Frame] = PROTOCOL) -> dict[str, Any]:
    """The document as plain data."""
    events = list(EVENTS.values())
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for kind in CHANNELS:
        specs = [spec for spec in events if kind in spec.channels]
        channels[kind] = _channel(kind, specs)
        operations[f"{kind}Events"] = _sends(kind, f"Events of {kind} channels.", [spec.name for spec in specs])
    messages = {spec.name: _message(spec.name, spec.when, spec.struct) for spec in events}
    structs = {spec.struct.__name__: spec.struct for spec in events}
    if protocol:
        _add_protocol(protocol, channels, operations, messages)
        structs |= {frame.struct.__name__: frame.struct for frame in protocol}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tessera events",
            "version": "1.0.0",
            "description": "What happens, told in the order in which it happened in each channel, without gaps "
            "(docs/relay.md, docs/events.md). Amounts are whole numbers in the asset's minor unit; times are RFC 3339. "
            "Fields may be added: pass over what you do not know.",
        },
        "servers": {
            "tessera": {
                "host": "{host}",
                "pathname": SOCKET,
                "protocol": "wss",
                "variables": {"host": {"default": "localhost:8000", "description": "Where the API is."}},
            }
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": dict(sorted(_schemas(structs.values()).items()))},
    }


def _add_protocol(
    protocol: Sequence[Frame], channels: dict[str, Any], operations: dict[str, Any], messages: dict[str, Any]
) -> None:
    """The WebSocket itself as a channel; the document is the server's, so it receives what clients send."""
    names = {frame.struct.__name__ for frame in protocol}
    channels["socket"] = {
        "address": SOCKET,
        "description": "The WebSocket that all channels are followed on.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in sorted(names)},
    }
    for direction, action, summary in (
        ("client", "receive", "What clients send."),
        ("server", "send", "What the server sends."),
    ):
        said = [frame.struct.__name__ for frame in protocol if frame.direction == direction]
        if said:
            operations[f"{direction}Says"] = _sends("socket", summary, said, action)
    for frame in protocol:
        messages[frame.struct.__name__] = _message(frame.struct.__name__, frame.summary, frame.struct)


@cache
def as_json() -> bytes:
    """The document as the API serves it."""
    return msgspec.json.encode(asyncapi())
