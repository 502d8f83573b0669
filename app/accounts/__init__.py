"""Accounts: who people are, how they prove it, and what they may do.

Own tables: core.sessions, core.refresh_tokens, core.api_keys, core.login_attempts, core.creator_settings and
core.audit_log; of core.users (shared with the ledger) everything but opening wallets. Own functions:
``api.register_user`` and the triggers that notify other processes of changed rights.
"""
