"""Hears from the database whose rights changed, so that verified credentials can be remembered safely.

Triggers on users, sessions and API keys run ``pg_notify('tessera_auth', user_id)`` in the transaction that changes
them (also when a DBA does it in psql). Each process listens (app/core/listening.py) and forgets what it knew of that
user. The cache is trusted only while the listener has just proved to be alive; after any gap everything is forgotten
before it is trusted again.
"""

from __future__ import annotations

from uuid import UUID

from app.core.auth import Authenticator
from app.core.listening import Hearer

CHANNEL = "tessera_auth"


def revocations(auth: Authenticator) -> Hearer:
    """What `auth` has to hear."""

    def changed(payload: str) -> None:
        try:
            auth.forget_user(UUID(payload))
        except ValueError:
            auth.forget_all()

    def alive(until: float) -> None:
        auth.trusted_until = until

    return Hearer(CHANNEL, changed, auth.forget_all, alive)
