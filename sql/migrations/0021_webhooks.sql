-- Outgoing webhooks: where users want their events sent, what is to be sent there, and what became of it.

CREATE TABLE core.webhook_endpoints (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    user_id uuid NOT NULL,
    url text NOT NULL CHECK (octet_length(url) BETWEEN 8 AND 2048 AND url ~ '^https?://[^[:space:]]+$'),
    description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 200),
    event_types text [] NOT NULL CHECK (cardinality(event_types) BETWEEN 1 AND 50),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    disabled_at timestamptz,
    disabled_reason text CHECK (disabled_reason IN ('by_user', 'gone', 'failing')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz,
    CONSTRAINT webhook_endpoints_disabled CHECK ((status = 'disabled') = (disabled_at IS NOT NULL AND disabled_reason IS NOT NULL))
);
COMMENT ON TABLE core.webhook_endpoints IS 'Where users want the events of their channels sent. Written by the functions of webhooks only.';
COMMENT ON COLUMN core.webhook_endpoints.event_types IS 'Which events: * (all), a group such as call.*, or a type such as tip.sent.';
COMMENT ON COLUMN core.webhook_endpoints.disabled_reason IS 'by_user; gone: it answered 410; failing: for so long and so often as the rates webhook_disable_after and webhook_disable_failures say.';
COMMENT ON COLUMN core.webhook_endpoints.deleted_at IS 'Nobody sees it from then on; api.prune_webhooks takes it out with all that belongs to it.';
CREATE INDEX webhook_endpoints_user_id_idx ON core.webhook_endpoints (user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX webhook_endpoints_off_idx ON core.webhook_endpoints (id) WHERE status = 'disabled' OR deleted_at IS NOT NULL;

CREATE TABLE core.webhook_secrets (
    endpoint_id uuid NOT NULL,
    secret text NOT NULL CHECK (secret ~ '^whsec_[A-Za-z0-9+/]{32,88}={0,2}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until timestamptz,
    CONSTRAINT webhook_secrets_pkey PRIMARY KEY (endpoint_id, secret)
);
COMMENT ON TABLE core.webhook_secrets IS 'What deliveries to an endpoint are signed with. In plain text, for they must be signed with it; nobody may read the table but the functions of webhooks.';
COMMENT ON COLUMN core.webhook_secrets.until IS 'Signs until then: it was replaced. NULL: the newest.';
CREATE UNIQUE INDEX webhook_secrets_newest_idx ON core.webhook_secrets (endpoint_id) WHERE until IS NULL;
CREATE INDEX webhook_secrets_until_idx ON core.webhook_secrets (until) WHERE until IS NOT NULL;

CREATE TABLE core.webhook_cursors (
    endpoint_id uuid NOT NULL,
    channel text COLLATE "C" NOT NULL,
    epoch uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq >= 0),
    lost_at timestamptz,
    CONSTRAINT webhook_cursors_pkey PRIMARY KEY (endpoint_id, channel)
)
WITH (fillfactor = 50);
COMMENT ON TABLE core.webhook_cursors IS 'Up to where the events of a channel have become deliveries to an endpoint. Written by api.fan_webhooks.';
COMMENT ON COLUMN core.webhook_cursors.seq IS 'Number of the last event of the channel that was looked at, within epoch.';
COMMENT ON COLUMN core.webhook_cursors.lost_at IS 'When events could last not be read any more, so that it went on at the present position.';

CREATE TABLE core.webhook_queues (
    endpoint_id uuid PRIMARY KEY,
    next_at timestamptz,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since timestamptz,
    CONSTRAINT webhook_queues_failing CHECK ((failures > 0) = (failing_since IS NOT NULL))
)
WITH (fillfactor = 50);
COMMENT ON TABLE core.webhook_queues IS 'One row an endpoint, whose lock comes before those of its deliveries. Written by the functions of webhooks only.';
COMMENT ON COLUMN core.webhook_queues.next_at IS 'There is nothing to be sent before; NULL: nothing at all.';
COMMENT ON COLUMN core.webhook_queues.failures IS 'Attempts that failed since the last that succeeded.';
CREATE INDEX webhook_queues_next_at_idx ON core.webhook_queues (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE core.webhook_deliveries (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    endpoint_id uuid NOT NULL,
    event_id bigint,
    type text NOT NULL,
    payload jsonb NOT NULL,
    event_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'dead')),
    tries smallint NOT NULL DEFAULT 0 CHECK (tries >= 0),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_at timestamptz,
    leased_until timestamptz,
    last_status smallint,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CONSTRAINT webhook_deliveries_event UNIQUE (endpoint_id, event_id),
    CONSTRAINT webhook_deliveries_lease CHECK ((leased_at IS NULL) = (leased_until IS NULL) AND (leased_until IS NULL OR status = 'pending')),
    CONSTRAINT webhook_deliveries_ended CHECK ((status = 'pending') = (ended_at IS NULL))
)
WITH (fillfactor = 80);
COMMENT ON TABLE core.webhook_deliveries IS 'An event on its way to an endpoint, once for each of the two. Its id is the webhook-id of every attempt. Written by the functions of webhooks only.';
COMMENT ON COLUMN core.webhook_deliveries.event_id IS 'Id of the event in core.outbox; NULL: a test event, which is tried once.';
COMMENT ON COLUMN core.webhook_deliveries.tries IS 'Attempts that came to an end since it was made or last replayed: they decide when the next one is due.';
COMMENT ON COLUMN core.webhook_deliveries.attempts IS 'Attempts ever begun; the number of the last one.';
COMMENT ON COLUMN core.webhook_deliveries.leased_until IS 'Somebody is sending it; if nothing is heard of them until then, it is sent again.';
CREATE INDEX webhook_deliveries_list_idx ON core.webhook_deliveries (endpoint_id, id);
CREATE INDEX webhook_deliveries_status_idx ON core.webhook_deliveries (endpoint_id, status, id);
CREATE INDEX webhook_deliveries_due_idx ON core.webhook_deliveries (endpoint_id, due_at) WHERE status = 'pending' AND leased_until IS NULL;
CREATE INDEX webhook_deliveries_leased_idx ON core.webhook_deliveries (endpoint_id, leased_until) WHERE leased_until IS NOT NULL;
CREATE INDEX webhook_deliveries_ended_at_idx ON core.webhook_deliveries (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE core.webhook_attempts (
    delivery_id uuid NOT NULL,
    attempt integer NOT NULL CHECK (attempt > 0),
    started_at timestamptz NOT NULL,
    duration_ms integer CHECK (duration_ms >= 0),
    status smallint,
    error text,
    answer text CHECK (octet_length(answer) <= 4096),
    CONSTRAINT webhook_attempts_pkey PRIMARY KEY (delivery_id, attempt)
);
COMMENT ON TABLE core.webhook_attempts IS 'What became of each attempt to send a delivery. Written by api.finish_webhook, and by api.lease_webhooks where nothing was heard of one.';
COMMENT ON COLUMN core.webhook_attempts.status IS 'Of the HTTP answer; NULL where none came.';
COMMENT ON COLUMN core.webhook_attempts.error IS 'Why it failed, in one word; NULL: it succeeded. interrupted: whoever sent it was never heard of again, and it may have arrived.';
COMMENT ON COLUMN core.webhook_attempts.answer IS 'The beginning of the answer''s body.';

INSERT INTO core.rate_names (name, unit, scoped, meaning) VALUES
('webhook_endpoints', 'count', NULL, 'How many webhook endpoints a user may have.'),
('webhook_in_flight', 'count', NULL, 'How many deliveries may be on their way to one webhook endpoint at the same time.'),
('webhook_secret_overlap', 'seconds', NULL, 'How long deliveries are signed with the old secret too after a webhook endpoint''s secret was rotated.'),
('webhook_disable_failures', 'count', NULL, 'How many attempts in a row must have failed before a webhook endpoint is disabled.'),
('webhook_disable_after', 'seconds', NULL, 'For how long a webhook endpoint must have been failing before it is disabled.'),
('webhook_deliveries_kept', 'days', NULL, 'How long deliveries of webhooks, with their attempts, are kept after they ended.');
INSERT INTO core.rates (name, value, unit, valid_from, note)
SELECT
    n.name,
    v.value,
    n.unit,
    '-infinity' AS valid_from,
    n.meaning AS note
FROM core.rate_names AS n
INNER JOIN (
    VALUES
    ('webhook_endpoints', 10),
    ('webhook_in_flight', 5),
    ('webhook_secret_overlap', 86400),
    ('webhook_disable_failures', 10),
    ('webhook_disable_after', 259200),
    ('webhook_deliveries_kept', 30)
) AS v (name, value) ON v.name = n.name;

CREATE VIEW api.webhook_endpoints AS
SELECT
    e.id AS endpoint_id,
    e.user_id,
    e.url,
    e.description,
    e.event_types,
    e.status,
    e.disabled_at,
    e.disabled_reason,
    q.failures AS failures_in_a_row,
    q.failing_since,
    (
        SELECT max(c.lost_at) FROM core.webhook_cursors AS c
        WHERE c.endpoint_id = e.id
    ) AS position_lost_at,
    e.created_at,
    e.updated_at
FROM core.webhook_endpoints AS e
INNER JOIN core.webhook_queues AS q ON q.endpoint_id = e.id
WHERE e.deleted_at IS NULL;
COMMENT ON VIEW api.webhook_endpoints IS 'Where users want the events of their channels sent, which of them, and how that goes: since when and how often in a row it has failed, why it is disabled, and when events could last not be read any more (position_lost_at; NULL: never). Without secrets.';

CREATE VIEW api.webhook_deliveries AS
SELECT
    d.id AS delivery_id,
    d.endpoint_id,
    e.user_id,
    d.type,
    d.status,
    d.attempts,
    d.last_status,
    d.last_error,
    CASE WHEN d.status = 'pending' THEN d.due_at END AS next_attempt_at,
    d.leased_until IS NOT NULL AS in_flight,
    d.event_at,
    d.created_at,
    d.ended_at,
    d.payload
FROM core.webhook_deliveries AS d
INNER JOIN core.webhook_endpoints AS e ON e.id = d.endpoint_id
WHERE e.deleted_at IS NULL;
COMMENT ON VIEW api.webhook_deliveries IS 'Events on their way to endpoints: pending, delivered or dead; how many attempts were begun, how the last one ended, and when the next one is due.';

CREATE VIEW api.webhook_attempts AS
SELECT
    a.delivery_id,
    a.attempt,
    a.started_at,
    a.duration_ms,
    a.status,
    a.error,
    a.answer
FROM core.webhook_attempts AS a;
COMMENT ON VIEW api.webhook_attempts IS 'Attempts to send a delivery: when, how long, the status and the beginning of the answer, or why there was none.';

GRANT SELECT, INSERT, DELETE ON
core.webhook_endpoints, core.webhook_secrets, core.webhook_cursors, core.webhook_queues, core.webhook_deliveries, core.webhook_attempts
TO tessera_ledger;
GRANT UPDATE (url, description, event_types, status, disabled_at, disabled_reason, updated_at, deleted_at) ON core.webhook_endpoints
TO tessera_ledger;
GRANT UPDATE (until) ON core.webhook_secrets TO tessera_ledger;
GRANT UPDATE (epoch, seq, lost_at) ON core.webhook_cursors TO tessera_ledger;
GRANT UPDATE (next_at, failures, failing_since) ON core.webhook_queues TO tessera_ledger;
GRANT UPDATE (status, tries, attempts, due_at, leased_at, leased_until, last_status, last_error, ended_at) ON core.webhook_deliveries
TO tessera_ledger;
GRANT SELECT ON core.webhook_endpoints, core.webhook_cursors, core.webhook_queues, core.webhook_deliveries, core.webhook_attempts
TO tessera_dba;
REVOKE SELECT ON core.webhook_secrets FROM tessera_dba;
GRANT SELECT ON api.webhook_endpoints, api.webhook_deliveries TO tessera_ledger;
