"""Codes of authenticator apps: RFC 6238, SHA-1, six digits, thirty seconds, as every such app has them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
from urllib.parse import quote
from uuid import UUID

from app.core.vault import Sealed, Vault

SECRET_BYTES = 20
STEP_SECONDS = 30
DIGITS = 6
DRIFT = 1
"""Steps before and after the present one whose codes are taken: clocks differ, and typing takes time."""


def new_secret() -> bytes:
    """Random, as long as SHA-1's digest."""
    return secrets.token_bytes(SECRET_BYTES)


def code_at(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """The code of a time step (RFC 4226)."""
    mac = hmac.new(secret, struct.pack(">Q", step), hashlib.sha1).digest()
    at = mac[-1] & 15
    number = struct.unpack(">I", mac[at : at + 4])[0] & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def matching_step(secret: bytes, code: str, now: float, last: int) -> int | None:
    """The step after ``last`` whose code it is, near ``now`` (Unix seconds); None: it is wrong, or was used."""
    present = int(now) // STEP_SECONDS
    found = None
    for step in range(present - DRIFT, present + DRIFT + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode()) and step > last:
            found = step
    return found


def enrolment_uri(secret: bytes, issuer: str, name: str) -> str:
    """What a QR code for authenticator apps holds."""
    label = f"{quote(issuer)}:{quote(name)}"
    return (
        f"otpauth://totp/{label}?secret={readable(secret)}&issuer={quote(issuer)}&digits={DIGITS}&period={STEP_SECONDS}"
    )


def readable(secret: bytes) -> str:
    """For typing it into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def seal_secret(vault: Vault, secret: bytes, user: UUID) -> Sealed:
    """Encrypt. Errors: ENCRYPTION_NOT_CONFIGURED."""
    return vault.seal(secret, f"totp:{user}")


def open_secret(vault: Vault, sealed: Sealed, user: UUID) -> bytes:
    """Decrypt. Raises VaultError."""
    return vault.open(sealed, f"totp:{user}")


def reseal_secret(vault: Vault, sealed: Sealed, user: UUID) -> Sealed:
    """The same under the current key. Raises VaultError."""
    return seal_secret(vault, open_secret(vault, sealed, user), user)
