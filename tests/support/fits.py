"""Whether an answer is what the OpenAPI document says: its status, its media type, its error, its schema."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
from litestar import Litestar
from openapi_schema_validator import OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

OF_HTTP = {"BAD_REQUEST", "NOT_FOUND", "METHOD_NOT_ALLOWED", "NOT_ACCEPTABLE"}
"""Errors that come before any operation."""
OF_THEIR_OWN = {("Ready", 503), ("Health", 400)}
"""Answers that are no problems though their status is one: what is not ready, and a Host that is not listed."""
MSGPACK = "application/vnd.msgpack"


class Contract:
    """What the document of an application says of its answers."""

    def __init__(self, app: Litestar) -> None:
        document: dict[str, Any] = app.state["openapi"].as_dict()
        whole: Resource[Any] = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource("urn:document", whole)
        self._operations: list[tuple[re.Pattern[str], str, dict[str, Any]]] = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), method.upper(), operation)
            # names before parameters: /calls/stats is not a call
            for path, item in sorted(document["paths"].items(), key=lambda found: found[0].count("{"))
            for method, operation in item.items()
        ]

    def faults(self, answer: httpx.Response) -> list[str]:
        """What of this answer the document does not say."""
        operation = self._operation(answer.request)
        if operation is None:
            return []
        name = operation["operationId"]
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        value = self._value(answer, media_type)
        if (name, answer.status_code) in OF_THEIR_OWN or (isinstance(value, dict) and value.get("error") in OF_HTTP):
            return []
        told = operation["responses"].get(str(answer.status_code))
        if told is None:
            return [f"{name} does not say {answer.status_code}"]
        content = told.get("content", {}).get("application/json" if media_type == MSGPACK else media_type)
        if not answer.content or content is None:
            return [] if not answer.content and "content" not in told else [f"{name} does not say {media_type!r}"]
        found = [fault.message for fault in self._validator(content["schema"]).iter_errors(value)]
        if answer.is_error and value["error"] not in content["examples"]:
            found.append(f"{value['error']} is not among its errors")
        return [f"{name} {answer.status_code}: {fault}" for fault in found]

    def _operation(self, request: httpx.Request) -> dict[str, Any] | None:
        for pattern, method, operation in self._operations:
            if method == request.method and pattern.fullmatch(request.url.path):
                return operation
        return None

    def _value(self, answer: httpx.Response, media_type: str) -> Any:
        if media_type == MSGPACK:
            return msgspec.json.decode(msgspec.json.encode(msgspec.msgpack.decode(answer.content)))
        return answer.json() if answer.content and media_type.endswith("json") else answer.text

    def _validator(self, schema: dict[str, Any]) -> OAS31Validator:
        return OAS31Validator(_absolute(schema), registry=self._registry)


def _absolute(node: Any) -> Any:
    if isinstance(node, list):
        return [_absolute(item) for item in node]
    if isinstance(node, dict):
        return {name: f"urn:document{it}" if name == "$ref" else _absolute(it) for name, it in node.items()}
    return node
