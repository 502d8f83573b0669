"""What can go wrong, told once: the tree of errors, the table of slugs, and how they become answers.

Everything that a caller of this service may have to handle is a ``TesseraError``::

    TesseraError
     ├── InvalidRequest      TS1xx  400, 405, 406, 413, 415, 422   the request can never work as it is
     ├── NotAuthenticated           401                            who are you?
     ├── InsufficientFunds   TS4xx  402                            not enough to spend
     ├── NotAllowed          TS5xx  403                            we know you, and no
     ├── NotFound            TS2xx  404                            it is not there (or not yours)
     ├── Conflict            TS3xx  409                            what is there already stands against it
     ├── LimitReached        TS6xx  429                            too much, too soon: wait ``Retry-After`` seconds
     ├── InvariantViolated   TS9xx  500                            the books would not balance; nothing was written
     ├── InternalError              500                            a fault of ours; the log has it under the request id
     ├── ConfigurationError  TS8xx  503                            an operator must set something first
     └── Unavailable                503                            the database is away or busy: wait ``Retry-After``

A slug (``INSUFFICIENT_TOKENS``) names one reason and never changes its meaning. ``ERRORS`` below is the only place
that says which slug belongs to which SQLSTATE, HTTP status and title; docs/errors.md tells the same to API clients
and a test compares them. SQL functions raise ``ERRCODE 'TSnnn'`` with the slug as message and JSON facts as detail;
``translate`` turns them, and whatever else the database driver may raise, into the tree. ``error(slug, …)`` makes
one in Python. ``problem`` renders any of them as an RFC 9457 body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:tessera:error:"


class TesseraError(Exception):
    """Base of all errors that callers may handle. ``slug`` is the reason, ``members`` the facts in numbers."""

    __slots__ = ("spec", "detail", "members", "retry_after", "headers")

    def __init__(
        self,
        spec: ErrorSpec,
        detail: str | None = None,
        members: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(spec.slug if detail is None else f"{spec.slug}: {detail}")
        self.spec = spec
        self.detail = detail
        self.members = dict(members or {})
        self.retry_after = spec.retry_after if retry_after is None else retry_after
        self.headers = dict(headers or {})

    @property
    def slug(self) -> str:
        return self.spec.slug

    @property
    def status(self) -> int:
        return self.spec.status


class InvalidRequest(TesseraError):
    """The request can never work as it is."""


class NotAuthenticated(TesseraError):
    """No valid proof of who asks."""


class InsufficientFunds(TesseraError):
    """Not enough to spend; members ``required``, ``current``, ``shortfall``."""


class NotAllowed(TesseraError):
    """The caller is known and may not do this."""


class NotFound(TesseraError):
    """It is not there, or not the caller's to see."""


class Conflict(TesseraError):
    """What is there already stands against it."""


class LimitReached(TesseraError):
    """Too much, too soon."""


class ConfigurationError(TesseraError):
    """Something that only an operator can set is missing."""


class InvariantViolated(TesseraError):
    """A rule of the ledger would break; nothing was written."""


class InternalError(TesseraError):
    """A fault of this service."""


class Unavailable(TesseraError):
    """The database is away or busy; the same request may work later."""


_BY_STATUS: dict[int, type[TesseraError]] = {
    401: NotAuthenticated,
    402: InsufficientFunds,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: LimitReached,
    500: InternalError,
    503: Unavailable,
}
_BY_CLASS: dict[str, tuple[int, type[TesseraError]]] = {
    "TS1": (422, InvalidRequest),
    "TS2": (404, NotFound),
    "TS3": (409, Conflict),
    "TS4": (402, InsufficientFunds),
    "TS5": (403, NotAllowed),
    "TS6": (429, LimitReached),
    "TS8": (503, ConfigurationError),
    "TS9": (500, InvariantViolated),
}


class ErrorSpec(msgspec.Struct, frozen=True):
    """One reason: its slug, HTTP status, title, SQLSTATE when SQL raises it, and seconds to wait if that helps."""

    slug: str
    status: int
    title: str
    sqlstate: str | None = None
    retry_after: int | None = None

    @property
    def cls(self) -> type[TesseraError]:
        if self.sqlstate is not None:
            return _BY_CLASS[self.sqlstate[:3]][1]
        return _BY_STATUS.get(self.status, InvalidRequest)


_SPECS = (
    # SQL: TS1xx the request is invalid
    ErrorSpec("INVALID_REQUEST", 422, "The request is invalid", "TS101"),
    ErrorSpec("INVALID_AMOUNT", 422, "The amount is not a positive whole number in range", "TS102"),
    ErrorSpec("ASSET_MISMATCH", 422, "The wallets hold different assets", "TS103"),
    ErrorSpec("SELF_TRANSFER", 422, "Nobody can pay themselves", "TS104"),
    ErrorSpec("METADATA_TOO_LARGE", 422, "The metadata is too large", "TS105"),
    ErrorSpec("IDEMPOTENCY_KEY_INVALID", 422, "Idempotency-Key must be 1 to 255 visible ASCII characters", "TS106"),
    ErrorSpec("BATCH_TOO_LARGE", 422, "Too many items in one batch", "TS107"),
    ErrorSpec("MESSAGE_TOO_LONG", 422, "The message is too long", "TS108"),
    ErrorSpec("INVALID_KIND", 422, "The kind of transfer is not a valid name", "TS109"),
    ErrorSpec("SELF_REFERRAL", 422, "Nobody can refer themselves", "TS110"),
    ErrorSpec("OWN_STREAM", 422, "Nobody buys a ticket of their own stream", "TS111"),
    ErrorSpec("SELF_BAN", 422, "Nobody bans themselves", "TS112"),
    ErrorSpec("SELF_CALL", 422, "Nobody calls themselves", "TS113"),
    ErrorSpec("INVALID_CHANNEL", 422, "There is no channel of this name", "TS120"),
    # SQL: TS2xx something is not there
    ErrorSpec("WALLET_NOT_FOUND", 404, "There is no such wallet", "TS210"),
    ErrorSpec("USER_NOT_FOUND", 404, "There is no such user", "TS211"),
    ErrorSpec("CREATOR_NOT_FOUND", 404, "There is no such creator", "TS212"),
    ErrorSpec("ASSET_NOT_FOUND", 404, "There is no such asset", "TS213"),
    ErrorSpec("TRANSFER_NOT_FOUND", 404, "There is no such transfer", "TS214"),
    ErrorSpec("HOLD_NOT_FOUND", 404, "There is no such hold", "TS215"),
    ErrorSpec("RATE_NOT_FOUND", 404, "There is no such rate", "TS216"),
    ErrorSpec("ADJUSTMENT_NOT_FOUND", 404, "There is no such adjustment", "TS217"),
    ErrorSpec("HISTORY_DETACHED", 404, "The history of that time is kept elsewhere", "TS240"),
    ErrorSpec("STREAM_NOT_FOUND", 404, "There is no such stream", "TS218"),
    ErrorSpec("CALL_NOT_FOUND", 404, "There is no such call", "TS219"),
    ErrorSpec("MESSAGE_NOT_FOUND", 404, "There is no such message", "TS225"),
    ErrorSpec("WEBHOOK_ENDPOINT_NOT_FOUND", 404, "There is no such webhook endpoint", "TS241"),
    ErrorSpec("WEBHOOK_DELIVERY_NOT_FOUND", 404, "There is no such webhook delivery", "TS242"),
    # SQL: TS3xx conflict with what is there
    ErrorSpec("IDEMPOTENCY_KEY_REUSED", 409, "This Idempotency-Key was used for another request", "TS301"),
    ErrorSpec("WALLET_FROZEN", 409, "The wallet is frozen", "TS310"),
    ErrorSpec("WALLET_CLOSED", 409, "The wallet is closed", "TS311"),
    ErrorSpec("EMAIL_TAKEN", 409, "An account with this email address exists", "TS312"),
    ErrorSpec("USERNAME_TAKEN", 409, "The username is taken", "TS313"),
    ErrorSpec("BALANCE_LIMIT", 409, "The balance would leave the range of the ledger", "TS314"),
    ErrorSpec("REFUND_EXCEEDED", 409, "No more than the transfer can be refunded", "TS315"),
    ErrorSpec("HOLD_CLOSED", 409, "The hold is closed or has expired", "TS316"),
    ErrorSpec("HOLD_EXCEEDED", 409, "The hold has less left", "TS317"),
    ErrorSpec("NOT_REFUNDABLE", 409, "This transfer cannot be refunded", "TS318"),
    ErrorSpec("RATE_EXISTS", 409, "The rate has another value from that moment on", "TS319"),
    ErrorSpec("REFERRER_SET", 409, "The user has a referrer, and that never changes", "TS320"),
    ErrorSpec("REFERRAL_CIRCLE", 409, "The referrer was referred by the user, directly or not", "TS321"),
    ErrorSpec("ADJUSTMENT_CLOSED", 409, "The adjustment is decided or has expired", "TS322"),
    ErrorSpec("WALLET_NOT_EMPTY", 409, "The wallet is not empty", "TS323"),
    ErrorSpec("ASSET_EXISTS", 409, "There is such an asset", "TS324"),
    ErrorSpec("TICKET_ALREADY_PURCHASED", 409, "You have a ticket of this stream", "TS325"),
    ErrorSpec("SOLD_OUT", 409, "There are no seats left", "TS326"),
    ErrorSpec("SALES_CLOSED", 409, "No tickets are sold for this stream now", "TS327"),
    ErrorSpec("STREAM_ENDED", 409, "The stream has ended", "TS328"),
    ErrorSpec("CHANNEL_TAKEN", 409, "The channel name is taken", "TS329"),
    ErrorSpec("STREAM_NOT_LIVE", 409, "The stream is not live", "TS330"),
    ErrorSpec("SEATS_SOLD", 409, "More tickets than that are sold", "TS331"),
    ErrorSpec("CALL_IN_PROGRESS", 409, "You are in a call", "TS332"),
    ErrorSpec("CREATOR_BUSY", 409, "The creator is in a call", "TS333"),
    ErrorSpec("CALLS_NOT_ACCEPTED", 409, "The creator does not accept calls now", "TS334"),
    ErrorSpec("CALL_ENDED", 409, "The call is over", "TS335"),
    ErrorSpec("CALL_NOT_RINGING", 409, "The call does not ring any more", "TS336"),
    ErrorSpec("CALL_NOT_ACTIVE", 409, "The call has not been accepted", "TS337"),
    ErrorSpec("POSITION_LOST", 409, "What follows this position is not kept any more", "TS345"),
    ErrorSpec("EVENTS_NEEDED", 409, "Events of these months are still needed", "TS346"),
    ErrorSpec("TOO_MANY_WEBHOOK_ENDPOINTS", 409, "The user has as many webhook endpoints as allowed", "TS347"),
    ErrorSpec("WEBHOOK_ENDPOINT_DISABLED", 409, "The webhook endpoint is disabled", "TS348"),
    # SQL: TS4xx to TS9xx
    ErrorSpec("INSUFFICIENT_TOKENS", 402, "Not enough tokens", "TS401"),
    ErrorSpec("NOT_WALLET_OWNER", 403, "The wallet belongs to somebody else", "TS501"),
    ErrorSpec("USER_SUSPENDED", 403, "The account is suspended", "TS502"),
    ErrorSpec("SAME_PERSON", 403, "Somebody else has to approve it", "TS503"),
    ErrorSpec("FORBIDDEN", 403, "Your role does not allow this", "TS504"),
    ErrorSpec("NOT_STREAM_OWNER", 403, "The stream is somebody else's", "TS505"),
    ErrorSpec("NO_ACCESS_TO_STREAM", 403, "The stream is for who has a ticket", "TS506"),
    ErrorSpec("BANNED", 403, "The creator has banned you", "TS507"),
    ErrorSpec("NOT_CALL_PARTICIPANT", 403, "The call is other people's", "TS508"),
    ErrorSpec("NOT_THE_CALLED", 403, "Only the creator who is called may answer", "TS509"),
    ErrorSpec("VELOCITY_LIMIT", 429, "The wallet has paid as much, or as often, as it may for now", "TS601"),
    ErrorSpec("TOO_MANY_ATTEMPTS", 429, "Too many attempts", "TS602"),
    ErrorSpec("CHAT_LIMIT", 429, "You have posted as often as you may for now", "TS604"),
    ErrorSpec("CALL_COOLDOWN", 429, "This creator cannot be called again so soon", "TS605"),
    ErrorSpec("CONFIGURATION_ERROR", 503, "The service lacks configuration", "TS801"),
    ErrorSpec("LEDGER_IMMUTABLE", 500, "Ledger history cannot be changed", "TS901"),
    ErrorSpec("INVARIANT_VIOLATED", 500, "A rule of the ledger would break", "TS902"),
    # HTTP only
    ErrorSpec("BAD_REQUEST", 400, "The request could not be read"),
    ErrorSpec("MALFORMED_JSON", 400, "The body is not well-formed"),
    ErrorSpec("IDEMPOTENCY_KEY_REQUIRED", 400, "This route needs an Idempotency-Key header"),
    ErrorSpec("NOT_AUTHENTICATED", 401, "Sign in first"),
    ErrorSpec("INVALID_TOKEN", 401, "The token or key is not valid"),
    ErrorSpec("TOKEN_EXPIRED", 401, "The token or key has expired"),
    ErrorSpec("INVALID_TICKET", 401, "The ticket is not valid, was used, or is too old"),
    ErrorSpec("INVALID_CREDENTIALS", 401, "Email address or password is wrong"),
    ErrorSpec("LIVEKIT_SIGNATURE_INVALID", 401, "LiveKit's signature is not valid"),
    ErrorSpec("REFRESH_TOKEN_REUSED", 401, "The refresh token had been used before; the session is revoked"),
    ErrorSpec("INSUFFICIENT_SCOPE", 403, "The key lacks a scope"),
    ErrorSpec("METER_SECRET_INVALID", 403, "The metering secret is missing or wrong"),
    ErrorSpec("ORIGIN_NOT_ALLOWED", 403, "Pages of this origin may not open a WebSocket here"),
    ErrorSpec("NOT_FOUND", 404, "There is nothing here"),
    ErrorSpec("METHOD_NOT_ALLOWED", 405, "This method is not supported here"),
    ErrorSpec("NOT_ACCEPTABLE", 406, "None of the accepted media types can be served"),
    ErrorSpec("PAYLOAD_TOO_LARGE", 413, "The body is too large"),
    ErrorSpec("UNSUPPORTED_MEDIA_TYPE", 415, "The body must be JSON or MessagePack"),
    ErrorSpec("UPGRADE_REQUIRED", 426, "This is a WebSocket"),
    ErrorSpec("VALIDATION_ERROR", 422, "The request does not fit the schema"),
    ErrorSpec("WEAK_PASSWORD", 422, "The password is too easy to guess"),
    ErrorSpec("WEBHOOK_URL_REFUSED", 422, "Webhooks cannot be sent to this URL"),
    ErrorSpec("UNKNOWN_SCOPE", 422, "There is no such scope"),
    ErrorSpec("API_KEY_NOT_FOUND", 404, "There is no such API key"),
    ErrorSpec("TOO_MANY_API_KEYS", 409, "The user has as many API keys as allowed"),
    ErrorSpec("NOT_SUBSCRIBED", 409, "The socket does not follow this channel"),
    ErrorSpec("TOO_MANY_SUBSCRIPTIONS", 409, "The socket follows as many channels as it may"),
    ErrorSpec("CALL_NOT_OVER", 409, "The call is not over, or was never answered"),
    ErrorSpec("OWN_RIGHTS", 409, "Nobody may suspend themselves or change their own roles"),
    ErrorSpec(
        "TRANSACTION_CONFLICT", 409, "Another transaction got in the way; send the same request again", retry_after=1
    ),
    ErrorSpec("RATE_LIMITED", 429, "Too many requests", retry_after=1),
    ErrorSpec("TOO_MANY_CONNECTIONS", 429, "Too many WebSockets are open", retry_after=10),
    ErrorSpec("INTERNAL_ERROR", 500, "Something went wrong on our side"),
    ErrorSpec("SERVER_BUSY", 503, "Too much is waiting already", retry_after=2),
    ErrorSpec("REALTIME_UNAVAILABLE", 503, "This server does not speak WebSocket as `tessera api` does"),
    ErrorSpec("LIVEKIT_NOT_CONFIGURED", 503, "LiveKit is not configured"),
    ErrorSpec("DATABASE_BUSY", 503, "The database is busy", retry_after=1),
    ErrorSpec("DATABASE_UNAVAILABLE", 503, "The database is not reachable", retry_after=2),
)

ERRORS: dict[str, ErrorSpec] = {spec.slug: spec for spec in _SPECS}
"""Every slug this service can answer with."""

BY_SQLSTATE: dict[str, ErrorSpec] = {spec.sqlstate: spec for spec in _SPECS if spec.sqlstate is not None}

CONSTRAINTS: dict[str, str] = {
    "idempotency_keys_pkey": "IDEMPOTENCY_KEY_REUSED",  # two requests at once, over different wallets
    "users_email_key": "EMAIL_TAKEN",
    "users_username_key": "USERNAME_TAKEN",
}
"""Names of constraints whose violation is the caller's doing, and the slug that says so."""

_SQLSTATES: dict[str, str] = {
    "40001": "TRANSACTION_CONFLICT",  # serialization failure
    "40P01": "TRANSACTION_CONFLICT",  # deadlock detected
    "55P03": "DATABASE_BUSY",  # lock_timeout
    "57014": "DATABASE_BUSY",  # statement_timeout
    "25006": "DATABASE_UNAVAILABLE",  # read-only: connected to a standby during a failover
    "3D000": "DATABASE_UNAVAILABLE",  # the database does not exist (yet)
    "22021": "VALIDATION_ERROR",  # U+0000 in a text
    "22P05": "VALIDATION_ERROR",  # U+0000 in jsonb
}
_SQLSTATE_CLASSES: dict[str, str] = {
    "08": "DATABASE_UNAVAILABLE",  # connection lost
    "28": "DATABASE_UNAVAILABLE",  # login refused
    "53": "DATABASE_BUSY",  # out of connections, memory, disk
    "57": "DATABASE_UNAVAILABLE",  # shutting down, starting up
    "58": "DATABASE_UNAVAILABLE",  # I/O error of the server
}


def error(slug: str, detail: str | None = None, *, retry_after: int | None = None, **members: Any) -> TesseraError:
    """Make the error of this slug: ``raise error("USER_NOT_FOUND", user_id=user_id)``."""
    spec = ERRORS[slug]
    return spec.cls(spec, detail, members, retry_after)


def from_sql(sqlstate: str, slug: str, facts: Mapping[str, Any] | None, hint: str | None = None) -> TesseraError:
    """The error that a SQL function raised, or returned for one item of a batch (TSnnn, slug, JSON facts)."""
    spec = BY_SQLSTATE.get(sqlstate)
    if spec is None:
        status, _ = _BY_CLASS[sqlstate[:3]]
        spec = ErrorSpec(slug, status, slug.replace("_", " ").capitalize(), sqlstate)
    members = dict(facts or {})
    retry_after = members.get("retry_after")
    return spec.cls(spec, hint, members, retry_after if isinstance(retry_after, int) else None)


def _from_postgres(exc: asyncpg.PostgresError) -> TesseraError | None:
    sqlstate = getattr(exc, "sqlstate", None) or ""
    if sqlstate[:3] in _BY_CLASS:
        return from_sql(sqlstate, str(exc.args[0]), _facts(getattr(exc, "detail", None)), getattr(exc, "hint", None))
    if sqlstate.startswith("23"):
        slug = CONSTRAINTS.get(getattr(exc, "constraint_name", None) or "")
    else:
        slug = _SQLSTATES.get(sqlstate) or _SQLSTATE_CLASSES.get(sqlstate[:2])
    if slug == "VALIDATION_ERROR":
        return error(slug, "A text contains a character that cannot be stored (U+0000).")
    return None if slug is None else error(slug)


def _facts(detail: str | None) -> dict[str, Any]:
    if not detail:
        return {}
    try:
        facts = msgspec.json.decode(detail)
    except msgspec.DecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}


def translate(exc: BaseException) -> TesseraError | None:
    """The error of the tree for what the database driver raised; None when it is not one a caller can handle."""
    if isinstance(exc, TesseraError):
        return exc
    # The driver raises this very class for an argument it cannot send; what the server says has classes below it.
    if type(exc) is asyncpg.exceptions.DataError or (
        isinstance(exc, asyncpg.InterfaceError) and isinstance(exc, ValueError)
    ):
        return error("VALIDATION_ERROR", "A value is out of the range that can be stored.")
    if isinstance(exc, asyncpg.PostgresError):
        return _from_postgres(exc)
    if isinstance(exc, (asyncpg.InterfaceError, OSError, asyncio.TimeoutError)):
        return error("DATABASE_UNAVAILABLE")
    return None


def problem(exc: TesseraError, request_id: str | None) -> dict[str, Any]:
    """RFC 9457 body: the facts are members beside the standard ones, which they cannot overwrite."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + exc.spec.slug,
        "title": exc.spec.title,
        "status": exc.spec.status,
        "error": exc.spec.slug,
    }
    if exc.detail:
        body["detail"] = exc.detail
    if request_id is not None:
        body["request_id"] = request_id
    return body | {name: value for name, value in exc.members.items() if name not in body}


def problem_headers(exc: TesseraError) -> dict[str, str]:
    """Headers that go with an error: ``Retry-After`` and ``WWW-Authenticate`` where they belong."""
    headers = dict(exc.headers)
    if exc.retry_after is not None:
        headers["Retry-After"] = str(exc.retry_after)
    if exc.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers
