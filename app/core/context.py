"""What one application and one request carry, and how handlers get at it.

``AppContext`` holds what is made once per application. ``RequestInfo`` holds what the edge (app/core/middleware.py)
learnt about one request; it is at ``scope["tessera"]``. Handlers do not touch either: they name what they need, and
it is injected::

    router = Router(path="/api/v1", dependencies={"tips": inject(TipQueries)}, route_handlers=[...])

    async def send_tip(data: TipRequest, actor: CurrentActor, key: IdempotencyKey, tips: NamedDependency[TipQueries])

``inject(Class)`` makes one object per application by ``Class(context)``; ``from_request(fn)`` calls ``fn(info)`` for
each request. Both are plain Litestar dependencies; app/core/wiring.py runs them without Litestar's task group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from litestar.di import Provide
from litestar.types import Scope

from app.core.background import end
from app.core.listening import Listener

if TYPE_CHECKING:
    from app.core.auth import Actor, Authenticator
    from app.core.database import Database
    from app.core.ratelimit import RateLimits
    from app.settings import Settings

T = TypeVar("T")
Hook = Callable[[], Awaitable[None]]


class AppContext:
    """What one application shares. ``on_shutdown`` hooks run when no request is in flight, before the pool closes."""

    def __init__(self, settings: Settings, database: Database, limits: RateLimits) -> None:
        self.settings = settings
        self.database = database
        self.limits = limits
        self.listener = Listener(database)
        self.auth: Authenticator = cast("Authenticator", None)
        self.on_startup: list[Hook] = []
        self.on_shutdown: list[Hook] = []
        self.stopping = False
        self._made: dict[Any, Any] = {}

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run ``work`` from the start on; at shutdown it is cancelled before what was registered earlier stops."""
        task: asyncio.Task[None] | None = None

        async def start() -> None:
            nonlocal task
            task = asyncio.create_task(work(), name=name)

        async def stop() -> None:
            await end(task)

        self.on_startup.append(start)
        self.on_shutdown.append(stop)

    def get(self, factory: Callable[[AppContext], T]) -> T:
        """The one object that ``factory(context)`` makes for this application."""
        made = self._made.get(factory)
        if made is None:
            made = self._made[factory] = factory(self)
        return cast("T", made)


class RequestInfo:
    """One request, as the edge saw it. Header values are bytes as sent; ``address`` is the client's, proxies peeled."""

    __slots__ = (
        "context",
        "request_id",
        "address",
        "authorization",
        "api_key",
        "idempotency_key",
        "content_type",
        "content_length",
        "msgpack",
        "user_agent",
        "origin",
        "actor",
        "csp",
        "resource_policy",
        "status",
        "started",
    )

    context: AppContext
    request_id: str
    address: str
    authorization: bytes | None
    api_key: bytes | None
    idempotency_key: bytes | None
    content_type: bytes | None
    content_length: bytes | None
    msgpack: bool
    user_agent: bytes | None
    origin: bytes | None
    actor: Actor | None
    csp: bytes | None
    resource_policy: bytes | None
    status: int
    started: float


class RequestProvide(Provide):
    """A dependency computed from RequestInfo without waiting for anything."""

    __slots__ = ("compute",)

    def __init__(self, dependency: Callable[..., Any], compute: Callable[[RequestInfo], Any]) -> None:
        super().__init__(dependency, sync_to_thread=False)
        self.compute = compute


def info_of(scope: Scope) -> RequestInfo:
    """What the edge learnt about this request."""
    return cast("RequestInfo", scope["tessera"])  # type: ignore[typeddict-item]


def from_request(compute: Callable[[RequestInfo], T]) -> RequestProvide:
    """A dependency that ``compute(info)`` makes for each request; it must not block."""

    def provide(scope: Scope) -> Any:
        return compute(info_of(scope))

    return RequestProvide(provide, compute)


def inject(factory: Callable[[AppContext], T]) -> RequestProvide:
    """A dependency that ``factory(context)`` makes once per application."""

    def compute(info: RequestInfo) -> T:
        return info.context.get(factory)

    return from_request(compute)


def _itself(info: RequestInfo) -> RequestInfo:
    return info


provide_info = from_request(_itself)
"""For handlers that need the request as the edge saw it: ``info: NamedDependency[RequestInfo]``."""
