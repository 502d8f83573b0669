"""Encryption at rest, by the application: AES-256-GCM, a fresh nonce each time, the key named beside what it encrypted.

What is encrypted is bound to what it belongs to (``about``: an account, its user, its provider), so a row copied to
another's place does not open. Keys come from the settings: the current one encrypts, old ones still decrypt, and the
job ``reencrypt`` moves what is under old ones to the current one, after which an old key may go.

    VaultError                  it does not open: the key is not configured, or the text is not what was encrypted
"""

from __future__ import annotations

import os
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.core.errors import error
from app.settings import Settings

NONCE_BYTES = 12


class VaultError(Exception):
    """Something encrypted does not open. Says why, never what."""


class Sealed(NamedTuple):
    """Something encrypted: which key opens it, and nonce, text and tag."""

    key_id: str
    data: bytes


class Vault:
    """Encrypts and decrypts with the keys of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.key_id = settings.encryption_key_id
        self._keys = {name: AESGCM(key) for name, key in settings.encryption_keys.items()}

    @property
    def ready(self) -> bool:
        """Whether there is a key to encrypt with."""
        return self.key_id in self._keys

    def seal(self, text: bytes, about: str) -> Sealed:
        """Encrypt under the current key. Errors: ENCRYPTION_NOT_CONFIGURED."""
        key = self._keys.get(self.key_id)
        if key is None:
            raise error("ENCRYPTION_NOT_CONFIGURED")
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(self.key_id, nonce + key.encrypt(nonce, text, about.encode()))

    def open(self, sealed: Sealed, about: str) -> bytes:
        """What was encrypted. Raises VaultError."""
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise VaultError(f"the key {sealed.key_id} is not configured")
        try:
            return key.decrypt(sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError) as exc:
            raise VaultError(f"it is not what was encrypted with the key {sealed.key_id}") from exc
