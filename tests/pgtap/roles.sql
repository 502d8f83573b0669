-- The roles: what they are, who is a member of which, what they own, what they may do with schemas and the database;
-- and that nothing is granted to anybody else.
BEGIN;
SET LOCAL search_path = tap, pg_catalog;
SELECT no_plan();

CREATE TEMP TABLE expected (role, logs_in, core, api) ON COMMIT DROP AS VALUES
('tessera_owner', false, '{USAGE, CREATE}', '{USAGE, CREATE}'),
('tessera_ledger', false, '{USAGE}', '{USAGE}'),
('tessera_app', true, '{USAGE}', '{USAGE}'),
('tessera_scheduler', true, '{USAGE}', '{USAGE}'),
('tessera_dba', false, '{USAGE}', '{USAGE}'),
('tessera_readonly', false, '{}', '{USAGE}');

-- tessera_test_…: logins of people, as the tests have them
SELECT set_eq(
    $$SELECT r.rolname::text FROM pg_roles AS r WHERE r.rolname ~ '^tessera_' AND r.rolname !~ '^tessera_test_'$$,
    'SELECT e.role FROM expected AS e',
    'every role is listed'
);
SELECT isnt_superuser(e.role::name) FROM expected AS e ORDER BY e.role;
SELECT is(
    ROW(r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolcanlogin),
    ROW(false, false, false, false, false, e.logs_in),
    e.role || ' has no powers over the server' || CASE WHEN e.logs_in THEN '' ELSE ', and nobody logs in as it' END
)
FROM expected AS e
LEFT JOIN pg_roles AS r ON r.rolname = e.role
ORDER BY e.role;

-- Nobody comes to more rights by another role's: the groups are for people, owner and ledger for whoever migrates.
SELECT is_empty(
    $$SELECT m.member::regrole, m.roleid::regrole FROM pg_auth_members AS m
    INNER JOIN expected AS e ON m.member = e.role::regrole$$,
    'none of them is a member of anything'
);
SELECT is_empty(
    $$SELECT m.member::regrole, m.roleid::regrole FROM pg_auth_members AS m
    WHERE m.roleid IN ('tessera_app'::regrole, 'tessera_scheduler'::regrole)$$,
    'nobody is a member of a service''s login'
);

-- The people's logins, as the tests have them: a DBA, a reader, and who migrates.
SELECT set_eq(
    $$SELECT m.member::regrole::text, m.roleid::regrole::text, m.admin_option FROM pg_auth_members AS m
    WHERE m.member::regrole::text ~ '^tessera_test_'$$,
    $$VALUES
    ('tessera_test_dba', 'tessera_dba', false),
    ('tessera_test_readonly', 'tessera_readonly', false),
    ('tessera_test_migrator', 'tessera_owner', false),
    ('tessera_test_migrator', 'tessera_ledger', false)$$,
    'a person is a member of their group; who migrates, of the owners'
);
SELECT is_empty(
    $$SELECT r.rolname FROM pg_roles AS r
    WHERE r.rolname ~ '^tessera_test_'
    AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication)$$,
    'nor has anybody of them powers over the server'
);

-- Ownership
SELECT schema_owner_is(s.name::name, 'tessera_owner') FROM unnest(ARRAY['core', 'api']) AS s (name);
SELECT is_empty(
    $$SELECT pg_describe_object(d.classid, d.objid, d.objsubid), r.rolname
    FROM pg_shdepend AS d
    INNER JOIN pg_roles AS r ON d.refclassid = 'pg_authid'::regclass AND r.oid = d.refobjid
    WHERE
        d.deptype = 'o' AND d.dbid = (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database())
        AND r.rolcanlogin AND NOT r.rolsuper$$,
    'nobody who can log in owns anything (but a superuser, who owns what the tests put beside ours)'
);
SELECT set_eq(
    $$SELECT o.owner::regrole::text, o.kind
    FROM (
        SELECT c.relowner AS owner, 'relation' AS kind, c.relnamespace AS schema FROM pg_class AS c
        UNION ALL SELECT t.typowner, 'type', t.typnamespace FROM pg_type AS t
        UNION ALL SELECT p.proowner, 'function', p.pronamespace FROM pg_proc AS p
        UNION ALL SELECT p.oprowner, 'operator', p.oprnamespace FROM pg_operator AS p
        UNION ALL SELECT c.collowner, 'collation', c.collnamespace FROM pg_collation AS c
    ) AS o
    WHERE o.schema IN ('core'::regnamespace, 'api'::regnamespace)$$,
    $$VALUES ('tessera_owner', 'relation'), ('tessera_owner', 'type'), ('tessera_owner', 'function'),
    ('tessera_ledger', 'function')$$,
    'tables and types belong to tessera_owner, functions to tessera_ledger (core.uuid7 to tessera_owner)'
);

-- Schemas
SELECT set_eq(
    $$SELECT n.nspname::text FROM pg_namespace AS n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'tap'$$,
    $$VALUES ('core'), ('api'), ('public'), ('information_schema')$$,
    'there are no other schemas'
);
SELECT schema_privs_are(s.name::name, e.role::name, (to_jsonb(e) ->> s.name)::name [])
FROM expected AS e
CROSS JOIN unnest(ARRAY['core', 'api']) AS s (name)
ORDER BY e.role, s.name;
SELECT schema_privs_are(s.name::name, 'public', '{}') FROM unnest(ARRAY['core', 'api']) AS s (name);
SELECT schema_privs_are('public', r.name::name, '{USAGE}')
FROM (SELECT e.role FROM expected AS e UNION ALL SELECT 'public') AS r (name)
ORDER BY r.name;

-- The database: PostgreSQL lets everybody connect and make temporary tables; nobody makes schemas.
SELECT database_privs_are(current_database(), e.role::name, '{CONNECT, TEMPORARY}') FROM expected AS e ORDER BY e.role;

-- Nothing of ours is everybody's. (The use of types is, from the start, and gives nothing away.)
CREATE TEMP VIEW granted AS
SELECT o.name, o.kind, x.grantee, x.privilege_type, x.is_grantable
FROM (
    SELECT c.oid::regclass::text AS name, 'relation' AS kind, c.relacl AS acl, c.relnamespace AS schema
    FROM pg_class AS c
    UNION ALL
    SELECT format('%s.%I', c.oid::regclass, a.attname), 'column', a.attacl, c.relnamespace
    FROM pg_attribute AS a
    INNER JOIN pg_class AS c ON c.oid = a.attrelid
    UNION ALL
    SELECT p.oid::regprocedure::text, 'function', coalesce(p.proacl, acldefault('f', p.proowner)), p.pronamespace
    FROM pg_proc AS p
    UNION ALL
    SELECT t.oid::regtype::text, 'type', t.typacl, t.typnamespace FROM pg_type AS t
    UNION ALL
    SELECT n.nspname, 'schema', n.nspacl, n.oid FROM pg_namespace AS n
) AS o
CROSS JOIN aclexplode(o.acl) AS x
WHERE o.schema IN ('core'::regnamespace, 'api'::regnamespace);

SELECT is_empty('SELECT g.* FROM granted AS g WHERE g.grantee = 0', 'nothing is granted to PUBLIC');
SELECT is_empty(
    $$SELECT g.* FROM granted AS g
    WHERE g.grantee <> 0 AND g.grantee NOT IN (SELECT e.role::regrole FROM expected AS e)$$,
    'nothing is granted to anybody else'
);
SELECT is_empty('SELECT g.* FROM granted AS g WHERE g.is_grantable', 'nobody may grant anything on');

SELECT * FROM finish();
ROLLBACK;
