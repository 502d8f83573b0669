"""What administrators do to the ledger: rates, adjustments by two people, wallets, and the log of it all.

Tables core.rates, core.rate_names, core.adjustments, core.audit_log (shared with accounts), core.seals; functions
api.set_rate, api.end_rate, api.request_adjustment, api.approve_adjustment, api.reject_adjustment, api.freeze_wallet,
api.unfreeze_wallet, api.close_wallet, api.set_wallet_minimum.
"""
