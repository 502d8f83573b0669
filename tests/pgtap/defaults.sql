-- What is made later: the privileges that new tables, views and functions begin with.
BEGIN;
SET LOCAL search_path = tap, pg_catalog;
SELECT no_plan();

SELECT set_eq(
    $$SELECT
        d.defaclrole::regrole::text, coalesce(nullif(d.defaclnamespace, 0)::regnamespace::text, ''),
        d.defaclobjtype::text, x.grantee::regrole::text, x.privilege_type
    FROM pg_default_acl AS d
    CROSS JOIN aclexplode(d.defaclacl) AS x$$,
    $$VALUES
    ('tessera_owner', '', 'f', 'tessera_owner', 'EXECUTE'),
    ('tessera_ledger', '', 'f', 'tessera_ledger', 'EXECUTE'),
    ('tessera_ledger', 'api', 'f', 'tessera_app', 'EXECUTE'),
    ('tessera_ledger', 'api', 'f', 'tessera_scheduler', 'EXECUTE'),
    ('tessera_ledger', 'api', 'f', 'tessera_dba', 'EXECUTE'),
    ('tessera_owner', 'api', 'r', 'tessera_app', 'SELECT'),
    ('tessera_owner', 'api', 'r', 'tessera_scheduler', 'SELECT'),
    ('tessera_owner', 'api', 'r', 'tessera_dba', 'SELECT'),
    ('tessera_owner', 'api', 'r', 'tessera_readonly', 'SELECT'),
    ('tessera_owner', 'core', 'r', 'tessera_dba', 'SELECT')$$,
    'these are the default privileges'
);

-- As who migrates does it: tables and views by tessera_owner, functions by tessera_ledger.
SET LOCAL ROLE tessera_owner;
GRANT CREATE ON SCHEMA core, api TO tessera_ledger;
CREATE TABLE core.fresh (n integer);
CREATE SEQUENCE core.fresh_sequence;
CREATE VIEW api.fresh AS SELECT f.n FROM core.fresh AS f;
CREATE FUNCTION core.owned() RETURNS integer LANGUAGE sql RETURN 1;
CREATE FUNCTION api.owned() RETURNS integer LANGUAGE sql RETURN 1;
SET LOCAL ROLE tessera_ledger;
CREATE FUNCTION core._fresh() RETURNS integer LANGUAGE sql RETURN 1;
CREATE FUNCTION api.fresh() RETURNS integer LANGUAGE sql RETURN 1;
CREATE PROCEDURE api.fresh_procedure() LANGUAGE sql AS 'SELECT 1';
RESET ROLE;

CREATE TEMP TABLE expected (role, fresh_table, fresh_view, contract, internal, owned) ON COMMIT DROP AS VALUES
('public', '{}', '{}', '{}', '{}', '{}'),
('tessera_app', '{}', '{SELECT}', '{EXECUTE}', '{}', '{}'),
('tessera_scheduler', '{}', '{SELECT}', '{EXECUTE}', '{}', '{}'),
('tessera_dba', '{SELECT}', '{SELECT}', '{EXECUTE}', '{}', '{}'),
('tessera_readonly', '{}', '{SELECT}', '{}', '{}', '{}'),
('tessera_ledger', '{}', '{}', '{EXECUTE}', '{EXECUTE}', '{}'),
('tessera_owner', NULL, NULL, '{}', '{}', '{EXECUTE}');

SELECT table_privs_are('core', 'fresh', e.role::name, e.fresh_table::name [], e.role || ' and a new table')
FROM expected AS e
WHERE e.fresh_table IS NOT NULL;
SELECT table_privs_are('api', 'fresh', e.role::name, e.fresh_view::name [], e.role || ' and a new view')
FROM expected AS e
WHERE e.fresh_view IS NOT NULL;
SELECT sequence_privs_are('core', 'fresh_sequence', e.role::name, '{}', e.role || ' and a new sequence')
FROM expected AS e
WHERE e.role <> 'tessera_owner';
SELECT function_privs_are(
    'api', n.name::name, '{}', e.role::name, e.contract::name [], e.role || ' and a new function of the contract'
)
FROM expected AS e
CROSS JOIN unnest(ARRAY['fresh', 'fresh_procedure']) AS n (name);
SELECT function_privs_are(
    'core', '_fresh', '{}', e.role::name, e.internal::name [], e.role || ' and a new internal function'
)
FROM expected AS e;
SELECT function_privs_are(
    s.name::name, 'owned', '{}', e.role::name, e.owned::name [], e.role || ' and a function that tessera_owner made'
)
FROM expected AS e
CROSS JOIN unnest(ARRAY['core', 'api']) AS s (name);

SELECT * FROM finish();
ROLLBACK;
