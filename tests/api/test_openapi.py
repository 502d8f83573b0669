"""The OpenAPI document tells all, and its page needs nobody else."""

from __future__ import annotations

import copy
import re
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from app.core.errors import ERRORS
from app.main import create_app
from app.settings import Settings
from tests.api.people import api, slug


def _app() -> Litestar:
    return create_app(
        Settings(database_url="postgresql://nobody@127.0.0.1:1/none", token_secret="s" * 40, log_level="error")
    )


APP = _app()
DOCUMENT: dict[str, Any] = APP.state["openapi"].as_dict()
OPERATIONS = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in {"get", "post", "put", "patch", "delete"}
]
HANDLERS: list[tuple[str, HTTPRouteHandler]] = [
    (route.path, handler)
    for route in APP.routes
    if isinstance(route, HTTPRoute)
    for handler in route.route_handlers
    if "OPTIONS" not in handler.http_methods
]
HANDLERS.sort(key=lambda found: str(found[1].operation_id))  # Litestar's own order changes from run to run
OPERATIONS.sort(key=lambda found: found[:2])


def _ids(case: tuple[str, str, Any]) -> str:
    return f"{case[1]} {case[0]}"


def test_the_document_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["title"] == "Tessera"
    text = str(DOCUMENT)
    for reference in set(re.findall(r"#/components/schemas/([\w.\-]+)", text)):
        assert reference in DOCUMENT["components"]["schemas"]


@pytest.mark.parametrize(("path", "handler"), HANDLERS, ids=[str(handler.operation_id) for _, handler in HANDLERS])
def test_every_route_has_an_operation_id_and_a_summary(path: str, handler: HTTPRouteHandler) -> None:
    assert isinstance(handler.operation_id, str)
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", handler.operation_id)
    assert handler.summary
    assert path.startswith("/api/v1/") or path == "/metrics"


def test_operation_ids_are_unique() -> None:
    ids = [handler.operation_id for _, handler in HANDLERS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("case", OPERATIONS, ids=_ids)
def test_every_operation_tells_its_errors(case: tuple[str, str, dict[str, Any]]) -> None:
    path, method, operation = case
    assert operation["description"]
    assert operation["summary"]
    problems = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
    told: set[str] = set()
    for status, answer in problems.items():
        content = answer["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        for name in content["examples"]:
            assert ERRORS[name].status == int(status)
            told.add(name)
    if "security" in operation:
        assert {"NOT_AUTHENTICATED", "INVALID_TOKEN", "TOKEN_EXPIRED", "USER_SUSPENDED", "RATE_LIMITED"} <= told
    if "requestBody" in operation:
        assert {"VALIDATION_ERROR", "MALFORMED_JSON", "PAYLOAD_TOO_LARGE"} <= told
    if path != api("/public/health"):
        assert "DATABASE_UNAVAILABLE" in told
    keyed = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
    assert keyed == ("IDEMPOTENCY_KEY_REQUIRED" in told)
    assert not (keyed and method != "post")


def test_unknown_input_fields_are_refused_everywhere() -> None:
    for _, handler in HANDLERS:
        data = handler.parsed_fn_signature.parameters.get("data")
        if data is not None:
            config = data.annotation.__struct_config__
            assert config.forbid_unknown_fields, handler.operation_id


async def test_the_page_uses_only_our_own_files(client: httpx.AsyncClient) -> None:
    page = await client.get(api("/docs"))
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy.replace("https:", "http:").split("connect-src")[0]
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page.text)
    for asset in re.findall(r"(?:src|href)=\"(docs/[^\"]+)\"", page.text):
        answer = await client.get(api(f"/{asset}"))
        assert answer.status_code == 200, asset
        assert answer.content
    assert slug(await client.get(api("/docs/swagger-editor.js"))) == "NOT_FOUND"
    assert (await client.get(api("/openapi.json"))).json()["openapi"].startswith("3.1.")


def test_a_validator_of_others_finds_nothing_wrong_with_it() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_and_it_would() -> None:
    broken = copy.deepcopy(DOCUMENT)
    del broken["info"]["version"]
    with pytest.raises(OpenAPIValidationError):
        OpenAPIV31SpecValidator(broken).validate()
