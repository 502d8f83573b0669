"""The AsyncAPI 3.0 document: channels, their events, and what is said on the WebSocket.

Made from ``app.realtime.events`` and ``PROTOCOL``; ``./run asyncapi`` writes docs/asyncapi.json, and the API serves
the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import msgspec

from app.realtime import protocol as said
from app.realtime.events import CHANNELS, EVENTS, NO_ID, EventSpec

SOCKET = "/api/v1/realtime"


class Said(NamedTuple):
    """A message of the WebSocket's own protocol."""

    direction: Literal["client", "server"]
    """Who sends it."""
    struct: type[msgspec.Struct]
    summary: str


PROTOCOL: Sequence[Said] = (
    Said("client", said.Auth, "Say who you are, or prolong it."),
    Said("client", said.Subscribe, "Follow a channel."),
    Said("client", said.Unsubscribe, "Follow it no longer."),
    Said("client", said.Presence, "Be counted as a viewer, or alive in a call."),
    Said("client", said.Ping, "Ask whether the server is there."),
    Said("server", said.Authenticated, "The reply to `auth`."),
    Said("server", said.Subscribed, "The reply to `subscribe`."),
    Said("server", said.Unsubscribed, "The reply to `unsubscribe`."),
    Said("server", said.Present, "The reply to `presence`, and who has come and gone."),
    Said("server", said.Pong, "The reply to `ping`."),
    Said("server", said.Refused, "The reply to a request that was refused."),
    Said("server", said.Events, "Events of a channel: `data` of each is what its message has for payload."),
    Said("server", said.Revoked, "A channel that may not be followed any more."),
)
"""Operations and their replies (app/realtime/protocol.py): what is listed here is in the document."""


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


def asyncapi(protocol: Sequence[Said] = PROTOCOL) -> dict[str, Any]:
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
    protocol: Sequence[Said], channels: dict[str, Any], operations: dict[str, Any], messages: dict[str, Any]
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
        names_said = [frame.struct.__name__ for frame in protocol if frame.direction == direction]
        if names_said:
            operations[f"{direction}Says"] = _sends("socket", summary, names_said, action)
    for frame in protocol:
        messages[frame.struct.__name__] = _message(frame.struct.__name__, frame.summary, frame.struct)


@cache
def as_json() -> bytes:
    """The document as the API serves it."""
    return msgspec.json.encode(asyncapi())
