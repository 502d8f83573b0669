"""Where payouts meet passwords, encryption and banks."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import structlog

from app.accounts.stepup import StepUp
from app.core.context import AppContext, RequestInfo
from app.core.errors import error
from app.core.sheets import sheet
from app.core.vault import Sealed, Vault, VaultError
from app.payouts.details import BankDetails, Details, open_details, seal_details
from app.payouts.providers import provider_of
from app.payouts.providers.stripe import UNPAYABLE
from app.payouts.queries import PayoutQueries
from app.payouts.structs import (
    AccountRequest,
    AdminPayout,
    Batch,
    BatchLine,
    PayoutAccount,
    PayoutRequest,
    YearStatement,
)
from app.wallets.queries import Replayable

SCALE = 10_000
QUEUE_COLUMNS = AdminPayout.__struct_fields__
BATCH_COLUMNS = BatchLine.__struct_fields__
STATEMENT_COLUMNS = ("month", "kind", "count", "amount", "value", "currency", "payout_amount")

log = structlog.get_logger("tessera.payouts")


class Payouts:
    """Accounts and requests of users, and what operators pay by hand."""

    def __init__(self, context: AppContext) -> None:
        self._queries = context.get(PayoutQueries)
        self._step_up = context.get(StepUp)
        self._settings = context.settings
        self._vault = Vault(context.settings)

    async def add_account(self, user: UUID, data: AccountRequest, info: RequestInfo) -> PayoutAccount:
        """Errors: VALIDATION_ERROR, PAYOUT_PROVIDER_NOT_CONFIGURED, those of StepUp.confirm and
        api.add_payout_account."""
        provider, details = _details(data)
        if provider != "manual" and provider_of(provider, self._settings) is None:
            raise error("PAYOUT_PROVIDER_NOT_CONFIGURED", provider=provider)
        await self._step_up.confirm(user, data, info)
        account = uuid4()
        sealed = seal_details(self._vault, account, user, provider, details)
        return await self._queries.add_account(account, user, provider, data.currency, details.masked, sealed, info)

    async def request(self, user: UUID, data: PayoutRequest, key: str, info: RequestInfo) -> Replayable:
        """Errors: those of StepUp.confirm (not for a key that was used) and api.request_payout."""
        known = await self._queries.repeat(user, data.amount, data.account_id, key)
        if known is not None:
            return known
        accounts = {account.account_id: account for account in await self._queries.accounts(user)}
        account = accounts.get(data.account_id)
        if account is None or account.provider != data.provider:
            raise error("PAYOUT_ACCOUNT_NOT_FOUND", account_id=str(data.account_id))
        await self._step_up.confirm(user, data, info)
        return await self._queries.request(user, data.amount, data.account_id, key)

    async def statement(self, user: UUID, year: int) -> YearStatement:
        """A year. Errors: those of api.earnings_statement."""
        lines = await self._queries.statement(user, year)
        return YearStatement(year=year, lines=lines, payouts=await self._queries.paid_in(user, year))

    async def batch(self, actor: UUID, info: RequestInfo) -> Batch:
        """What is to be paid by hand. One whose details do not open is left out, and in the log."""
        lines = []
        for row in await self._queries.manual_batch(actor, info):
            try:
                details = open_details(
                    self._vault, Sealed(row.key_id, row.details), row.account_id, row.user_id, "manual"
                )
            except VaultError as exc:
                log.error("payout_account_does_not_open", account_id=str(row.account_id), reason=str(exc))
                continue
            assert isinstance(details, BankDetails)
            lines.append(
                BatchLine(
                    payout_id=row.payout_id,
                    holder=details.holder,
                    number=details.number,
                    bank=details.bank,
                    currency=row.currency,
                    payout_amount=decimals(row.payout_amount),
                )
            )
        return Batch(lines)


def decimals(money: int) -> str:
    """An amount of whole hundredths as people write it: 1000500 is 100.05."""
    return f"{money // SCALE}.{money % SCALE // 100:02}"


def queue_csv(payouts: list[AdminPayout]) -> bytes:
    """The queue as CSV."""
    return sheet(QUEUE_COLUMNS, ([getattr(payout, name) for name in QUEUE_COLUMNS] for payout in payouts))


def batch_csv(batch: Batch) -> bytes:
    """A batch for a bank as CSV."""
    return sheet(BATCH_COLUMNS, ([getattr(line, name) for name in BATCH_COLUMNS] for line in batch.lines))


def statement_csv(statement: YearStatement) -> bytes:
    """A year as CSV: what moved by month and kind, then each payout that was paid (kind payout.paid)."""
    rows: list[list[Any]] = [
        [line.month, line.kind, line.count, line.amount, None, None, None] for line in statement.lines
    ]
    for payout in statement.payouts:
        assert payout.paid_at is not None
        day = payout.paid_at.date()
        worth = [decimals(payout.value), payout.currency, decimals(payout.payout_amount)]
        rows.append([day, "payout.paid", 1, payout.amount, *worth])
    return sheet(STATEMENT_COLUMNS, rows)


def _details(data: AccountRequest) -> tuple[str, Details]:
    given: list[tuple[str, Details | None]] = [
        ("stripe", data.stripe),
        ("paystack", data.paystack),
        ("manual", data.bank),
    ]
    found = [(provider, details) for provider, details in given if details is not None]
    if len(found) != 1:
        message = "Exactly one of stripe, paystack and bank is needed"
        raise error("VALIDATION_ERROR", errors=[{"field": "stripe", "message": message}])
    provider, details = found[0]
    if provider == "stripe" and data.currency in UNPAYABLE:
        raise error("VALIDATION_ERROR", errors=[{"field": "currency", "message": "Stripe pays nothing out in it here"}])
    if isinstance(details, BankDetails) and not _is_plausible(details.number):
        raise error("VALIDATION_ERROR", errors=[{"field": "bank.number", "message": "The IBAN has a slip in it"}])
    return provider, details


def _is_plausible(number: str) -> bool:
    """Two letters and two digits begin an IBAN, whose remainder by 97 is 1 (ISO 13616); another number is any."""
    if not (number[:2].isalpha() and number[2:4].isdigit()):
        return True
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1
