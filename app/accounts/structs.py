"""What the routes of accounts take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.core.auth import Role

Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$",
        examples=["ada@example.com"],
    ),
]
Username = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{1,31}$", description="Kept in lower case.", examples=["ada"])
]
DisplayName = Annotated[
    str,
    Meta(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$", examples=["Ada"]),
]
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
Price = Annotated[int, Meta(ge=1, le=1_000_000_000, description="Tokens.")]
Text1000 = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*$", examples=["Sings on Sundays."])]
Status = Literal["active", "suspended"]


class Input(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A body; unknown fields are refused."""


class RegisterRequest(Input):
    email: Email
    username: Username
    password: Annotated[Password, Meta(description="At least 10 characters, at most 1024 bytes, not a common one.")]
    display_name: DisplayName | None = None


class LoginRequest(Input):
    email: Annotated[str, Meta(max_length=254)]
    password: Password


Code = Annotated[str, Meta(pattern=r"^[0-9]{6}$", description="Of an authenticator app.", examples=["287082"])]


class Proof(Input):
    """That it is you: the password, or the code of an authenticator app where one is enrolled."""

    password: Password | None = None
    code: Code | None = None


class CodeRequest(Input):
    """A code of an authenticator app that is being enrolled."""

    code: Code


class Enrolment(msgspec.Struct, kw_only=True):
    """A secret for an authenticator app, shown once: as text, and as the URI that a QR code holds."""

    secret: str
    uri: str


class SecondFactor(msgspec.Struct, kw_only=True):
    """Whether codes of an authenticator app are asked for."""

    enrolled: bool


class RefreshRequest(Input):
    refresh_token: Annotated[str, Meta(min_length=1, max_length=256)]


class LogoutRequest(Input):
    refresh_token: Annotated[str, Meta(min_length=1, max_length=256)]
    everywhere: Annotated[bool, Meta(description="End all sessions of the user, not only this one.")] = False


class CreatorRequest(Input):
    """What a creator asks for. Sent again, it replaces what was set."""

    rate_per_minute: Annotated[Price, Meta(description="Price of a minute of a call, in tokens.")]
    ticket_price: Annotated[Price | None, Meta(description="Usual price of a ticket to a stream, in tokens.")] = None
    bio: Text1000 = ""
    accepts_calls: Annotated[bool, Meta(description="Whether fans may call now.")] = True


class ProfilePatch(Input):
    """Only the fields that are sent change."""

    display_name: DisplayName | UnsetType = UNSET
    username: Username | UnsetType = UNSET


class Creator(msgspec.Struct):
    """What a creator asks for, in tokens."""

    rate_per_minute: int
    ticket_price: int | None
    bio: str
    accepts_calls: bool


class Profile(msgspec.Struct, kw_only=True):
    """A user, as they see themselves."""

    id: UUID
    email: str
    username: str
    display_name: str
    roles: list[str]
    status: str
    created_at: datetime
    creator: Creator | None = None


class Tokens(msgspec.Struct, kw_only=True):
    """A session: show ``access_token`` on each request; use ``refresh_token`` once, for the next pair."""

    access_token: str
    refresh_token: str
    user: Profile
    expires_in: Annotated[int, Meta(description="Seconds until the access token expires.")]
    token_type: Literal["Bearer"] = "Bearer"


class KeyRequest(Input):
    name: DisplayName
    scopes: Annotated[list[str], Meta(min_length=1, max_length=100)]
    expires_at: datetime | None = None
    rate_limit_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class RotateRequest(Input):
    """How long the key before stays good, so that its users can change over."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=7 * 86400)] = 0


class ApiKey(msgspec.Struct, kw_only=True):
    """An API key, without the key itself."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    rotated_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    rate_limit_per_minute: int | None


class NewApiKey(msgspec.Struct, kw_only=True):
    """A key that was just made. ``key`` is never shown again."""

    key: str
    api_key: ApiKey


class ApiKeys(msgspec.Struct):
    """All keys of the caller (at most 50), newest first."""

    items: list[ApiKey]
    next_cursor: None = None


class AdminUser(msgspec.Struct, kw_only=True):
    """A user, as an admin sees them."""

    id: UUID
    email: str
    username: str
    display_name: str
    roles: list[str]
    status: str
    created_at: datetime
    updated_at: datetime


class UserPatch(Input):
    """Only the fields that are sent change. ``status: active`` lifts a suspension."""

    display_name: DisplayName | UnsetType = UNSET
    username: Username | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    status: Status | UnsetType = UNSET


class SuspendRequest(Input):
    reason: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*$", examples=["Spam."])]


class RolesRequest(Input):
    """The roles the user has from now on; those not named are taken away."""

    roles: Annotated[list[Role], Meta(max_length=5)]
