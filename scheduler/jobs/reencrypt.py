"""What is encrypted under keys that are on their way out."""

from __future__ import annotations

import structlog

from app.accounts.totp import reseal_secret
from app.core.vault import Sealed, Vault, VaultError
from app.payouts.details import reseal_details
from scheduler.registry import JobContext, Outcome, job

BATCH = 500

ACCOUNTS = """
    SELECT a.id, a.user_id, a.provider, a.key_id, a.details FROM core.payout_accounts AS a
    WHERE a.key_id <> $1 AND a.id > $2 ORDER BY a.id LIMIT $3
"""
ACCOUNT = "SELECT api.reencrypt_payout_account($1, $2, $3, $4)"
SECRETS = """
    SELECT s.user_id, s.key_id, s.secret FROM core.totp_secrets AS s
    WHERE s.key_id <> $1 AND s.user_id > $2 ORDER BY s.user_id LIMIT $3
"""
SECRET = "UPDATE core.totp_secrets AS s SET key_id = $3, secret = $4 WHERE s.user_id = $1 AND s.secret = $2"
FIRST = "00000000-0000-0000-0000-000000000000"

log = structlog.get_logger("tessera.scheduler")


@job("reencrypt", every_seconds=3600, first_after_seconds=30, timeout_seconds=600)
async def reencrypt(context: JobContext) -> Outcome:
    """Move what is encrypted under old keys to the current one, after which an old key may go."""
    vault = Vault(context.settings)
    done = closed = 0
    if not vault.ready:
        return Outcome(0)
    after = FIRST
    while rows := await context.pool.fetch(ACCOUNTS, vault.key_id, after, BATCH):
        for row in rows:
            try:
                sealed = reseal_details(
                    vault, Sealed(row["key_id"], row["details"]), row["id"], row["user_id"], row["provider"]
                )
            except VaultError as exc:
                closed += 1
                log.error("payout_account_does_not_open", account_id=str(row["id"]), reason=str(exc))
                continue
            done += await context.pool.fetchval(ACCOUNT, row["id"], row["key_id"], *sealed)
        after = rows[-1]["id"]
    after = FIRST
    while rows := await context.pool.fetch(SECRETS, vault.key_id, after, BATCH):
        for row in rows:
            try:
                sealed = reseal_secret(vault, Sealed(row["key_id"], row["secret"]), row["user_id"])
            except VaultError as exc:
                closed += 1
                log.error("totp_secret_does_not_open", user_id=str(row["user_id"]), reason=str(exc))
                continue
            done += (await context.pool.execute(SECRET, row["user_id"], row["secret"], *sealed)) == "UPDATE 1"
        after = rows[-1]["user_id"]
    if closed:
        raise VaultError(f"{closed} do not open: is an old key missing from TESSERA_ENCRYPTION_OLD_KEYS?")
    return Outcome(done)
