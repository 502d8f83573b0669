-- The only columns that can be written where their table cannot: by the functions' role, and what services say of an act.
-- What is history has none to be changed.
BEGIN;
SET LOCAL search_path = tap, pg_catalog;
SELECT no_plan();

CREATE TEMP TABLE expected (relation, columns) ON COMMIT DROP AS VALUES
('core.adjustments', '{decided_at, decided_by, decided_db_user, decision_reason, status, transfer_id}'::name []),
('core.channel_days', '{oldest_at}'::name []),
('core.channels', '{seq}'::name []),
('core.chat_counters', '{since, used}'::name []),
('core.holds', '{captured, closed_at, released, status}'::name []),
('core.messages', '{removed_at, removed_by}'::name []),
(
    'core.call_clocks',
    '{active_us, billed, blocks, creator_left_at, creator_seen_at, due_at, fan_left_at, fan_seen_at,'
    ' platform_fees, running_since, warned}'::name []
),
(
    'core.calls',
    '{accepted_at, active_us, billed, blocks, end_reason, ended_at, ended_by, platform_fees, status}'::name []
),
('core.meter_blocks', '{refunded_at}'::name []),
('core.live_rooms', '{closed_at, reopened_at}'::name []),
('core.rates', '{valid_to}'::name []),
(
    'core.relay_state',
    '{base, cluster, entries, epoch, events, floor_id, history, last_id, phase, relayed_at, target}'::name []
),
('core.stream_totals', '{tip_count, tips}'::name []),
('core.stream_viewers', '{counted_at, peak, viewers}'::name []),
(
    'core.streams',
    '{cancel_refused_at, cancelled_at, ended_at, sales_from, sales_to, seats, seats_sold, started_at,'
    ' starts_at, status, ticket_price, title, updated_at, visibility}'::name []
),
('core.tickets', '{refunded_at}'::name []),
('core.users', '{referred_by_id}'::name []),
('core.velocity_counters', '{since, used}'::name []),
('core.viewers', '{seen_until}'::name []),
(
    'core.wallets',
    '{balance, debt, held, last_entry_at, lifetime_earned,'
    ' lifetime_spent, minimum, status, version}'::name []
),
('core.webhook_cursors', '{epoch, lost_at, seq}'::name []),
(
    'core.webhook_deliveries',
    '{attempts, due_at, ended_at, last_error, last_status, leased_at, leased_until, status, tries}'::name []
),
(
    'core.webhook_endpoints',
    '{deleted_at, description, disabled_at, disabled_reason, event_types, status, updated_at, url}'::name []
),
('core.webhook_queues', '{failing_since, failures, next_at}'::name []),
('core.webhook_secrets', '{until}'::name []);

SELECT set_eq(
    $$SELECT c.oid::regclass::text, a.attname::text, x.grantee::regrole::text, x.privilege_type, x.is_grantable
    FROM pg_attribute AS a
    INNER JOIN pg_class AS c ON c.oid = a.attrelid
    CROSS JOIN aclexplode(a.attacl) AS x
    WHERE c.relnamespace IN ('core'::regnamespace, 'api'::regnamespace)$$,
    $$SELECT e.relation, c.name::text, 'tessera_ledger' AS role, 'UPDATE' AS privilege, false AS grantable
    FROM expected AS e
    CROSS JOIN unnest(e.columns) AS c (name)
    UNION ALL
    SELECT 'core.audit_log', c.name, r.name, 'INSERT', false
    FROM unnest(ARRAY['action', 'actor_id', 'address', 'details', 'request_id', 'subject_id']) AS c (name)
    CROSS JOIN unnest(ARRAY['tessera_app', 'tessera_scheduler']) AS r (name)$$,
    'no column is granted to anybody that is not listed'
);

SELECT column_privs_are(
    'core', c.relname, a.attname, 'tessera_ledger',
    ARRAY(
        SELECT p.name::name
        FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p (name)
        WHERE
            has_table_privilege('tessera_ledger', c.oid, p.name)
            OR p.name = 'UPDATE' AND EXISTS (
                SELECT FROM expected AS e WHERE e.relation = c.oid::regclass::text AND a.attname = ANY (e.columns)
            )
    )
)
FROM pg_class AS c
INNER JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'core'::regnamespace AND c.relkind IN ('r', 'p')
ORDER BY c.relname, a.attnum;

SELECT any_column_privs_are(
    'core', t.name::name, r.name::name, CASE r.name WHEN 'tessera_dba' THEN '{SELECT}' ELSE '{}' END::name []
)
FROM unnest(ARRAY[
    'transfers', 'entries', 'wallets', 'holds', 'captures', 'refunds', 'idempotency_keys', 'adjustments', 'tips'
]) AS t (name)
CROSS JOIN unnest(ARRAY['public', 'tessera_app', 'tessera_scheduler', 'tessera_dba', 'tessera_readonly']) AS r (name);

SELECT * FROM finish();
ROLLBACK;
