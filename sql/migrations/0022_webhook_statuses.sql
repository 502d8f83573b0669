-- Deliveries of an endpoint by status: pending or delivered ones cost as little to list as dead ones, however many of the others there are.

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX webhook_deliveries_status_idx ON core.webhook_deliveries (endpoint_id, status, id);
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX core.webhook_deliveries_dead_idx;
