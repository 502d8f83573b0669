"""The contract of the errors: what SQL raises is declared in the function's header, mapped in Python, documented."""

from __future__ import annotations

import re

import pytest

from app.core.errors import BY_SQLSTATE, ERRORS
from tests.contract.sources import FunctionSource, documentation, function_sources

_RAISED = re.compile(r"'(TS\d{3})',\s*'([A-Z_]+)'")
_DECLARED = re.compile(r"\b(TS\d{3}) ([A-Z_]+)\b")
_CODE = re.compile(r"\bTS\d{3}\b")


def _errors_of(source: FunctionSource) -> str:
    return source.header.partition(" Errors ")[2]


@pytest.mark.parametrize("source", function_sources(), ids=lambda source: source.path)
def test_what_a_function_raises_is_in_its_header(source: FunctionSource) -> None:
    declared = set(_DECLARED.findall(_errors_of(source)))
    assert set(_RAISED.findall(source.code)) <= declared
    assert set(_CODE.findall(source.code)) <= {code for code, _ in declared}


@pytest.mark.parametrize("source", function_sources(), ids=lambda source: source.path)
def test_what_a_header_declares_is_mapped(source: FunctionSource) -> None:
    known = {(code, spec.slug) for code, spec in BY_SQLSTATE.items()}
    assert set(_DECLARED.findall(source.header)) <= known


@pytest.mark.parametrize("slug", sorted(ERRORS))
def test_every_error_is_documented(slug: str) -> None:
    spec = ERRORS[slug]
    row = rf"^\| `{slug}` \| {spec.sqlstate or '–'} \| {spec.status} \|"
    assert re.search(row, documentation("errors.md"), re.MULTILINE), f"docs/errors.md has no row that begins {row}"


def test_no_error_is_documented_that_there_is_not() -> None:
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", documentation("errors.md"), re.MULTILINE)) == set(ERRORS)
