"""Passwords: what is allowed, and argon2id off the event loop with bounded concurrency.

One hash costs about 20 ms of a core and 19 MiB (OWASP's parameters). At most ``CONCURRENT`` run at once in threads;
at most ``WAITING`` more may queue, and beyond that a request is told to come back (SERVER_BUSY) instead of piling up.
An unknown user's password is verified against ``DUMMY_HASH``, so that the work, and so the time, is the same.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.core.errors import error

MIN_CHARACTERS = 10
MAX_BYTES = 1024
CONCURRENT = max(1, min(4, os.cpu_count() or 1))
WAITING = 64

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
DUMMY_HASH = _HASHER.hash(secrets.token_hex(16))

_COMMON = frozenset(
    {
        "1234567890",
        "12345678910",
        "123456789a",
        "0123456789",
        "0987654321",
        "1q2w3e4r5t",
        "1qaz2wsx3edc",
        "qwertyuiop",
        "qwerty12345",
        "qwerty123456",
        "password12",
        "password123",
        "password1234",
        "passw0rd123",
        "password!!",
        "passwordpassword",
        "letmein123",
        "welcome123",
        "welcome1234",
        "iloveyou12",
        "iloveyou123",
        "administrator",
        "adminadmin",
        "admin12345",
        "changeme123",
        "football123",
        "baseball123",
        "sunshine123",
        "princess123",
        "monkey12345",
        "dragon12345",
        "abcdefghij",
        "abcdef1234",
        "abc1234567",
        "a1b2c3d4e5",
        "asdfghjkl1",
        "asdfghjkl;",
        "zxcvbnm123",
        "superman123",
        "trustno1234",
        "michael1234",
        "tessera123",
        "tesseratessera",
        "correcthorsebatterystaple",
    }
)

T = TypeVar("T")


def normalise(password: str) -> str:
    """The same password, however the keyboard composed it."""
    return unicodedata.normalize("NFKC", password)


def check_policy(password: str, *names: str) -> None:
    """Refuse passwords that are short, long, common, or a name of the account. Errors: WEAK_PASSWORD."""
    reason = None
    plain = normalise(password)
    folded = plain.casefold()
    if len(plain) < MIN_CHARACTERS:
        reason = f"Use at least {MIN_CHARACTERS} characters."
    elif len(plain.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        reason = f"Use at most {MAX_BYTES} bytes."
    elif folded in _COMMON or len(set(folded)) < 4:
        reason = "This password is among the first that anybody would try."
    elif folded in {name.casefold() for name in names if name}:
        reason = "The password must not be your name or email address."
    if reason is not None:
        raise error("WEAK_PASSWORD", reason)


class Passwords:
    """Hashes and verifies in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="argon2")
        self._running = 0
        self.hashes_done = 0
        """How many times argon2 ran; a login runs it exactly once whether the user exists or not."""

    async def hash(self, password: str) -> str:
        """The PHC string to store. Errors: SERVER_BUSY."""
        return await self._run(lambda: _HASHER.hash(normalise(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Is it the password? Without a hash the same work is done, and the answer is no. Errors: SERVER_BUSY."""
        return await self._run(lambda: _verify(password_hash or DUMMY_HASH, password)) and password_hash is not None

    @staticmethod
    def is_outdated(password_hash: str) -> bool:
        """Was it made with other parameters than today's?"""
        return _HASHER.check_needs_rehash(password_hash)

    async def close(self) -> None:
        """Let running ones end, refuse new ones."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._running >= CONCURRENT + WAITING:
            raise error("SERVER_BUSY")
        self._running += 1
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._running -= 1
        self.hashes_done += 1
        return result


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, normalise(password))
    except (VerificationError, InvalidHashError):
        return False


def hash_now(password: str) -> str:
    """The PHC string to store, made here and now: for the command line, not for the event loop."""
    return _HASHER.hash(normalise(password))
