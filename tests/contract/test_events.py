"""The contract of the events: what SQL writes is declared, and the documents say what is declared."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest

from app.realtime import protocol
from app.realtime.asyncapi import PROTOCOL, Said, asyncapi
from app.realtime.events import CHANNELS, EVENTS, WalletChanged
from scripts.asyncapi import ASYNCAPI, EVENTS_MD, examples_of, fits, render_events, render_json
from tests.contract.sources import FunctionSource, function_sources

_NAME = r"'([a-z]+\.[a-z_]*)'"
_WRITES = re.compile(r"INSERT\s+INTO\s+core\.outbox\b[^;]*", re.IGNORECASE)
_TELLS = re.compile(rf"core\._\w+_event\(\s*{_NAME}")
_BY_STATUS = {"call.": {"call.ended", "call.declined", "call.missed"}}
"""Names that are put together: by how a call ended."""


def _written(source: FunctionSource) -> set[str]:
    """Types of events that this function writes, itself or by a helper that takes the type."""
    names = {name for part in _WRITES.findall(source.code) for name in re.findall(_NAME, part)}
    names |= set(_TELLS.findall(source.code))
    return set().union(*(_BY_STATUS.get(name, {name}) for name in names))


def test_every_event_that_sql_writes_is_declared_and_every_other_is_not() -> None:
    assert set().union(*map(_written, function_sources())) == set(EVENTS)


@pytest.mark.parametrize("source", [s for s in function_sources() if _written(s)], ids=lambda source: source.path)
def test_a_header_names_the_events_that_are_written(source: FunctionSource) -> None:
    writes = source.header.partition(" Writes ")[2].partition(" Errors ")[0]
    assert sorted(name for name in _written(source) if f"'{name}'" not in writes) == []


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_declared_whole(name: str) -> None:
    spec = EVENTS[name]
    assert re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", name)
    assert spec.channels
    assert set(spec.channels) <= set(CHANNELS)
    assert spec.when.endswith(".")
    assert spec.struct.__doc__
    assert spec.struct.__struct_config__.forbid_unknown_fields


def test_the_documents_say_what_is_declared() -> None:
    """After a change of app/realtime/events.py: ./run asyncapi."""
    assert render_json() == ASYNCAPI.read_text()
    assert render_events(examples_of(EVENTS_MD.read_text())) == EVENTS_MD.read_text()


def test_each_form_of_event_has_an_example_that_fits() -> None:
    examples = examples_of(EVENTS_MD.read_text())
    assert [type_ for type_, example in examples.items() if not fits(type_, example)] == []
    assert {EVENTS[type_].struct for type_ in examples} == {spec.struct for spec in EVENTS.values()}


def _references(node: object) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_references, node))
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set()


def _there(document: dict[str, Any], reference: str) -> bool:
    at: Any = document
    for step in reference.removeprefix("#/").split("/"):
        at = at.get(step) if isinstance(at, dict) else None
    return at is not None


def test_every_reference_leads_somewhere() -> None:
    alone = (Said("server", WalletChanged, "Answered."),)
    for document in (asyncapi(), asyncapi(()), asyncapi(alone)):
        assert [found for found in _references(document) if not _there(document, found)] == []


def test_all_of_the_protocol_is_in_the_document() -> None:
    clients, server = (
        {frame.struct for frame in PROTOCOL if frame.direction == direction} for direction in ("client", "server")
    )
    assert clients == set(get_args(protocol.Request))
    assert server == set(get_args(protocol.Frame))
    document = asyncapi()
    assert {document["operations"][name]["action"] for name in ("clientSays", "serverSays")} == {"receive", "send"}
    names = [struct.__name__ for struct in clients | server | {spec.struct for spec in EVENTS.values()}]
    assert len(set(names)) == len(names)


def test_who_reads_is_told_that_fields_may_come() -> None:
    assert b'additionalProperties":false' not in msgspec.json.encode(asyncapi())
