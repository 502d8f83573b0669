-- The triggers that guard what privileges cannot: from a superuser's slip, and from that of the functions' own role. A
-- trigger without a row here fails the test.
BEGIN;
SET LOCAL search_path = tap, pg_catalog;
SELECT no_plan();

-- What is said instead of the function's own words.
CREATE TEMP TABLE hints (relation, hint) ON COMMIT DROP AS
SELECT
    r.relation,
    'Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.' AS hint
FROM unnest(ARRAY['core.adjustments', 'core.audit_log', 'core.rates']) AS r (relation)
UNION ALL
SELECT
    'core.seals',
    'api.seal_entries adds seals; nothing takes them away.';

-- but_ledger: fires for everybody but tessera_ledger; otherwise for everybody.
CREATE TEMP TABLE guards (relation, name, events, function, but_ledger) ON COMMIT DROP AS
SELECT *
FROM (VALUES
('core.adjustments', 'adjustments_guard_history', 'BEFORE DELETE OR TRUNCATE', 'core._guard_ledger', false),
('core.adjustments', 'adjustments_guard_writes', 'BEFORE INSERT OR UPDATE', 'core._guard_ledger', true),
('core.audit_log', 'audit_log_guard_history', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false),
('core.captures', 'captures_guard_history', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false),
('core.captures', 'captures_guard_writes', 'BEFORE INSERT', 'core._guard_ledger', true),
('core.entries', 'entries_guard_history', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false),
('core.entries', 'entries_guard_writes', 'BEFORE INSERT', 'core._guard_ledger', true),
('core.holds', 'holds_guard_history', 'BEFORE DELETE OR TRUNCATE', 'core._guard_ledger', false),
('core.holds', 'holds_guard_writes', 'BEFORE INSERT OR UPDATE', 'core._guard_ledger', true),
(
    'core.idempotency_keys', 'idempotency_keys_guard_history',
    'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false
),
('core.meter_blocks', 'meter_blocks_guard_history', 'BEFORE DELETE OR TRUNCATE', 'core._guard_ledger', false),
('core.meter_blocks', 'meter_blocks_guard_writes', 'BEFORE INSERT OR UPDATE', 'core._guard_ledger', true),
('core.rates', 'rates_guard_history', 'BEFORE DELETE OR TRUNCATE', 'core._guard_ledger', false),
('core.rates', 'rates_guard_writes', 'BEFORE UPDATE', 'core._guard_ledger', true),
('core.refunds', 'refunds_guard_history', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false),
('core.refunds', 'refunds_guard_writes', 'BEFORE INSERT', 'core._guard_ledger', true),
('core.seals', 'seals_guard_history', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false),
('core.seals', 'seals_guard_writes', 'BEFORE INSERT', 'core._guard_ledger', true),
('core.tickets', 'tickets_guard_history', 'BEFORE DELETE OR TRUNCATE', 'core._guard_ledger', false),
('core.tickets', 'tickets_guard_writes', 'BEFORE INSERT OR UPDATE', 'core._guard_ledger', true),
('core.tips', 'tips_guard_history', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false),
('core.transfers', 'transfers_guard_history', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'core._guard_ledger', false),
('core.transfers', 'transfers_guard_writes', 'BEFORE INSERT', 'core._guard_ledger', true),
('core.wallets', 'wallets_guard_history', 'BEFORE DELETE OR TRUNCATE', 'core._guard_ledger', false),
('core.wallets', 'wallets_guard_writes', 'BEFORE INSERT OR UPDATE', 'core._guard_ledger', true)
) AS named
UNION ALL
SELECT
    i.inhrelid::regclass::text, 'guard_partition', 'BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE', 'core._guard_partition', false
FROM pg_inherits AS i
INNER JOIN pg_class AS c ON c.oid = i.inhparent
WHERE c.relkind = 'p' AND c.relnamespace = 'core'::regnamespace;

CREATE TEMP TABLE others (relation, name, function) ON COMMIT DROP AS VALUES
('core.api_keys', 'api_keys_notify_deleted', 'core._notify_rights'),
('core.api_keys', 'api_keys_notify_rights', 'core._notify_rights'),
('core.job_runs', 'job_runs_tell', 'core._tell_of_job'),
('core.sessions', 'sessions_notify_deleted', 'core._notify_rights'),
('core.sessions', 'sessions_notify_revoked', 'core._notify_rights'),
('core.users', 'users_guard_referral', 'core._guard_referral'),
('core.users', 'users_guard_referral_insert', 'core._guard_referral'),
('core.users', 'users_notify_rights', 'core._notify_rights'),
('core.users', 'users_open_wallets', 'core._open_wallets');

CREATE TEMP TABLE expected ON COMMIT DROP AS
SELECT g.relation, g.name, g.function FROM guards AS g
UNION ALL
SELECT o.relation, o.name, o.function FROM others AS o;

SELECT set_eq(
    $$SELECT t.tgrelid::regclass::text, t.tgname::text FROM pg_trigger AS t WHERE NOT t.tgisinternal$$,
    'SELECT e.relation, e.name FROM expected AS e',
    'every trigger is listed'
);
SELECT has_trigger('core', split_part(e.relation, '.', 2)::name, e.name::name) FROM expected AS e ORDER BY e.name;
SELECT trigger_is(
    'core', split_part(e.relation, '.', 2)::name, e.name::name, 'core', split_part(e.function, '.', 2)::name
)
FROM expected AS e
ORDER BY e.name;
SELECT is(t.tgenabled, 'O'::"char", e.name || ' is enabled')
FROM expected AS e
LEFT JOIN pg_trigger AS t ON t.tgrelid = to_regclass(e.relation) AND t.tgname = e.name
ORDER BY e.name;

SELECT is(
    pg_get_triggerdef(t.oid),
    format(
        'CREATE TRIGGER %s %s ON %s FOR EACH STATEMENT %sEXECUTE FUNCTION %s(%s)',
        g.name, g.events, g.relation,
        CASE WHEN g.but_ledger THEN $$WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) $$ ELSE '' END, g.function,
        coalesce(quote_literal(h.hint), '')
    ),
    g.name || ' guards all it should'
)
FROM guards AS g
LEFT JOIN hints AS h ON h.relation = g.relation
LEFT JOIN pg_trigger AS t ON t.tgrelid = to_regclass(g.relation) AND t.tgname = g.name
ORDER BY g.name;

-- Nothing is taken away from history, by anybody.
SELECT ok(
    EXISTS (
        SELECT FROM guards AS g
        WHERE g.relation = 'core.' || h.name AND NOT g.but_ledger AND g.events LIKE '%DELETE%TRUNCATE%'
    ),
    'nobody deletes from core.' || h.name
)
FROM unnest(ARRAY[
    'adjustments', 'audit_log', 'captures', 'entries', 'holds', 'idempotency_keys', 'rates', 'refunds', 'seals',
    'tickets', 'tips', 'transfers', 'wallets'
]) AS h (name);

SELECT * FROM finish();
ROLLBACK;
