"""The routes of accounts."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Router
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from app.accounts.admin import UserAdmin
from app.accounts.keys import ApiKeyService
from app.accounts.queries import AccountQueries
from app.accounts.service import Accounts
from app.accounts.stepup import StepUp
from app.accounts.structs import (
    AdminUser,
    ApiKeys,
    CodeRequest,
    CreatorRequest,
    Enrolment,
    KeyRequest,
    LoginRequest,
    LogoutRequest,
    NewApiKey,
    Profile,
    ProfilePatch,
    Proof,
    RefreshRequest,
    RegisterRequest,
    RolesRequest,
    RotateRequest,
    SecondFactor,
    Status,
    SuspendRequest,
    Tokens,
    UserPatch,
)
from app.core.auth import STEP_UP, CurrentActor, Role, requires
from app.core.context import RequestInfo, inject, provide_info
from app.core.openapi import raises
from app.core.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from app.core.routing import delete, get, patch, post

AUTH = ["auth"]
PROFILE = ["profile"]
KEYS = ["api keys"]
ADMIN = ["admin"]


@post(
    "/auth/register",
    operation_id="Register",
    summary="Make an account",
    tags=AUTH,
    opt=raises("WEAK_PASSWORD", "INVALID_REQUEST", "EMAIL_TAKEN", "USERNAME_TAKEN", "RATE_LIMITED", "SERVER_BUSY"),
)
async def register(
    data: JSONBody[RegisterRequest], accounts: NamedDependency[Accounts], info: NamedDependency[RequestInfo]
) -> Tokens:
    """Makes an account with its wallets, and signs it in."""
    return await accounts.register(data, info)


@post(
    "/auth/login",
    operation_id="Login",
    summary="Sign in",
    status_code=200,
    tags=AUTH,
    opt=raises("INVALID_CREDENTIALS", "USER_SUSPENDED", "TOO_MANY_ATTEMPTS", "RATE_LIMITED", "SERVER_BUSY"),
)
async def login(
    data: JSONBody[LoginRequest], accounts: NamedDependency[Accounts], info: NamedDependency[RequestInfo]
) -> Tokens:
    """An access token for 15 minutes at most, and a refresh token for the next one.

    After 5 attempts that failed within 15 minutes from one address, that address must wait for this account; others
    (the owner, elsewhere) need not.
    """
    return await accounts.login(data, info)


@post(
    "/auth/refresh",
    operation_id="Refresh",
    summary="Get the next pair of tokens",
    status_code=200,
    tags=AUTH,
    opt=raises("INVALID_TOKEN", "REFRESH_TOKEN_REUSED", "USER_SUSPENDED", "RATE_LIMITED"),
)
async def refresh(
    data: JSONBody[RefreshRequest], accounts: NamedDependency[Accounts], info: NamedDependency[RequestInfo]
) -> Tokens:
    """Each refresh token is good once. If the answer was lost, the same token gives the same answer for 30 seconds;
    used later, it ends the session for everybody who holds a token of it."""
    return await accounts.refresh(data.refresh_token, info)


@post("/auth/logout", operation_id="Logout", summary="Sign out", status_code=204, tags=AUTH)
async def logout(data: JSONBody[LogoutRequest], accounts: NamedDependency[Accounts]) -> None:
    """Ends the session of the refresh token, access tokens included, at once. Also 204 when there is none."""
    await accounts.logout(data)


@get(
    "/auth/totp",
    operation_id="GetSecondFactor",
    summary="Is an authenticator app enrolled?",
    tags=AUTH,
    guards=[requires(session=True)],
)
async def get_totp(actor: CurrentActor, step_up: NamedDependency[StepUp]) -> SecondFactor:
    """Where one is, its codes are asked for instead of the password."""
    return await step_up.second_factor(actor.user_id)


@post(
    "/auth/totp",
    operation_id="EnrolSecondFactor",
    summary="Enrol an authenticator app",
    tags=AUTH,
    guards=[requires(session=True)],
    opt=raises(*STEP_UP, "TOTP_ENROLLED"),
)
async def enrol_totp(
    data: JSONBody[Proof], actor: CurrentActor, step_up: NamedDependency[StepUp], info: NamedDependency[RequestInfo]
) -> Enrolment:
    """A secret for the app, shown once. Nothing is asked of it until a first code was right."""
    return await step_up.enrol(actor.user_id, data, info)


@post(
    "/auth/totp/confirm",
    operation_id="ConfirmSecondFactor",
    summary="Send the first code of an authenticator app",
    status_code=200,
    tags=AUTH,
    guards=[requires(session=True)],
    opt=raises(*STEP_UP, "TOTP_ENROLLED", "TOTP_NOT_ENROLLED"),
)
async def confirm_totp(
    data: JSONBody[CodeRequest],
    actor: CurrentActor,
    step_up: NamedDependency[StepUp],
    info: NamedDependency[RequestInfo],
) -> SecondFactor:
    """From now on codes are asked for, each good once."""
    return await step_up.complete(actor.user_id, data.code, info)


@post(
    "/auth/totp/disable",
    operation_id="DisableSecondFactor",
    summary="Do without the authenticator app",
    status_code=200,
    tags=AUTH,
    guards=[requires(session=True)],
    opt=raises(*STEP_UP, "TOTP_NOT_ENROLLED"),
)
async def disable_totp(
    data: JSONBody[Proof], actor: CurrentActor, step_up: NamedDependency[StepUp], info: NamedDependency[RequestInfo]
) -> SecondFactor:
    """With a code of it. From then on the password does."""
    return await step_up.disable(actor.user_id, data, info)


@get(
    "/dashboard/profile",
    operation_id="GetProfile",
    summary="Who am I?",
    tags=PROFILE,
    guards=[requires("profile:read")],
)
async def get_profile(actor: CurrentActor, accounts_read: NamedDependency[AccountQueries]) -> Profile:
    """The caller's account."""
    return await accounts_read.profile(actor.user_id)


@patch(
    "/dashboard/profile",
    operation_id="UpdateProfile",
    summary="Change my profile",
    tags=PROFILE,
    guards=[requires("profile:write")],
    opt=raises("USERNAME_TAKEN"),
)
async def update_profile(
    data: JSONBody[ProfilePatch], actor: CurrentActor, accounts_read: NamedDependency[AccountQueries]
) -> Profile:
    """Changes the fields that are sent."""
    changes: dict[str, Any] = {}
    if data.display_name is not UNSET:
        changes["display_name"] = data.display_name.strip()
    if data.username is not UNSET:
        changes["username"] = data.username.lower()
    async with accounts_read.db.transaction() as connection:
        await accounts_read.update_user(connection, actor.user_id, changes)
        return await accounts_read.profile(actor.user_id, connection)


@post(
    "/dashboard/profile/creator",
    operation_id="BecomeCreator",
    summary="Become a creator, or change my prices",
    status_code=200,
    tags=PROFILE,
    guards=[requires("profile:write")],
)
async def become_creator(
    data: JSONBody[CreatorRequest],
    actor: CurrentActor,
    accounts: NamedDependency[Accounts],
    info: NamedDependency[RequestInfo],
) -> Profile:
    """Gives the caller the role ``creator`` and sets what they ask for."""
    return await accounts.become_creator(actor, data, info)


@get("/api-keys", operation_id="ListApiKeys", summary="My API keys", tags=KEYS, guards=[requires(session=True)])
async def list_api_keys(actor: CurrentActor, api_keys: NamedDependency[ApiKeyService]) -> ApiKeys:
    """The caller's keys, newest first, without their secrets."""
    return ApiKeys(await api_keys.list_keys(actor))


@post(
    "/api-keys",
    operation_id="CreateApiKey",
    summary="Make an API key",
    tags=KEYS,
    guards=[requires(session=True)],
    opt=raises("UNKNOWN_SCOPE", "TOO_MANY_API_KEYS"),
)
async def create_api_key(
    data: JSONBody[KeyRequest],
    actor: CurrentActor,
    api_keys: NamedDependency[ApiKeyService],
    info: NamedDependency[RequestInfo],
) -> NewApiKey:
    """The key is in this answer and nowhere else: only its hash is kept."""
    return await api_keys.create(actor, data, info)


@post(
    "/api-keys/{key_id:uuid}/rotate",
    operation_id="RotateApiKey",
    summary="Replace an API key",
    status_code=200,
    tags=KEYS,
    guards=[requires(session=True)],
    opt=raises("API_KEY_NOT_FOUND"),
)
async def rotate_api_key(
    key_id: FromPath[UUID],
    data: JSONBody[RotateRequest],
    actor: CurrentActor,
    api_keys: NamedDependency[ApiKeyService],
    info: NamedDependency[RequestInfo],
) -> NewApiKey:
    """A new key with the same rights; the one before stays good for ``overlap_seconds``."""
    return await api_keys.rotate(actor, key_id, data.overlap_seconds, info)


@delete(
    "/api-keys/{key_id:uuid}",
    operation_id="DeleteApiKey",
    summary="Delete an API key",
    tags=KEYS,
    guards=[requires(session=True)],
    opt=raises("API_KEY_NOT_FOUND"),
)
async def delete_api_key(
    key_id: FromPath[UUID],
    actor: CurrentActor,
    api_keys: NamedDependency[ApiKeyService],
    info: NamedDependency[RequestInfo],
) -> None:
    """The key is refused from now on."""
    await api_keys.delete(actor, key_id, info)


@get("/admin/users", operation_id="ListUsers", summary="Users", tags=ADMIN, guards=[requires("admin", role="admin")])
async def list_users(
    accounts_read: NamedDependency[AccountQueries],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    status: Annotated[Status | None, QueryParameter(description="Only these.")] = None,
    role: Annotated[Role | None, QueryParameter(description="Only who has this role.")] = None,
    search: Annotated[
        str | None, QueryParameter(max_length=254, description="Start of an email address or username.")
    ] = None,
) -> Page[AdminUser]:
    """All users, newest first."""
    before = decode_cursor(cursor, UUID)
    rows = await accounts_read.admin_users(limit + 1, before, status, role, search)
    return page_of(rows, limit, lambda user: user.id)


@get(
    "/admin/users/{user_id:uuid}",
    operation_id="GetUser",
    summary="A user",
    tags=ADMIN,
    guards=[requires("admin", role="admin")],
    opt=raises("USER_NOT_FOUND"),
)
async def get_user(user_id: FromPath[UUID], accounts_read: NamedDependency[AccountQueries]) -> AdminUser:
    """One user."""
    return await accounts_read.admin_user(user_id)


@patch(
    "/admin/users/{user_id:uuid}",
    operation_id="UpdateUser",
    summary="Change a user",
    tags=ADMIN,
    guards=[requires("admin", role="admin")],
    opt=raises("USER_NOT_FOUND", "EMAIL_TAKEN", "USERNAME_TAKEN", "OWN_RIGHTS"),
)
async def update_user(
    user_id: FromPath[UUID],
    data: JSONBody[UserPatch],
    actor: CurrentActor,
    user_admin: NamedDependency[UserAdmin],
    info: NamedDependency[RequestInfo],
) -> AdminUser:
    """Changes the fields that are sent; ``status: active`` lifts a suspension."""
    return await user_admin.patch(actor, user_id, data, info)


@post(
    "/admin/users/{user_id:uuid}/suspend",
    operation_id="SuspendUser",
    summary="Suspend a user",
    status_code=200,
    tags=ADMIN,
    guards=[requires("admin", role="admin")],
    opt=raises("USER_NOT_FOUND", "OWN_RIGHTS"),
)
async def suspend_user(
    user_id: FromPath[UUID],
    data: JSONBody[SuspendRequest],
    actor: CurrentActor,
    user_admin: NamedDependency[UserAdmin],
    info: NamedDependency[RequestInfo],
) -> AdminUser:
    """Ends the user's sessions and refuses their tokens and keys, at once and everywhere."""
    return await user_admin.suspend(actor, user_id, data.reason, info)


@post(
    "/admin/users/{user_id:uuid}/roles",
    operation_id="SetRoles",
    summary="Set a user's roles",
    status_code=200,
    tags=ADMIN,
    guards=[requires("admin", role="admin")],
    opt=raises("USER_NOT_FOUND", "OWN_RIGHTS"),
)
async def set_roles(
    user_id: FromPath[UUID],
    data: JSONBody[RolesRequest],
    actor: CurrentActor,
    user_admin: NamedDependency[UserAdmin],
    info: NamedDependency[RequestInfo],
) -> AdminUser:
    """The roles take effect with the user's next request."""
    return await user_admin.set_roles(actor, user_id, list(data.roles), info)


accounts_router = Router(
    path="/api/v1",
    dependencies={
        "accounts": inject(Accounts),
        "accounts_read": inject(AccountQueries),
        "api_keys": inject(ApiKeyService),
        "user_admin": inject(UserAdmin),
        "step_up": inject(StepUp),
        "info": provide_info,
    },
    route_handlers=[
        register,
        login,
        refresh,
        logout,
        get_totp,
        enrol_totp,
        confirm_totp,
        disable_totp,
        get_profile,
        update_profile,
        become_creator,
        list_api_keys,
        create_api_key,
        rotate_api_key,
        delete_api_key,
        list_users,
        get_user,
        update_user,
        suspend_user,
        set_roles,
    ],
)
