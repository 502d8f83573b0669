"""The application as it is, with two more routes to compare tips to."""

from __future__ import annotations

from uuid import UUID

from litestar import Litestar, Router
from litestar.di import NamedDependency
from litestar.params import JSONBody

import app.main
from app.api import ROUTERS
from app.core.auth import CurrentActor, requires
from app.core.context import AppContext, inject
from app.core.garbage import settle
from app.core.idempotency import IdempotencyKey
from app.core.routing import get, post
from app.core.wiring import MONEY_BODY_LIMIT
from app.tips.queries import TipQueries
from app.tips.structs import TipReceipt, TipRequest


@post("/bench/empty", guards=[requires("tips:write")], operation_id="BenchEmpty", summary="Nothing")
async def empty(data: JSONBody[TipRequest], actor: CurrentActor, key: IdempotencyKey) -> TipReceipt:
    """Takes what a tip takes, answers what a tip answers, does nothing."""
    return TipReceipt(tip_id=UUID(int=1), amount=data.amount, creator_cut=data.amount, platform_fee=0, new_balance=0)


class _Select:
    def __init__(self, context: AppContext) -> None:
        self.db = context.get(TipQueries).db


@get("/bench/select", operation_id="BenchSelect", summary="SELECT 1")
async def select(one: NamedDependency[_Select]) -> int:
    """One statement, no account."""
    value: int = await one.db.fetchval("SELECT 1")
    return value


def create() -> Litestar:
    """The factory for the ASGI server."""
    router = Router(
        path="/api/v1",
        dependencies={"one": inject(_Select)},
        request_max_body_size=MONEY_BODY_LIMIT,
        route_handlers=[empty, select],
    )
    ROUTERS.append(router)
    made = app.main.create_app()
    settle()
    return made
