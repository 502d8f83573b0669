"""The OpenAPI document tells all, and its page needs nobody else."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from app.core.errors import ERRORS
from app.main import create_app
from app.realtime.asyncapi import as_json as asyncapi_json
from app.realtime.events import EVENTS
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
    assert _faults(DOCUMENT) == []


def _faults(document: dict[str, Any]) -> list[str]:
    """What openapi-spec-validator says, and what it does not look at: the names of security schemes."""
    try:
        found = [fault.message for fault in OpenAPIV31SpecValidator(document).iter_errors()]
    except Unresolvable as dangling:
        return [str(dangling)]
    schemes = document["components"]["securitySchemes"]
    for path, item in document["paths"].items():
        for operation in item.values():
            for requirement in operation.get("security", []):
                found += [f"{path}: no security scheme {name}" for name in requirement if name not in schemes]
    return found


def _without_a_path_parameter(document: dict[str, Any]) -> None:
    del document["paths"][api("/tips/stats/{creator_id}")]["get"]["parameters"]


def _with_an_operation_id_twice(document: dict[str, Any]) -> None:
    document["paths"][api("/tips/sent")]["get"]["operationId"] = "SendTip"


def _with_an_answer_that_tells_nothing(document: dict[str, Any]) -> None:
    document["paths"][api("/tips/send")]["post"]["responses"]["201"] = {}


def _with_a_type_that_is_none(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Problem"]["properties"]["status"] = {"type": "whole"}


def _without_a_schema(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["TipReceipt"]


def _with_a_scheme_that_is_not_there(document: dict[str, Any]) -> None:
    document["paths"][api("/tips/send")]["post"]["security"] = [{"cookie": []}]


@pytest.mark.parametrize(
    ("breaks", "fault"),
    [
        (_without_a_path_parameter, "Path parameter 'creator_id'"),
        (_with_an_operation_id_twice, "Operation ID 'SendTip'"),
        (_with_an_answer_that_tells_nothing, "'description' is a required property"),
        (_with_a_type_that_is_none, "'whole' is not valid"),
        (_without_a_schema, "/components/schemas/TipReceipt"),
        (_with_a_scheme_that_is_not_there, "no security scheme cookie"),
    ],
)
def test_a_broken_document_is_told_apart(breaks: Callable[[dict[str, Any]], None], fault: str) -> None:
    few = (api("/tips/stats/{creator_id}"), api("/tips/sent"), api("/tips/send"))
    broken = copy.deepcopy(DOCUMENT)
    broken["paths"] = {path: broken["paths"][path] for path in few}  # the whole takes seconds, each time
    assert _faults(broken) == []
    breaks(broken)
    assert any(fault in found for found in _faults(broken)), _faults(broken)


def _described(node: Any) -> Iterator[tuple[dict[str, Any], object]]:
    """Every example of the document with the schema it is an example of."""
    if isinstance(node, list):
        for item in node:
            yield from _described(item)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("schema"), dict):
        if "example" in node:
            yield node["schema"], node["example"]
        for example in node.get("examples", {}).values():
            yield node["schema"], example["value"]
    elif isinstance(node.get("examples"), list):
        for example in node["examples"]:
            yield node, example
    for item in node.values():
        yield from _described(item)


def test_every_example_fits_its_schema() -> None:
    whole: Resource[Any] = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:document", whole)

    def fits(schema: dict[str, Any], value: object) -> bool:
        absolute = {"$ref": f"urn:document{schema['$ref']}"} if "$ref" in schema else schema
        return not list(OAS31Validator(absolute, registry=registry).iter_errors(value))

    problem = {"$ref": "#/components/schemas/Problem"}
    assert fits(problem, {"type": "about:blank", "title": "", "status": 400, "error": "X"})
    assert not fits(problem, {"type": "about:blank", "title": "", "status": "400", "error": "X"})
    examples = list(_described(DOCUMENT))
    assert {type(value) for _, value in examples} >= {dict, int, str}
    assert [(schema, value) for schema, value in examples if not fits(schema, value)] == []


def test_texts_with_a_pattern_have_an_example() -> None:
    """Without one the page shows characters at random that fit the pattern."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            assert "pattern" not in described or described.get("examples"), f"{name}.{field}"


def test_bounds_of_whole_numbers_are_whole() -> None:
    assert DOCUMENT["components"]["schemas"]["TipRequest"]["properties"]["amount"]["minimum"] == 1
    assert re.findall(r"'(?:minimum|maximum|exclusive\w+|multipleOf)': \d+\.", str(DOCUMENT)) == []


@pytest.mark.parametrize(("path", "handler"), HANDLERS, ids=[str(handler.operation_id) for _, handler in HANDLERS])
def test_every_route_has_an_operation_id_and_a_summary(path: str, handler: HTTPRouteHandler) -> None:
    assert isinstance(handler.operation_id, str)
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", handler.operation_id)
    assert handler.summary
    assert path.startswith("/api/v1/") or path in ("/metrics", "/widgets/realtime.js")


def test_operation_ids_are_unique() -> None:
    ids = [handler.operation_id for _, handler in HANDLERS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("case", OPERATIONS, ids=_ids)
def test_every_operation_tells_its_errors(case: tuple[str, str, dict[str, Any]]) -> None:
    path, method, operation = case
    assert operation["description"]
    assert operation["summary"]
    assert "URL follows" not in str(operation)
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
    keys = [found for found in operation.get("parameters", []) if found["name"] == "Idempotency-Key"]
    assert bool(keys) == ("IDEMPOTENCY_KEY_REUSED" in told)
    assert any(key["required"] for key in keys) == ("IDEMPOTENCY_KEY_REQUIRED" in told)
    assert not (keys and method != "post")


def test_routes_that_read_their_bodies_by_themselves_tell_of_them() -> None:
    told = {operation["operationId"]: operation for _, _, operation in OPERATIONS}
    meter = told["MeterCalls"]
    assert meter["requestBody"]["content"]["application/json"]["schema"]["properties"].keys() == {"call_id"}
    assert [found["name"] for found in meter["parameters"]] == ["X-Billing-Webhook-Secret"]
    assert "application/webhook+json" in told["ReceiveLiveKitEvent"]["requestBody"]["content"]


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


async def test_the_events_have_a_document_of_their_own(client: httpx.AsyncClient) -> None:
    answer = await client.get(api("/asyncapi.json"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == asyncapi_json()
    assert set(answer.json()["components"]["messages"]) > set(EVENTS)  # and what the socket itself says
