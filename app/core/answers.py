"""Every error becomes ``application/problem+json``: ours, the driver's, Litestar's own, and the unexpected ones.

What is unexpected is answered as INTERNAL_ERROR without details; the log has the traceback under the request id.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
import structlog
from litestar.connection import Request
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Response

from app.core.context import RequestInfo
from app.core.errors import PROBLEM_JSON, TesseraError, error, problem, problem_headers, translate
from app.core.metrics import ERRORS
from app.core.wiring import Reply, validation_error

log = structlog.get_logger("tessera.errors")

_BY_STATUS = {
    400: "BAD_REQUEST",
    401: "NOT_AUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
}


def to_error(exc: Exception) -> TesseraError:
    """The error of the tree for any exception that reached the edge."""
    known = translate(exc) if not isinstance(exc, (OSError, TimeoutError)) else None
    if known is not None:
        return known
    if isinstance(exc, ValidationException):
        return _schema_error(exc)
    if isinstance(exc, msgspec.ValidationError):
        return validation_error(exc)
    if isinstance(exc, HTTPException) and exc.status_code in _BY_STATUS:
        converted = error(_BY_STATUS[exc.status_code], exc.detail if exc.status_code == 400 else None)
        allow = (exc.headers or {}).get("allow")
        if allow:
            converted.headers["Allow"] = allow
        return converted
    return error("INTERNAL_ERROR")


def _schema_error(exc: ValidationException) -> TesseraError:
    extra: Any = exc.extra if isinstance(exc.extra, list) else []
    errors = [{"field": item.get("key", ""), "message": item.get("message", "")} for item in extra]
    if any(item["field"] == "data" for item in errors):
        errors = [{"field": "", "message": "A body is required"}]
    if not errors:
        errors = [{"field": "", "message": exc.detail.partition(" for path ")[0]}]
    return error("VALIDATION_ERROR", errors=errors)


def handle_exception(request: Request[Any, Any, Any], exc: Exception) -> Response[Any]:
    """Litestar's exception handler for everything."""
    failure = to_error(exc)
    info = cast("RequestInfo | None", request.scope.get("tessera"))
    request_id = None if info is None else info.request_id
    ERRORS.labels(failure.slug).inc()
    if failure.status >= 500:
        report = log.error if failure.status == 500 else log.warning
        report(
            failure.slug.lower(),
            request_id=request_id,
            method=request.method,
            path=request.scope["path"],
            exc_info=exc if failure.status == 500 else None,
            reason=repr(exc.__cause__ or exc),
        )
    return Reply(
        problem(failure, request_id),
        status_code=failure.status,
        headers=problem_headers(failure),
        media_type=PROBLEM_JSON,
    )
