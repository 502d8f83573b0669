-- What each role may do with each table and view; one without a row here fails the test. Letters as in psql's \dp:
-- r SELECT, a INSERT, w UPDATE, d DELETE, D TRUNCATE, x REFERENCES, t TRIGGER.
BEGIN;
SET LOCAL search_path = tap, pg_catalog;
SELECT no_plan();

CREATE TEMP TABLE expected (
    relation, public, tessera_app, tessera_scheduler, tessera_dba, tessera_readonly, tessera_ledger, tessera_owner
) ON COMMIT DROP AS
SELECT *
FROM (VALUES
('api.adjustments', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.audit_log', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.audits', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.bans', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.entries', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.holds', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.messages', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.call_blocks', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.calls', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.job_runs', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.live_rooms', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.rate_names', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.rates', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.refunds', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.relay_state', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.seals', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.streams', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.tickets', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.tips', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.transfers', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.wallets', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.webhook_attempts', '', 'r', 'r', 'r', 'r', '', 'rawdDxt'),
('api.webhook_deliveries', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('api.webhook_endpoints', '', 'r', 'r', 'r', 'r', 'r', 'rawdDxt'),
('core.adjustments', '', '', '', 'r', '', 'ra', 'raxt'),
('core.api_keys', '', 'rawd', '', 'r', '', '', 'rawdDxt'),
('core.assets', '', 'r', 'r', 'r', '', 'ra', 'rawdDxt'),
('core.audit_log', '', 'r', 'r', 'r', '', 'ra', 'raxt'),
('core.audits', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.bans', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.brought_forward', '', '', '', 'r', '', 'r', 'rawdDxt'),
('core.call_clocks', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.call_parties', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.calls', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.captures', '', '', '', 'r', '', 'ra', 'raxt'),
('core.channel_days', '', '', '', 'r', '', 'r', 'rawdDxt'),
('core.channel_events', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.channels', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.chat_counters', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.creator_settings', '', 'rawd', 'r', 'r', '', 'r', 'rawdDxt'),
('core.entries', '', '', '', 'r', '', 'ra', 'raxt'),
('core.holds', '', '', '', 'r', '', 'ra', 'raxt'),
('core.idempotency_keys', '', '', '', 'r', '', 'ra', 'raxt'),
('core.job_runs', '', 'r', 'rawd', 'r', '', '', 'rawdDxt'),
('core.live_events', '', '', 'rd', 'r', '', 'ra', 'rawdDxt'),
('core.live_rooms', '', '', 'rwd', 'r', '', 'ra', 'rawdDxt'),
('core.login_attempts', '', 'rawd', 'rd', 'r', '', '', 'rawdDxt'),
('core.messages', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.meter_blocks', '', '', '', 'r', '', 'ra', 'raxt'),
('core.outbox', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.partitioned', '', '', '', 'r', '', 'r', 'rawdDxt'),
('core.partitions', '', '', '', 'r', '', 'r', 'rawdDxt'),
('core.rate_names', '', 'r', 'r', 'r', '', 'r', 'rawdDxt'),
('core.rates', '', 'r', 'r', 'r', '', 'ra', 'raxt'),
('core.realtime_tickets', '', 'rad', 'rd', 'r', '', '', 'rawdDxt'),
('core.refresh_tokens', '', 'rawd', 'rd', 'r', '', '', 'rawdDxt'),
('core.refunds', '', '', '', 'r', '', 'ra', 'raxt'),
('core.relay_chunks', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.relay_state', '', '', '', 'r', '', 'r', 'rawdDxt'),
('core.schema_functions', '', 'r', 'r', 'r', '', '', 'rawdDxt'),
('core.schema_migrations', '', 'r', 'r', 'r', '', '', 'rawdDxt'),
('core.seal_marks', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.seals', '', '', '', 'r', '', 'ra', 'raxt'),
('core.sessions', '', 'rawd', 'rd', 'r', '', '', 'rawdDxt'),
('core.stream_totals', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.stream_viewers', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.streams', '', '', '', 'r', '', 'ra', 'rawdDxt'),
('core.tickets', '', '', '', 'r', '', 'ra', 'raxt'),
('core.tips', '', '', '', 'r', '', 'ra', 'raxt'),
('core.transfers', '', '', '', 'r', '', 'ra', 'raxt'),
('core.users', '', 'raw', 'r', 'r', '', 'ra', 'rawdDxt'),
('core.velocity_counters', '', '', '', 'r', '', 'ra', 'raxt'),
('core.viewers', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.wallets', '', '', '', 'r', '', 'ra', 'raxt'),
('core.webhook_attempts', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.webhook_cursors', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.webhook_deliveries', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.webhook_endpoints', '', '', '', 'r', '', 'rad', 'rawdDxt'),
('core.webhook_queues', '', '', '', 'r', '', 'rad', 'rawdDxt'),
-- not even a person who may see everything else
('core.webhook_secrets', '', '', '', '', '', 'rad', 'rawdDxt')
) AS named
-- partitions: nobody writes to them by their own names
UNION ALL
SELECT i.inhrelid::regclass::text, '', '', '', 'r', '', 'r', 'rxt'
FROM pg_inherits AS i
INNER JOIN pg_class AS c ON c.oid = i.inhparent
WHERE c.relkind = 'p' AND c.relnamespace = 'core'::regnamespace;

SELECT set_eq(
    $$SELECT c.oid::regclass::text FROM pg_class AS c
    WHERE c.relnamespace IN ('core'::regnamespace, 'api'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')$$,
    'SELECT e.relation FROM expected AS e',
    'every table and view is listed'
);

SELECT table_privs_are(
    split_part(e.relation, '.', 1)::name, split_part(e.relation, '.', 2)::name, p.role::name,
    ARRAY(
        SELECT n.name::name
        FROM (VALUES
            ('r', 'SELECT'), ('a', 'INSERT'), ('w', 'UPDATE'), ('d', 'DELETE'), ('D', 'TRUNCATE'), ('x', 'REFERENCES'),
            ('t', 'TRIGGER')
        ) AS n (letter, name)
        WHERE strpos(p.letters, n.letter) > 0
    )
)
FROM expected AS e
CROSS JOIN jsonb_each_text(to_jsonb(e) - 'relation') AS p (role, letters)
ORDER BY e.relation, p.role;

SELECT relation_owner_is(
    split_part(e.relation, '.', 1)::name, split_part(e.relation, '.', 2)::name, 'tessera_owner',
    e.relation || ' is owned by tessera_owner'
)
FROM expected AS e
ORDER BY e.relation;

-- Their only users are identities, which need no grant; but how many numbers were given out tells of the backlog.
SELECT sequences_are('core', '{channels_id_seq, outbox_id_seq}'::name []);
SELECT sequences_are('api', '{}'::name []);
SELECT sequence_privs_are(
    'core', s.name::name, r.name::name, CASE WHEN s.reader = r.name THEN '{SELECT}' ELSE '{}' END::name []
)
FROM unnest(ARRAY[
    'public', 'tessera_app', 'tessera_scheduler', 'tessera_dba', 'tessera_readonly', 'tessera_ledger'
]) AS r (name)
CROSS JOIN (VALUES ('outbox_id_seq', 'tessera_ledger'), ('channels_id_seq', NULL)) AS s (name, reader);
SELECT sequence_owner_is('core', s.name::name, 'tessera_owner', s.name || ' is owned by tessera_owner')
FROM unnest(ARRAY['channels_id_seq', 'outbox_id_seq']) AS s (name);

SELECT * FROM finish();
ROLLBACK;
