"""Settings: documented, read once, refused when they are wrong."""

from __future__ import annotations

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
