"""Showing again that it is you: the password, or the code of an authenticator app where one is enrolled.

A session may have been left open, so what sends money elsewhere asks again. Passwords are counted with attempts to sign
in; codes are counted for the account, wherever they come from, because there are few of them.
"""

from __future__ import annotations

import time
from uuid import UUID

import structlog

from app.accounts.passwords import Passwords
from app.accounts.queries import AccountQueries, StepUpRow
from app.accounts.service import ATTEMPT_WINDOW_SECONDS, ATTEMPTS, Accounts, limit_address, normalise_email
from app.accounts.structs import Enrolment, Proof, SecondFactor
from app.accounts.totp import enrolment_uri, matching_step, new_secret, open_secret, readable, seal_secret
from app.core.auth import check_limit
from app.core.context import AppContext, RequestInfo
from app.core.errors import error
from app.core.keys import digest
from app.core.metrics import STEP_UPS
from app.core.vault import Sealed, Vault, VaultError

ANYWHERE = "*"

log = structlog.get_logger("tessera.accounts")


class StepUp:
    """Proofs, and the enrolment of authenticator apps."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._queries = context.get(AccountQueries)
        self._passwords: Passwords = context.get(Accounts).passwords
        self._vault = context.get(_vault)

    async def confirm(self, user: UUID, proof: Proof, info: RequestInfo) -> None:
        """It is the user. Errors: STEP_UP_REQUIRED, STEP_UP_FAILED, TOO_MANY_ATTEMPTS, RATE_LIMITED, SERVER_BUSY,
        ENCRYPTION_NOT_CONFIGURED."""
        address = limit_address(info.address)
        check_limit(self._context.limits.sign_in.hit(address), "address")
        row = await self._queries.step_up_row(user)
        if row.confirmed:
            await self._confirm_code(user, row, proof.code)
        else:
            await self._confirm_password(row, proof.password, address)

    async def second_factor(self, user: UUID) -> SecondFactor:
        """Whether an authenticator app is enrolled."""
        return SecondFactor(enrolled=(await self._queries.step_up_row(user)).confirmed)

    async def enrol(self, user: UUID, proof: Proof, info: RequestInfo) -> Enrolment:
        """A new secret, in force once a code of it was right. Errors: those of confirm, TOTP_ENROLLED."""
        await self.confirm(user, proof, info)
        secret = new_secret()
        if not await self._queries.enrol_totp(user, seal_secret(self._vault, secret, user)):
            raise error("TOTP_ENROLLED")
        row = await self._queries.step_up_row(user)
        return Enrolment(
            secret=readable(secret), uri=enrolment_uri(secret, self._context.settings.token_issuer, row.email)
        )

    async def complete(self, user: UUID, code: str, info: RequestInfo) -> SecondFactor:
        """The first code of a new secret. Errors: TOTP_NOT_ENROLLED, TOTP_ENROLLED, and those of confirm."""
        check_limit(self._context.limits.sign_in.hit(limit_address(info.address)), "address")
        row = await self._queries.step_up_row(user)
        if row.confirmed:
            raise error("TOTP_ENROLLED")
        if row.secret is None:
            raise error("TOTP_NOT_ENROLLED")
        await self._confirm_code(user, row, code)
        return SecondFactor(enrolled=True)

    async def disable(self, user: UUID, proof: Proof, info: RequestInfo) -> SecondFactor:
        """Passwords do again. Errors: TOTP_NOT_ENROLLED, and those of confirm."""
        if not (await self._queries.step_up_row(user)).confirmed:
            raise error("TOTP_NOT_ENROLLED")
        await self.confirm(user, proof, info)
        await self._queries.remove_totp(user)
        return SecondFactor(enrolled=False)

    async def _confirm_password(self, row: StepUpRow, password: str | None, address: str) -> None:
        if password is None:
            raise error("STEP_UP_REQUIRED", method="password")
        account = digest(normalise_email(row.email))
        await self._count(account, address)
        if not await self._passwords.verify(row.password_hash, password):
            STEP_UPS.labels("refused").inc()
            raise error("STEP_UP_FAILED", method="password")
        await self._queries.clear_attempts(account, address)
        STEP_UPS.labels("ok").inc()

    async def _confirm_code(self, user: UUID, row: StepUpRow, code: str | None) -> None:
        if code is None:
            raise error("STEP_UP_REQUIRED", method="code")
        account = digest(f"totp:{user}")
        await self._count(account, ANYWHERE)
        assert row.key_id is not None
        assert row.secret is not None
        try:
            secret = open_secret(self._vault, Sealed(row.key_id, row.secret), user)
        except VaultError as exc:
            log.error("totp_secret_does_not_open", user_id=str(user), reason=str(exc))
            raise error("ENCRYPTION_NOT_CONFIGURED") from exc
        step = matching_step(secret, code, time.time(), row.last_step)
        if step is None or not await self._queries.use_totp_step(user, row.secret, step):
            STEP_UPS.labels("refused").inc()
            raise error("STEP_UP_FAILED", method="code")
        await self._queries.clear_attempts(account, ANYWHERE)
        STEP_UPS.labels("ok").inc()

    async def _count(self, account: bytes, address: str) -> None:
        attempts, seconds = await self._queries.count_attempt(account, address, ATTEMPT_WINDOW_SECONDS)
        if attempts > ATTEMPTS:
            STEP_UPS.labels("limited").inc()
            raise error("TOO_MANY_ATTEMPTS", retry_after=max(1, seconds))


def _vault(context: AppContext) -> Vault:
    return Vault(context.settings)
