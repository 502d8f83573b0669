"""Every setting of Tessera: one frozen struct, read once from the environment and `.env`.

A field `port` is set by `TESSERA_PORT`; the one exception is `database_url`, set by `DATABASE_URL`.
The environment wins over `.env`. An empty value counts as not set. `docs/settings.md` lists them all,
and a test fails on one that is missing there.

    SettingsError               one or more settings are wrong; carries a SettingProblem for each
"""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from dotenv import dotenv_values
from msgspec import Meta

PROJECT_ROOT = Path(__file__).resolve().parent.parent
"""The checkout (or the folder the package is installed in): where `sql/`, `.env` and `.tessera/` are."""

DEFAULT_DOTENV = PROJECT_ROOT / ".env"

Environment = Literal["development", "production"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[int, Meta(ge=0)]

API_TOKEN = "TESSERA_API_TOKEN"
"""Who a command is (`tessera tail`) where it is a client of the API. No setting: the service never reads it."""
MIN_SECRET_LENGTH = 32
MIN_SECRET_VARIETY = 10
"""Fewer different characters than this in a secret means it was typed, not generated."""
WEAK_WORDS = ("changeme", "change-me", "secret", "password", "default", "example", "tessera", "insecure")


class SettingProblem(msgspec.Struct, frozen=True):
    """What is wrong with one setting: its name in the environment, and what to do."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class SettingsError(ValueError):
    """Settings cannot be used; `problems` names each setting that is wrong."""

    def __init__(self, problems: list[SettingProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that are wrong, in the order of the struct."""
        return tuple(problem.name for problem in self.problems)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, with the defaults of a development machine. Times carry their unit in the name."""

    # where it runs
    env: Environment = "development"
    data: Path = PROJECT_ROOT / ".tessera" / "data"
    host: str = "127.0.0.1"
    port: Port = 8000
    public_url: str | None = None
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    shutdown_seconds: Positive = 20

    # the database
    database_url: str | None = None
    migrate_url: str | None = None
    role_prefix: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "tessera"
    pool_min: NonNegative = 2
    pool_max: Annotated[int, Meta(ge=1, le=1000)] = 10
    statement_timeout_ms: NonNegative = 10_000
    lock_timeout_ms: NonNegative = 5_000

    # the embedded server
    pg_bin: Path | None = None
    pg_user: str | None = None
    pg_port: Port = 0

    # logs and metrics
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"
    metrics_token: str | None = None
    scheduler_metrics_port: Port = 0

    # tokens and who may call
    token_secret: str | None = None
    token_key_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,32}$")] = "k1"
    token_old_secrets: tuple[str, ...] = ()
    token_issuer: str = "tessera"
    token_audience: str = "tessera-api"
    token_ttl_seconds: Annotated[int, Meta(ge=30, le=900)] = 900
    refresh_ttl_days: Annotated[int, Meta(ge=1, le=365)] = 30
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    rate_limit_per_minute: Positive = 6_000
    rate_limit_auth_per_minute: Positive = 30

    # realtime
    realtime_per_user: Positive = 20
    realtime_per_address: Positive = 500
    realtime_queue_kb: Annotated[int, Meta(ge=64, le=65_536)] = 1024

    # what calls us
    billing_webhook_secret: str | None = None

    # LiveKit
    livekit_url: str | None = None
    livekit_api_key: str | None = None
    livekit_api_secret: str | None = None
    livekit_token_ttl_seconds: Annotated[int, Meta(ge=30, le=21_600)] = 600

    # money
    batch_enabled: bool = True
    batch_max: Annotated[int, Meta(ge=1, le=1000)] = 500

    @property
    def production(self) -> bool:
        """True where weak secrets and non-durable databases are refused."""
        return self.env == "production"

    @property
    def embedded(self) -> bool:
        """True when no DATABASE_URL is set: the service runs its own PostgreSQL below `data`."""
        return self.database_url is None

    @property
    def token_keys(self) -> dict[str, str]:
        """Key id to secret, for every key whose tokens are accepted; `token_key_id` is the one that signs."""
        keys = dict(item.split("=", 1) for item in self.token_old_secrets)
        if self.token_secret is not None:
            keys[self.token_key_id] = self.token_secret
        return keys

    @property
    def base_url(self) -> str:
        """Where clients reach the service, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def env_name(field: str) -> str:
    """The environment variable that sets a field."""
    return "DATABASE_URL" if field == "database_url" else f"TESSERA_{field.upper()}"


def setting_names() -> tuple[str, ...]:
    """Every environment variable that is a setting, in the order of the struct."""
    return tuple(env_name(field) for field in Settings.__struct_fields__)


def unknown_settings(environ: Mapping[str, str]) -> dict[str, str | None]:
    """`TESSERA_*` names in `environ` that are no setting, each with the nearest one that is."""
    known = (*setting_names(), API_TOKEN)
    strangers = sorted(n for n in environ if n.startswith("TESSERA_") and n not in known)
    return {name: next(iter(difflib.get_close_matches(name, known, n=1)), None) for name in strangers}


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = DEFAULT_DOTENV) -> Settings:
    """Read all settings from `environ` (the process environment by default) over those in `dotenv`.

    Raises SettingsError, naming every setting that is wrong and not only the first.
    """
    raw = _merged(os.environ if environ is None else environ, dotenv)
    types_by_field = typing.get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    problems: list[SettingProblem] = []
    for field in Settings.__struct_fields__:
        name = env_name(field)
        text = raw.get(name, "").strip()
        if not text:
            continue
        try:
            values[field] = _convert(text, types_by_field[field])
        except msgspec.ValidationError as error:
            problems.append(SettingProblem(name, f"{error} (it is {_shown(name, text)})"))
    if problems:
        raise SettingsError(problems)
    settings = Settings(**values)
    problems = _contradictions(settings) + (_production_problems(settings) if settings.production else [])
    if problems:
        raise SettingsError(problems)
    return settings


def secret_weakness(secret: str) -> str | None:
    """Why a secret is too weak for production, or None when it is not."""
    if len(secret) < MIN_SECRET_LENGTH:
        return f"must be at least {MIN_SECRET_LENGTH} characters, it has {len(secret)}"
    if len(set(secret)) < MIN_SECRET_VARIETY:
        return f"must hold at least {MIN_SECRET_VARIETY} different characters"
    if any(word in secret.lower() for word in WEAK_WORDS):
        return "looks like a placeholder"
    return None


def _merged(environ: Mapping[str, str], dotenv: Path | None) -> dict[str, str]:
    merged: dict[str, str] = {}
    if dotenv is not None and dotenv.is_file():
        merged.update({k: v for k, v in dotenv_values(dotenv, interpolate=False).items() if v is not None})
    merged.update({name: value for name, value in environ.items() if value.strip()})
    return merged


def _convert(text: str, expected: Any) -> Any:
    members = typing.get_args(expected) if typing.get_origin(expected) in (typing.Union, types.UnionType) else ()
    if typing.get_origin(expected) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if expected is Path or Path in members:
        return Path(text).expanduser().absolute()
    if expected is bool:
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if text.lower() not in words:
            raise msgspec.ValidationError("Expected one of true, false, yes, no, on, off, 1, 0")
        return words[text.lower()]
    return msgspec.convert(text, expected, strict=False)


def _shown(name: str, text: str) -> str:
    hidden = any(word in name for word in ("SECRET", "TOKEN", "URL", "KEY"))
    return "hidden" if hidden else repr(text)


def _contradictions(settings: Settings) -> list[SettingProblem]:
    problems: list[SettingProblem] = []
    if settings.pool_min > settings.pool_max:
        problems.append(SettingProblem("TESSERA_POOL_MIN", f"must not be above TESSERA_POOL_MAX ({settings.pool_max})"))
    for name, url in (("DATABASE_URL", settings.database_url), ("TESSERA_MIGRATE_URL", settings.migrate_url)):
        if url is not None and not url.startswith(("postgres://", "postgresql://")):
            problems.append(SettingProblem(name, "must start with postgresql:// (or postgres://)"))
    if any("=" not in item or not all(item.split("=", 1)) for item in settings.token_old_secrets):
        problems.append(SettingProblem("TESSERA_TOKEN_OLD_SECRETS", "must be key_id=secret pairs, separated by commas"))
    if settings.migrate_url and not settings.database_url:
        problems.append(
            SettingProblem("TESSERA_MIGRATE_URL", "needs DATABASE_URL too: without it the service runs its own server")
        )
    problems += _livekit_contradictions(settings)
    return problems


def _livekit_contradictions(settings: Settings) -> list[SettingProblem]:
    """LiveKit's three settings are of use together only."""
    fields = ("livekit_url", "livekit_api_key", "livekit_api_secret")
    missing = [field for field in fields if getattr(settings, field) is None]
    problems = [
        SettingProblem(env_name(field), "is required where another setting of LiveKit is there")
        for field in (missing if len(missing) < len(fields) else ())
    ]
    if settings.livekit_url and not settings.livekit_url.startswith(("ws://", "wss://", "http://", "https://")):
        problems.append(SettingProblem("TESSERA_LIVEKIT_URL", "must start with wss://, https://, ws:// or http://"))
    return problems


def _production_problems(settings: Settings) -> list[SettingProblem]:
    """What only development may do."""
    problems: list[SettingProblem] = []
    remedy = "generate one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if settings.token_secret is None:
        problems.append(SettingProblem("TESSERA_TOKEN_SECRET", f"is required in production; {remedy}"))
    secrets = [
        ("TESSERA_TOKEN_SECRET", settings.token_secret),
        ("TESSERA_METRICS_TOKEN", settings.metrics_token),
        ("TESSERA_BILLING_WEBHOOK_SECRET", settings.billing_webhook_secret),
        ("TESSERA_LIVEKIT_API_SECRET", settings.livekit_api_secret),
    ]
    # An item without "=" is reported as a contradiction already.
    secrets += [("TESSERA_TOKEN_OLD_SECRETS", item.partition("=")[2]) for item in settings.token_old_secrets]
    for name, secret in secrets:
        weakness = secret_weakness(secret) if secret else None
        if weakness:
            problems.append(SettingProblem(name, f"{weakness}; {remedy}"))
    if "*" in settings.cors_origins:
        problems.append(SettingProblem("TESSERA_CORS_ORIGINS", "must list the origins in production, not *"))
    return problems
