"""Wallets: balances, their history, transfers between them, holds and refunds.

Tables core.assets, core.wallets, core.transfers, core.entries, core.holds, core.captures, core.refunds,
core.velocity_counters, core.idempotency_keys; functions api.transfer, api.transfer_batch, api.post_journal,
api.place_hold, api.capture_hold, api.release_hold, api.refund_transfer, api.wallet_balances, api.balance_at,
api.statement, api.grant_tokens, api.audit_ledger.
"""
