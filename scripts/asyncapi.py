"""docs/asyncapi.json and docs/events.md, from the structs of app/realtime/events.py.

`./run asyncapi` writes them, tests/contract/test_events.py compares. Each example in docs/events.md is a payload that a
test wrote: it stays while it fits its struct; for a new one run such a test with TESSERA_WRITE_EXAMPLES=1 before.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.realtime.asyncapi import asyncapi
from app.realtime.events import CHANNELS, EVENTS, NO_ID, EventSpec
from app.settings import PROJECT_ROOT

ASYNCAPI = PROJECT_ROOT / "docs" / "asyncapi.json"
EVENTS_MD = PROJECT_ROOT / "docs" / "events.md"
NEW_EXAMPLES = PROJECT_ROOT / ".tessera" / "event-examples"

HEADER = """\
# Events

What happens is told as events: rows of `core.outbox`, written in the commit that they tell of. The relay numbers them
in each channel ([relay.md](relay.md)), so whoever follows a channel gets each once, in order, without gaps. Written by
`./run asyncapi` from `app/realtime/events.py`; do not edit. The same for machines is [asyncapi.json](asyncapi.json),
which the API serves at `/api/v1/asyncapi.json`.

An event has a `type`, a time, and data of which this page tells (`data` on a WebSocket, [realtime.md](realtime.md);
`payload` in SQL). Amounts are whole numbers of the asset's minor unit, tokens for `TOKEN`; ids are UUIDs; times are
RFC 3339. Fields may be added: pass over those you do not know. An event goes to all its channels with the same data,
and each channel numbers it for itself: whoever follows two of them may get it twice. Within one commit, events of a
wallet come in the order of its entries.

**Wallets.** `wallet.changed` comes before the event of what changed it, with the wallet as the whole batch leaves it:
of 500 tips to one creator in one commit, the creator's wallet is told of once. A hold that expires on the way is told
of by itself. Nobody is told of the system's own wallets. The newest is the one with the highest `seq` of the channel;
`version` stays when only `held` or the minimum is another.

"""


def render_json() -> str:
    """docs/asyncapi.json."""
    return msgspec.json.format(msgspec.json.encode(asyncapi()), indent=1).decode() + "\n"


def examples_of(text: str) -> dict[str, str]:
    """The examples in docs/events.md by type."""
    return dict(re.findall(r"^An example, `([a-z._]+)`:\n\n```json\n(.*?)\n```", text, re.MULTILINE | re.DOTALL))


def fits(type_: str, example: str) -> bool:
    """Whether this is such an event."""
    try:
        msgspec.json.decode(example, type=EVENTS[type_].struct)
    except (msgspec.ValidationError, KeyError):
        return False
    return True


def render_events(examples: dict[str, str]) -> str:
    """docs/events.md with these examples."""
    parts = [HEADER, "| channel | what |\n| --- | --- |\n"]
    for kind, text in CHANNELS.items():
        parts.append(f"| `{kind if kind in NO_ID else f'{kind}:<id>'}` | {text} |\n")
    schemas = asyncapi()["components"]["schemas"]
    groups: dict[type[msgspec.Struct], list[EventSpec]] = {}
    for spec in EVENTS.values():
        groups.setdefault(spec.struct, []).append(spec)
    for struct, specs in groups.items():
        parts.append(f"\n## {', '.join(f'`{spec.name}`' for spec in specs)}\n\n{(struct.__doc__ or '').strip()}\n\n")
        parts.append("| event | when | channels |\n| --- | --- | --- |\n")
        for spec in specs:
            where = "; ".join(f"`{kind}{'' if kind in NO_ID else ':'}` {who}" for kind, who in spec.channels.items())
            parts.append(f"| `{spec.name}` | {spec.when} | {where} |\n")
        parts.append("\n| field | type | |\n| --- | --- | --- |\n")
        for name, field in schemas[struct.__name__]["properties"].items():
            parts.append(f"| `{name}` | {_type(field)} | {field.get('description', '')} |\n")
        example = next((spec.name for spec in specs if spec.name in examples), None)
        if example is not None:
            parts.append(f"\nAn example, `{example}`:\n\n```json\n{examples[example]}\n```\n")
    return "".join(parts)


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if field.get("type") == "object":
        return "object"
    return {"uuid": "id", "date-time": "time"}.get(field.get("format", ""), str(field.get("type", "anything")))


def examples() -> dict[str, str]:
    """Of each struct one: those that are there and fit, and of the rest the newest that a test wrote."""
    known = examples_of(EVENTS_MD.read_text()) if EVENTS_MD.exists() else {}
    kept = {type_: example for type_, example in known.items() if fits(type_, example)}
    covered = {EVENTS[type_].struct for type_ in kept}
    for type_, spec in EVENTS.items():
        file = NEW_EXAMPLES / f"{type_}.json"
        if spec.struct not in covered and file.exists() and fits(type_, file.read_text()):
            # in the order of the struct, which reads better than jsonb's
            payload = msgspec.json.decode(file.read_text())
            ordered = {name: payload[name] for name in spec.struct.__struct_fields__}
            kept[type_] = msgspec.json.format(msgspec.json.encode(ordered), indent=2).decode()
            covered.add(spec.struct)
    return kept


def main() -> None:
    """Write both files anew."""
    ASYNCAPI.write_text(render_json())
    EVENTS_MD.write_text(render_events(examples()))
    for file in (ASYNCAPI, EVENTS_MD):
        print(file.relative_to(PROJECT_ROOT))


if __name__ == "__main__":
    main()
