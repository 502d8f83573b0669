"""The OpenAPI 3.1 document at /api/v1/openapi.json, and a page to read and try it at /api/v1/docs.

A route declares the errors that are its own: ``@post(..., opt=raises("INSUFFICIENT_TOKENS"))``. What follows from its
guard, its body, its parameters and its idempotency key is added here, so that every operation tells all its errors.
The page's assets are the files of Swagger UI in the swagger-ui-py package; the browser asks nobody else for anything.
"""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import files
from typing import Any, cast

import msgspec
from litestar import Litestar, Request, Response, Router
from litestar._openapi.plugin import OpenAPIPlugin
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

from app.core.context import info_of
from app.core.errors import ERRORS, PROBLEM_JSON, TYPE_PREFIX, error
from app.core.idempotency import DESCRIPTION as KEY_DESCRIPTION
from app.core.routing import get

DOCS_CSP = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_AUTHENTICATED = ("NOT_AUTHENTICATED", "INVALID_TOKEN", "TOKEN_EXPIRED", "USER_SUSPENDED", "RATE_LIMITED")
_BODY = ("VALIDATION_ERROR", "MALFORMED_JSON", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE")
_KEY = ("IDEMPOTENCY_KEY_REQUIRED", "IDEMPOTENCY_KEY_INVALID", "IDEMPOTENCY_KEY_REUSED")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TEXT = {"type": "string"}
_DATABASE = ("TRANSACTION_CONFLICT", "DATABASE_BUSY", "DATABASE_UNAVAILABLE", "INTERNAL_ERROR")

_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details. Facts that belong to the error are further members (docs/errors.md).",
    "required": ["type", "title", "status", "error"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "error": {"type": "string", "description": "The slug: stable, one reason each."},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "With VALIDATION_ERROR: what does not fit, field by field.",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}


def raises(*slugs: str) -> dict[str, Any]:
    """``opt`` of a route handler: the errors that are its own. An unknown slug fails at import."""
    return {"errors": tuple(ERRORS[slug].slug for slug in slugs)}


def reads(body: type[msgspec.Struct], *headers: str) -> dict[str, Any]:
    """``opt`` of a route that reads its body by itself: a body of this form, if any, and headers it needs."""
    _, forms = msgspec.json.schema_components((body,), ref_template="#/components/schemas/{name}")
    return {
        "reads": {
            "requestBody": {"required": False, "content": {"application/json": {"schema": forms[body.__name__]}}},
            "parameters": [{"name": name, "in": "header", "required": True, "schema": _TEXT} for name in headers],
        }
    }


def answers(*media_types: str) -> dict[str, Any]:
    """``opt`` of a route that can also answer with text of these media types, by Accept."""
    return {"answers": media_types}


def errors_of(handler: HTTPRouteHandler) -> tuple[str, ...]:
    """Every slug that this route may answer with, in the order of the table."""
    slugs: set[str] = set(handler.opt.get("errors", ()))
    for guard in handler.resolve_guards():
        scope, role, session = getattr(guard, "requires", (None, None, False))
        slugs.update(_AUTHENTICATED)
        if scope is not None or session:
            slugs.add("INSUFFICIENT_SCOPE")
        if role is not None:
            slugs.add("FORBIDDEN")
    fields = handler.parsed_fn_signature.parameters
    if "data" in fields:
        slugs.update(_BODY)
    if "key" in fields:
        slugs.update(_KEY)
    elif "optional_key" in handler.parsed_fn_signature.parameters:
        slugs.update(_KEY[1:])
    if any(name not in ("data", "key", "request", "actor", "context") for name in fields):
        slugs.add("VALIDATION_ERROR")
    if fields or slugs:
        slugs.update(_DATABASE)
    return tuple(slug for slug in ERRORS if slug in slugs)


def operations(app: Litestar) -> dict[str, HTTPRouteHandler]:
    """Every documented route handler by its operation id."""
    found: dict[str, HTTPRouteHandler] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.resolve_include_in_schema() and isinstance(handler.operation_id, str):
                    found[handler.operation_id] = handler
    return found


class Document:
    """The document of one application, made when it is first asked for."""

    def __init__(self, app: Litestar) -> None:
        self._plugin = app.plugins.get(OpenAPIPlugin)
        # With openapi_config in Litestar's constructor the plugin would also add pages and a catch-all below our path.
        self._plugin._openapi_config = _config()
        self._app = app
        self._rendered: bytes | None = None

    def as_dict(self) -> dict[str, Any]:
        """OpenAPI 3.1 as plain data."""
        return complete(self._app, self._plugin.provide_openapi().to_schema())

    def as_json(self) -> bytes:
        """OpenAPI 3.1 as JSON."""
        if self._rendered is None:
            self._rendered = msgspec.json.encode(self.as_dict())
        return self._rendered


def complete(app: Litestar, document: dict[str, Any]) -> dict[str, Any]:
    """The document with what this module adds to Litestar's."""
    handlers = operations(app)
    for path in document["paths"].values():
        for operation in path.values():
            handler = handlers.get(operation.get("operationId", "")) if isinstance(operation, dict) else None
            if handler is not None:
                _complete_operation(operation, handler)
    document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM_SCHEMA
    _make_bounds_whole(document)
    return document


def _make_bounds_whole(node: object) -> None:
    """Litestar writes each bound as a float, and generators of clients then take amounts for floats."""
    if isinstance(node, list):
        for item in node:
            _make_bounds_whole(item)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name in _BOUNDS and isinstance(value, float) and value.is_integer():
                node[name] = int(value)
            else:
                _make_bounds_whole(value)


def _complete_operation(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    responses = operation["responses"]
    for status in [status for status in responses if status.startswith("4")]:
        del responses[status]
    for status, answer in responses.items():
        # Litestar takes the long text, and "Document created, URL follows" is not so here.
        answer["description"] = HTTPStatus(int(status)).phrase
        for media_type in handler.opt.get("answers", ()):
            answer["content"][media_type] = {"schema": {"type": "string"}}
    by_status: dict[int, list[str]] = {}
    for slug in errors_of(handler):
        by_status.setdefault(ERRORS[slug].status, []).append(slug)
    for status, slugs in sorted(by_status.items()):
        responses[str(status)] = _error_response(status, slugs)
    if handler.resolve_guards():
        operation["security"] = [{"token": []}, {"apiKey": []}]
        scopes = [getattr(guard, "requires", (None,))[0] for guard in handler.resolve_guards()]
        if scopes[0] is not None:
            operation["description"] = f"{operation.get('description', '')}\n\nScope: `{scopes[0]}`.".strip()
    operation.update(handler.opt.get("reads", {}))
    named = handler.parsed_fn_signature.parameters
    if "key" in named or "optional_key" in named:
        operation.setdefault("parameters", []).append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": "key" in named,
                "description": KEY_DESCRIPTION,
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
                "example": "5f1c2b7e-tip-1",
            }
        )


def _error_response(status: int, slugs: list[str]) -> dict[str, Any]:
    examples = {
        slug: {
            "summary": ERRORS[slug].title,
            "value": {"type": TYPE_PREFIX + slug, "title": ERRORS[slug].title, "status": status, "error": slug},
        }
        for slug in slugs
    }
    return {
        "description": ", ".join(f"`{slug}`" for slug in slugs),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


def _config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Tessera",
        use_handler_docstrings=True,
        version="1.0.0",
        summary="Token wallets, tips and everything that is paid for with them.",
        description="Errors are `application/problem+json` with a stable slug in `error`. POSTs that move money need "
        "an `Idempotency-Key`. Amounts are whole numbers in the asset's minor unit; times are RFC 3339 in UTC.",
        components=Components(
            security_schemes={
                "token": SecurityScheme(
                    type="http", scheme="bearer", description="An access token from /auth/login, or an API key."
                ),
                "apiKey": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
    )


@get("/openapi.json", operation_id="OpenApi", summary="The OpenAPI 3.1 document", include_in_schema=False)
async def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """What this API offers, for machines."""
    document: Document = request.app.state["openapi"]
    return Response(document.as_json(), media_type="application/json")


_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tessera API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/swagger-ui.css"><link rel="icon" href="docs/favicon-32x32.png">
</head><body><div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body></html>
"""
_START = b"""window.ui = SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"
});
"""
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_loaded: dict[str, bytes] = {"start.js": _START}


@get("/docs", operation_id="Docs", summary="A page to read and try the API", include_in_schema=False)
async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Swagger UI on our own document."""
    info_of(request.scope).csp = DOCS_CSP
    return Response(_PAGE, media_type="text/html; charset=utf-8")


@get("/docs/{name:str}", operation_id="DocsAsset", summary="A file of that page", include_in_schema=False)
async def docs_asset(request: Request[Any, Any, Any]) -> Response[bytes]:
    """One of the few files that the page needs; no other file can be named."""
    name = cast("str", request.path_params["name"])
    if name not in _loaded:
        if name not in _ASSETS:
            raise error("NOT_FOUND")
        _loaded[name] = files("swagger_ui").joinpath("static", name).read_bytes()
    media_type = _ASSETS.get(name, "text/javascript; charset=utf-8")
    return Response(_loaded[name], media_type=media_type, headers={"Cache-Control": "public, max-age=86400"})


docs_router = Router(path="/api/v1", route_handlers=[openapi_json, docs, docs_asset])
