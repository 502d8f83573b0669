"""Secrets that are generated once and kept in the data folder: the embedded server's passwords, the token secret, the
key of what is encrypted at rest.

They are for development and for the embedded server only; in production the token secret and the encryption key come
from the environment. The file is readable by its owner alone, and two processes that start at once agree on one
content.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from app.core.embedded.files import make_folder
from app.settings import KEY_BYTES, Settings

FILE_NAME = "secrets.json"
SECRET_BYTES = 36


class SecretsError(RuntimeError):
    """The secrets file cannot be read; the message names it and says what to do."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Generated secrets. A field that is added later is generated at the next start."""

    postgres_password: str
    app_password: str
    scheduler_password: str
    dba_password: str
    token_secret: str
    encryption_key: str


def load_secrets(data: Path) -> Secrets:
    """The secrets of this data folder, generated and stored if they are not there yet.

    Raises SecretsError for a file that cannot be read: losing it silently would sign everybody out.
    """
    path = data / FILE_NAME
    make_folder(data)
    with _locked(data):
        known = _read(path)
        complete = {name: known.get(name) or _new(name) for name in Secrets.__struct_fields__}
        if complete != known:
            _write(path, msgspec.json.format(msgspec.json.encode(complete)))
        elif path.stat().st_mode & 0o077:
            path.chmod(0o600)
    return Secrets(**complete)


def with_secrets(settings: Settings) -> Settings:
    """The settings with a token secret and an encryption key: their own, or in development the generated ones."""
    if settings.production or None not in (settings.token_secret, settings.encryption_key):
        return settings
    known = load_secrets(settings.data)
    return msgspec.structs.replace(
        settings,
        token_secret=settings.token_secret or known.token_secret,
        encryption_key=settings.encryption_key or known.encryption_key,
    )


def _new(name: str) -> str:
    if name == "encryption_key":
        return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    return secrets.token_urlsafe(SECRET_BYTES)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        raise SecretsError(
            f"{path} cannot be used: {error}. Restore it, or remove it to have new secrets generated "
            f"(everybody has to sign in again; the embedded server is given the new passwords)."
        ) from error


def _write(path: Path, content: bytes) -> None:
    """Replace the file in a way that is whole after a crash. A new file starts with mode 0600."""
    descriptor, partial = tempfile.mkstemp(prefix=f"{FILE_NAME}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content + b"\n")
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
