"""Money in: packages of tokens, checkouts at providers, their webhooks, refunds and disputes (docs/payments.md).

Tables core.token_packages, core.payments, core.payment_transfers, core.payment_refunds, core.payment_disputes,
core.payment_events, core.payment_customers, core.provider_days, core.provider_records; functions api.open_payment,
api.settle_payment, api.reverse_payment and their kin. Providers are behind one protocol (providers/protocol.py); no
provider is ever called inside of a transaction.
"""
