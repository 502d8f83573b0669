"""Payouts: tokens that a user wants as money, and where it is to go.

Tables core.payout_accounts, core.payouts, core.payout_reports, core.totp_secrets; functions api.add_payout_account,
api.remove_payout_account, api.reencrypt_payout_account, api.request_payout, api.repeat_payout, api.cancel_payout,
api.approve_payout, api.hold_payout, api.claim_payout, api.note_payout, api.settle_payout, api.fail_payout,
api.payout_balance, api.payout_lag, api.reconcile_payouts, api.earnings_statement; views api.payout_accounts,
api.payouts, api.payout_days. Events ``payout.requested``, ``payout.held``, ``payout.processing``, ``payout.paid``,
``payout.failed``, ``payout.cancelled``. The jobs send-payouts and reencrypt are the scheduler's; docs/payouts.md.
"""
