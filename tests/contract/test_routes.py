"""The contract of the HTTP routes: each is in the OpenAPI document, named, described, with its errors."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from app.core.errors import ERRORS
from app.main import create_app
from app.settings import Settings

OUTSIDE = ("/api/v1/openapi.json", "/api/v1/docs", "/api/v1/asyncapi.json")
"""The documents themselves and a page."""
NEVER_FAILS = {"GET /api/v1/public/health"}
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def application() -> Litestar:
    """Not started: nothing here needs its database."""
    return create_app(Settings(database_url="postgresql://nobody@127.0.0.1:1/none", token_secret="s" * 40))


@pytest.fixture(scope="module")
def document(application: Litestar) -> dict[str, Any]:
    made: dict[str, Any] = application.state["openapi"].as_dict()
    return made


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def test_every_route_of_the_interface_is_documented(application: Litestar, document: dict[str, Any]) -> None:
    missing = [
        f"{method} {route.path}"
        for route in application.routes
        if isinstance(route, HTTPRoute) and route.path.startswith("/api/v1") and not route.path.startswith(OUTSIDE)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method.lower() in METHODS and method.lower() not in document["paths"].get(route.path_format, {})
    ]
    assert missing == []


def test_every_operation_is_named_once_and_summarised(operations: list[tuple[str, dict[str, Any]]]) -> None:
    assert operations
    names = [operation.get("operationId", "") for _, operation in operations]
    assert len(set(names)) == len(names)
    # Litestar makes up ids of the whole path; ours are short words.
    assert [name for name in names if not name.isidentifier() or "Api" in name[:3]] == []
    assert [route for route, operation in operations if not operation.get("summary", "").strip()] == []


def test_every_operation_has_its_errors(operations: list[tuple[str, dict[str, Any]]]) -> None:
    without = []
    for route, operation in operations:
        responses = operation["responses"]
        if route not in NEVER_FAILS and not any(status[0] in "45" for status in responses):
            without.append(route)
    assert without == []


def test_every_documented_error_is_one_of_ours(operations: list[tuple[str, dict[str, Any]]]) -> None:
    strangers = set()
    for route, operation in operations:
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values() if status[0] in "45" else ():
                for slug in content.get("examples", {}):
                    if slug in ERRORS and str(ERRORS[slug].status) == status:
                        continue
                    strangers.add((route, status, slug))
    assert strangers == set()


def test_money_posts_need_an_idempotency_key(operations: list[tuple[str, dict[str, Any]]]) -> None:
    """Those that would otherwise pay twice when repeated."""
    money = ("POST /api/v1/tips/send", "POST /api/v1/wallets/transfers", "POST /api/v1/calls/init")
    for route, operation in operations:
        if route in money:
            names = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["required"]}
            assert "Idempotency-Key" in names, route
