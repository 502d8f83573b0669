"""The routes of webhooks: endpoints of the caller, and what is sent there."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from app.core.auth import CurrentActor, requires
from app.core.context import RequestInfo, inject, provide_info
from app.core.errors import error
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import delete, get, patch, post
from app.core.wiring import MONEY_BODY_LIMIT
from app.webhooks.guard import Refused, parse_url
from app.webhooks.queries import WebhookQueries
from app.webhooks.structs import (
    Delivery,
    DeliveryDetails,
    DeliveryStatus,
    Endpoint,
    EndpointPatch,
    EndpointRequest,
    NewEndpoint,
    NewSecret,
)

TAGS = ["webhooks"]
Webhooks = NamedDependency[WebhookQueries]
Info = NamedDependency[RequestInfo]
READ = [requires("webhooks:read")]
WRITE = [requires("webhooks:write")]
ENDPOINT = "/webhook-endpoints/{endpoint_id:uuid}"


def _check_url(url: str | UnsetType, info: RequestInfo) -> None:
    if url is UNSET:
        return
    try:
        parse_url(url, development=not info.context.settings.production)
    except Refused as exc:
        raise error("WEBHOOK_URL_REFUSED", str(exc)) from None


@get("/webhook-endpoints", operation_id="ListWebhookEndpoints", summary="My webhook endpoints", tags=TAGS, guards=READ)
async def list_endpoints(
    actor: CurrentActor, webhooks: Webhooks, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[Endpoint]:
    """Newest first, without their secrets."""
    rows = await webhooks.endpoints(actor.user_id, decode_cursor(cursor, UUID), limit + 1)
    return page_of(rows, limit, lambda endpoint: endpoint.endpoint_id)


@post(
    "/webhook-endpoints",
    operation_id="CreateWebhookEndpoint",
    summary="Have my events sent somewhere",
    tags=TAGS,
    guards=WRITE,
    opt=raises(
        "WEBHOOK_URL_REFUSED",
        "TOO_MANY_WEBHOOK_ENDPOINTS",
        "INVALID_REQUEST",
        "USER_NOT_FOUND",
        "USER_SUSPENDED",
        "CONFIGURATION_ERROR",
    ),
)
async def create_endpoint(
    data: JSONBody[EndpointRequest], actor: CurrentActor, webhooks: Webhooks, info: Info
) -> NewEndpoint:
    """From now on: events that happened before are not sent. The secret is in this answer and nowhere else."""
    _check_url(data.url, info)
    return await webhooks.create(actor.user_id, data, info)


@get(
    ENDPOINT,
    operation_id="GetWebhookEndpoint",
    summary="A webhook endpoint",
    tags=TAGS,
    guards=READ,
    opt=raises("WEBHOOK_ENDPOINT_NOT_FOUND"),
)
async def get_endpoint(endpoint_id: FromPath[UUID], actor: CurrentActor, webhooks: Webhooks) -> Endpoint:
    """How it does: whether it is disabled and why, and for how long it has been failing."""
    return await webhooks.endpoint(actor.user_id, endpoint_id)


@patch(
    ENDPOINT,
    operation_id="UpdateWebhookEndpoint",
    summary="Change a webhook endpoint",
    tags=TAGS,
    guards=WRITE,
    opt=raises("WEBHOOK_ENDPOINT_NOT_FOUND", "WEBHOOK_URL_REFUSED", "INVALID_REQUEST"),
)
async def update_endpoint(
    endpoint_id: FromPath[UUID], data: JSONBody[EndpointPatch], actor: CurrentActor, webhooks: Webhooks, info: Info
) -> Endpoint:
    """Changes the fields that are sent. Enabled again, it gets what came while it was disabled, up to a week back."""
    _check_url(data.url, info)
    return await webhooks.update(actor.user_id, endpoint_id, data, info)


@delete(
    ENDPOINT,
    operation_id="DeleteWebhookEndpoint",
    summary="Delete a webhook endpoint",
    tags=TAGS,
    guards=WRITE,
    opt=raises("WEBHOOK_ENDPOINT_NOT_FOUND"),
)
async def delete_endpoint(endpoint_id: FromPath[UUID], actor: CurrentActor, webhooks: Webhooks, info: Info) -> None:
    """With all that was to be sent there."""
    await webhooks.delete(actor.user_id, endpoint_id, info)


@post(
    f"{ENDPOINT}/rotate",
    operation_id="RotateWebhookSecret",
    summary="Replace a webhook endpoint's secret",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises("WEBHOOK_ENDPOINT_NOT_FOUND", "CONFIGURATION_ERROR"),
)
async def rotate_secret(endpoint_id: FromPath[UUID], actor: CurrentActor, webhooks: Webhooks, info: Info) -> NewSecret:
    """Until ``old_secrets_until`` deliveries are signed with both."""
    return await webhooks.rotate(actor.user_id, endpoint_id, info)


@post(
    f"{ENDPOINT}/test",
    operation_id="TestWebhookEndpoint",
    summary="Send a test event",
    tags=TAGS,
    guards=WRITE,
    opt=raises("WEBHOOK_ENDPOINT_NOT_FOUND", "WEBHOOK_ENDPOINT_DISABLED"),
)
async def test_endpoint(endpoint_id: FromPath[UUID], actor: CurrentActor, webhooks: Webhooks) -> Delivery:
    """``webhook.test``, whatever types the endpoint wants. It is tried once; see what became of it."""
    return await webhooks.test(actor.user_id, endpoint_id)


@get(
    f"{ENDPOINT}/deliveries",
    operation_id="ListWebhookDeliveries",
    summary="What was sent to a webhook endpoint",
    tags=TAGS,
    guards=READ,
    opt=raises("WEBHOOK_ENDPOINT_NOT_FOUND"),
)
async def list_deliveries(
    endpoint_id: FromPath[UUID],
    actor: CurrentActor,
    webhooks: Webhooks,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: Annotated[DeliveryStatus | None, QueryParameter(description="Only these; dead ones are given up.")] = None,
) -> Page[Delivery]:
    """Newest first."""
    before = decode_cursor(cursor, UUID)
    rows = await webhooks.deliveries(actor.user_id, endpoint_id, status, before, limit + 1)
    return page_of(rows, limit, lambda delivery: delivery.delivery_id)


@get(
    "/webhook-deliveries/{delivery_id:uuid}",
    operation_id="GetWebhookDelivery",
    summary="A webhook delivery",
    tags=TAGS,
    guards=READ,
    opt=raises("WEBHOOK_DELIVERY_NOT_FOUND"),
)
async def get_delivery(delivery_id: FromPath[UUID], actor: CurrentActor, webhooks: Webhooks) -> DeliveryDetails:
    """With its attempts and what the receiver answered."""
    return await webhooks.delivery(actor.user_id, delivery_id)


@post(
    "/webhook-deliveries/{delivery_id:uuid}/replay",
    operation_id="ReplayWebhookDelivery",
    summary="Send a webhook delivery again",
    status_code=200,
    tags=TAGS,
    guards=WRITE,
    opt=raises("WEBHOOK_DELIVERY_NOT_FOUND", "WEBHOOK_ENDPOINT_NOT_FOUND", "WEBHOOK_ENDPOINT_DISABLED"),
)
async def replay_delivery(delivery_id: FromPath[UUID], actor: CurrentActor, webhooks: Webhooks) -> Delivery:
    """At once, with the same webhook-id and the whole schedule before it again. On its way just now: as it is."""
    return await webhooks.replay(actor.user_id, delivery_id)


webhooks_router = Router(
    path="/api/v1",
    dependencies={"webhooks": inject(WebhookQueries), "info": provide_info},
    request_max_body_size=MONEY_BODY_LIMIT,
    route_handlers=[
        list_endpoints,
        create_endpoint,
        get_endpoint,
        update_endpoint,
        delete_endpoint,
        rotate_secret,
        test_endpoint,
        list_deliveries,
        get_delivery,
        replay_delivery,
    ],
)
