"""The contract of the events: what SQL writes is declared, and the documents say what is declared."""

from __future__ import annotations

import re

import pytest

from app.realtime.events import CHANNELS, EVENTS
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
