"""Settings: documented, read once, refused when they are wrong."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from app.settings import PROJECT_ROOT, Settings, SettingsError, load_settings


def _name(field: str) -> str:
    return "DATABASE_URL" if field == "database_url" else f"TESSERA_{field.upper()}"


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_every_setting_is_documented(field: str) -> None:
    assert f"| `{_name(field)}` |" in (PROJECT_ROOT / "docs" / "settings.md").read_text()


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="TESSERA_PORT"):
        load_settings({"TESSERA_PORT": "many"}, dotenv=None)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TESSERA_PORT=9001\nTESSERA_HOST=127.0.0.2\n")
    settings = load_settings({"TESSERA_PORT": "9002"}, dotenv=file)
    assert (settings.port, settings.host) == (9002, "127.0.0.2")


def test_production_refuses_to_start_without_secrets() -> None:
    with pytest.raises(SettingsError, match="TESSERA_TOKEN_SECRET"):
        load_settings({"TESSERA_ENV": "production", "DATABASE_URL": "postgresql://a@b/c"}, dotenv=None)


def test_settings_cannot_be_changed() -> None:
    settings = load_settings({}, dotenv=None)
    with pytest.raises(AttributeError):
        settings.port = 1  # type: ignore[misc]


LIVEKIT = {
    "TESSERA_LIVEKIT_URL": "wss://live.example.com",
    "TESSERA_LIVEKIT_API_KEY": "APIkey",
    "TESSERA_LIVEKIT_API_SECRET": "mQ9vR4tY7wZ1aB3cD5eF6gH0jLnPqUxE",
}


@pytest.mark.parametrize("missing", LIVEKIT)
def test_livekit_is_set_whole_or_not_at_all(missing: str) -> None:
    assert load_settings(LIVEKIT, dotenv=None).livekit_url == "wss://live.example.com"
    with pytest.raises(SettingsError) as wrong:
        load_settings({name: value for name, value in LIVEKIT.items() if name != missing}, dotenv=None)
    assert wrong.value.names == (missing,)
    with pytest.raises(SettingsError) as wrong:
        load_settings({missing: LIVEKIT[missing]}, dotenv=None)
    assert set(wrong.value.names) == set(LIVEKIT) - {missing}


def test_livekits_settings_are_checked_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="TESSERA_LIVEKIT_URL"):
        load_settings(LIVEKIT | {"TESSERA_LIVEKIT_URL": "live.example.com"}, dotenv=None)
    production = {"TESSERA_ENV": "production", "TESSERA_TOKEN_SECRET": "kQ9vR4tY7wZ1aB3cD5eF6gH0jLnPqUxE"} | LIVEKIT
    assert load_settings(production, dotenv=None).livekit_api_secret
    for weak in ("short", "devsecret" * 4, "a" * 40):
        with pytest.raises(SettingsError) as wrong:
            load_settings(production | {"TESSERA_LIVEKIT_API_SECRET": weak}, dotenv=None)
        assert wrong.value.names == ("TESSERA_LIVEKIT_API_SECRET",)
        assert weak not in str(wrong.value)


STRONG = "kQ9vR4tY7wZ1aB3cD5eF6gH0jLnPqUxE"
PRODUCTION = {"TESSERA_ENV": "production", "TESSERA_TOKEN_SECRET": STRONG}
PROVIDERS = {
    "TESSERA_STRIPE_SECRET_KEY": f"sk_live_{STRONG}",
    "TESSERA_STRIPE_WEBHOOK_SECRETS": f"whsec_{STRONG}",
    "TESSERA_PAYSTACK_SECRET_KEY": f"sk_live_{STRONG}",
    "TESSERA_PAYPAL_CLIENT_ID": "client",
    "TESSERA_PAYPAL_CLIENT_SECRET": STRONG,
    "TESSERA_PAYPAL_WEBHOOK_ID": "WH-1",
    "TESSERA_CHECKOUT_URLS": "https://shop.example.com/,https://www.example.com/buy",
}


def _wrong(environ: dict[str, str]) -> set[str]:
    with pytest.raises(SettingsError) as wrong:
        load_settings(environ, dotenv=None)
    return set(wrong.value.names)


@pytest.mark.parametrize("missing", [name for name in PROVIDERS if "STRIPE" in name or "PAYPAL" in name])
def test_a_payment_provider_is_set_whole_or_not_at_all(missing: str) -> None:
    assert load_settings(PROVIDERS, dotenv=None).paypal_webhook_id == "WH-1"
    assert _wrong({name: value for name, value in PROVIDERS.items() if name != missing}) == {missing}


REFUSED_IN_PRODUCTION = {
    "TESSERA_PAYMENT_SANDBOX": "true",
    "TESSERA_STRIPE_SECRET_KEY": f"sk_test_{STRONG}",
    "TESSERA_PAYSTACK_SECRET_KEY": f"sk_test_{STRONG}",
    "TESSERA_PAYPAL_URL": "https://api-m.sandbox.paypal.com",
    "TESSERA_STRIPE_URL": "http://stripe.example.com",
    "TESSERA_PAYSTACK_URL": "http://paystack.example.com",
    "TESSERA_CHECKOUT_URLS": "http://shop.example.com/",
    "TESSERA_STRIPE_WEBHOOK_SECRETS": f"whsec_{STRONG},whsec_1",
    "TESSERA_PAYPAL_CLIENT_SECRET": "short",
}


@pytest.mark.parametrize("name", REFUSED_IN_PRODUCTION)
def test_what_only_development_may_do_with_money(name: str) -> None:
    good, change = PRODUCTION | PROVIDERS, {name: REFUSED_IN_PRODUCTION[name]}
    settings = load_settings(good, dotenv=None)
    assert not settings.sandbox_payments
    assert _wrong(good | change) == {name}
    assert load_settings(PROVIDERS | change, dotenv=None).sandbox_payments


def test_the_sandbox_can_be_turned_off() -> None:
    assert load_settings({}, dotenv=None).sandbox_payments
    assert not load_settings({"TESSERA_PAYMENT_SANDBOX": "off"}, dotenv=None).sandbox_payments


@pytest.mark.parametrize(
    "url", ["shop.example.com", "ftp://shop.example.com/", "https://", "https://x:y/", "javascript:1"]
)
def test_checkout_urls_are_whole(url: str) -> None:
    assert _wrong({"TESSERA_CHECKOUT_URLS": url}) == {"TESSERA_CHECKOUT_URLS"}


KEY = "NYAfVBy63/Vogr04Ji70P6HStWcSnwwa53hr4S2/19M="
OTHER_KEY = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="


def test_encryption_keys_are_checked_and_not_shown() -> None:
    settings = load_settings(
        {
            "TESSERA_ENCRYPTION_KEY": KEY,
            "TESSERA_ENCRYPTION_KEY_ID": "v2",
            "TESSERA_ENCRYPTION_OLD_KEYS": f"v1={OTHER_KEY}",
        },
        dotenv=None,
    )
    assert {name: len(key) for name, key in settings.encryption_keys.items()} == {"v1": 32, "v2": 32}
    assert load_settings({}, dotenv=None).encryption_keys == {}
    for wrong in ("short", KEY[:-4], KEY + KEY, "ä" * 44):
        with pytest.raises(SettingsError) as refused:
            load_settings({"TESSERA_ENCRYPTION_KEY": wrong}, dotenv=None)
        assert refused.value.names == ("TESSERA_ENCRYPTION_KEY",)
        assert wrong not in str(refused.value)
    for wrong in ("v1", "v1=short", f"={KEY}", f"v1={OTHER_KEY}"):
        with pytest.raises(SettingsError, match="TESSERA_ENCRYPTION_OLD_KEYS"):
            load_settings({"TESSERA_ENCRYPTION_KEY": KEY, "TESSERA_ENCRYPTION_OLD_KEYS": wrong}, dotenv=None)


def test_production_refuses_weak_encryption_keys_and_plain_http() -> None:
    production = {"TESSERA_ENV": "production", "TESSERA_TOKEN_SECRET": "kQ9vR4tY7wZ1aB3cD5eF6gH0jLnPqUxE"}
    assert load_settings(production | {"TESSERA_ENCRYPTION_KEY": KEY}, dotenv=None).encryption_key == KEY
    for weak in (bytes(32), b"ab" * 16, b"changeme-changeme-0123456789abcd"):
        text = base64.b64encode(weak).decode()
        with pytest.raises(SettingsError) as wrong:
            load_settings(production | {"TESSERA_ENCRYPTION_KEY": text}, dotenv=None)
        assert wrong.value.names == ("TESSERA_ENCRYPTION_KEY",)
        old = {"TESSERA_ENCRYPTION_KEY": KEY, "TESSERA_ENCRYPTION_OLD_KEYS": f"v0={text}"}
        with pytest.raises(SettingsError, match="TESSERA_ENCRYPTION_OLD_KEYS"):
            load_settings(production | old, dotenv=None)
    with pytest.raises(SettingsError, match="TESSERA_STRIPE_URL"):
        load_settings(production | {"TESSERA_STRIPE_URL": "http://api.stripe.com"}, dotenv=None)
    with pytest.raises(SettingsError, match="TESSERA_PAYSTACK_URL"):
        load_settings({"TESSERA_PAYSTACK_URL": "api.paystack.co"}, dotenv=None)
