"""The AsyncAPI document."""

from __future__ import annotations

from litestar import Response, Router

from app.core.routing import get
from app.realtime.asyncapi import as_json


@get("/asyncapi.json", operation_id="AsyncApi", summary="The AsyncAPI 3.0 document", include_in_schema=False)
async def asyncapi_json() -> Response[bytes]:
    """Which events there are, for machines."""
    return Response(as_json(), media_type="application/json")


realtime_router = Router(path="/api/v1", route_handlers=[asyncapi_json])
