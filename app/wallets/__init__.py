"""Wallets: balances, their history, and transfers between them.

Tables core.assets, core.wallets, core.transfers, core.entries, core.idempotency_keys; functions api.transfer,
api.transfer_batch, api.wallet_balances, api.balance_at, api.statement, api.grant_tokens, api.audit_ledger.
"""
