"""Outgoing webhooks: a user's events, sent to where they want them (docs/webhooks.md).

Tables core.webhook_endpoints, core.webhook_secrets, core.webhook_cursors, core.webhook_queues, core.webhook_deliveries,
core.webhook_attempts; functions api.create_webhook_endpoint, api.update_webhook_endpoint, api.rotate_webhook_secret,
api.delete_webhook_endpoint, api.test_webhook_endpoint, api.replay_webhook_delivery, and the scheduler's
api.fan_webhooks, api.lease_webhooks, api.finish_webhook, api.prune_webhooks, api.webhook_lag; views
api.webhook_endpoints, api.webhook_deliveries, api.webhook_attempts. Event ``webhook.disabled``.

``guard`` decides where a request may go, ``sender`` sends one; the jobs in scheduler/jobs do the rest.
"""
