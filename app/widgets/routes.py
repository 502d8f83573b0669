"""`/widgets/realtime.js`: the browser's client of the realtime WebSocket, for pages of any origin."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router

from app.core.context import info_of
from app.core.routing import get

_REALTIME = (Path(__file__).parent / "realtime.js").read_bytes()
_HEADERS = {
    "ETag": f'"{hashlib.sha256(_REALTIME).hexdigest()[:32]}"',
    "Cache-Control": "public, max-age=300",
    "Vary": "Origin",  # which others may load a module: CORS, so TESSERA_CORS_ORIGINS
}


@get("/realtime.js", operation_id="RealtimeScript", summary="The realtime client for browsers", include_in_schema=False)
async def realtime_js(request: Request[Any, Any, Any]) -> Response[bytes]:
    """An ES module (docs/realtime.md, Clients)."""
    info_of(request.scope).resource_policy = b"cross-origin"
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if _HEADERS["ETag"] in known:
        return Response(b"", status_code=304, headers=_HEADERS)
    return Response(_REALTIME, media_type="text/javascript", headers=_HEADERS)


widgets_router = Router(path="/widgets", route_handlers=[realtime_js])
