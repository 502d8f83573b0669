"""The form of API keys and refresh tokens: made from 256 random bits, stored as hashes only.

An API key is ``tsk_<8 characters to recognise it by>_<43 random characters><6 characters of checksum>``. The checksum
lets a scanner, and this service, tell a mistyped or invented key without asking the database. A hash without salt or
stretching is enough for 256 random bits: nothing can be guessed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

KEY_PREFIX = "tsk_"
REFRESH_PREFIX = "tsr_"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"(tsk_[0-9A-Za-z]{8})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    value = zlib.crc32(text.encode())
    digits = ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def new_api_key() -> tuple[str, str]:
    """A new key, and its public prefix (``tsk_`` and 8 characters)."""
    prefix = KEY_PREFIX + _random(8)
    body = f"{prefix}_{_random(43)}"
    return body + _checksum(body), prefix


def is_well_formed(key: str) -> bool:
    """Has the text the form of an API key, with the right checksum?"""
    match = _KEY.fullmatch(key)
    return match is not None and secrets.compare_digest(_checksum(key[:-6]), match.group(3))


def new_refresh_token() -> str:
    """A new refresh token."""
    return REFRESH_PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    """What is stored of a key or refresh token: its SHA-256."""
    return hashlib.sha256(secret.encode()).digest()
