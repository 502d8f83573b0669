-- Roles, schemas, default privileges, the migrator's own tables, and core.uuid7().
--
-- The one migration that runs as whoever migrates: a superuser, or a role with CREATEROLE and CREATE on the database
-- (docs/operations-database.md). All later ones run as tessera_owner. Roles belong to the cluster, so a second
-- database finds them there and leaves them as they are; what is set per database is set for this one.

DO $$
DECLARE
    v_group record;
    v_superuser boolean := (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user);
    v_since_16 boolean := current_setting('server_version_num')::integer >= 160000;
BEGIN
    FOR v_group IN
        SELECT g.name, g.options, g.purpose
        FROM (VALUES
            ('tessera_owner', 'NOLOGIN', 'Tessera: owns schemas, tables, types and views. Nobody logs in as it.'),
            ('tessera_ledger', 'NOLOGIN', 'Tessera: owns the functions and has only the column privileges they need. Nobody logs in as it.'),
            ('tessera_app', 'LOGIN', 'Tessera: the API process.'),
            ('tessera_scheduler', 'LOGIN', 'Tessera: the scheduler process.'),
            ('tessera_dba', 'NOLOGIN', 'Tessera: group of people who call schema api and read everything; one login a person.'),
            ('tessera_readonly', 'NOLOGIN', 'Tessera: group that reads the views of schema api.')
        ) AS g (name, options, purpose)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = v_group.name) THEN
            EXECUTE format('CREATE ROLE %I %s', v_group.name, v_group.options);
            EXECUTE format('COMMENT ON ROLE %I IS %L', v_group.name, v_group.purpose);
        END IF;
    END LOOP;

    -- A migrator that is no superuser acts through membership; from PostgreSQL 16 on, having made a role is not enough.
    FOR v_group IN SELECT r.name FROM (VALUES ('tessera_owner'), ('tessera_ledger')) AS r (name)
    LOOP
        CONTINUE WHEN v_superuser OR (
            pg_catalog.pg_has_role(current_user, v_group.name, 'USAGE')
            AND pg_catalog.pg_has_role(current_user, v_group.name, CASE WHEN v_since_16 THEN 'SET' ELSE 'MEMBER' END)
        );
        EXECUTE format(
            'GRANT %I TO %I %s', v_group.name, current_user, CASE WHEN v_since_16 THEN 'WITH INHERIT TRUE, SET TRUE' ELSE '' END
        );
    END LOOP;
END;
$$;

DO $$
DECLARE
    v_limits record;
BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO tessera_app, tessera_scheduler, tessera_dba, tessera_readonly', current_database());
    IF pg_catalog.has_schema_privilege('public', 'public', 'CREATE') THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;
    FOR v_limits IN
        SELECT l.role_name, l.setting, l.value
        FROM (VALUES
            ('tessera_app', 'statement_timeout', '10s'),
            ('tessera_app', 'lock_timeout', '5s'),
            ('tessera_app', 'idle_in_transaction_session_timeout', '10s'),
            ('tessera_scheduler', 'statement_timeout', '60s'),
            ('tessera_scheduler', 'lock_timeout', '5s'),
            ('tessera_scheduler', 'idle_in_transaction_session_timeout', '60s')
        ) AS l (role_name, setting, value)
    LOOP
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %s = %L', v_limits.role_name, current_database(), v_limits.setting, v_limits.value);
    END LOOP;
END;
$$;

CREATE SCHEMA core AUTHORIZATION tessera_owner;
CREATE SCHEMA api AUTHORIZATION tessera_owner;
COMMENT ON SCHEMA core IS 'Tessera''s tables and internal functions (core._name). Nobody writes money here: go through schema api.';
COMMENT ON SCHEMA api IS 'Tessera''s contract: functions, views and the types they take. Each function is explained by \df+ api.*';

GRANT USAGE ON SCHEMA core TO tessera_ledger, tessera_app, tessera_scheduler, tessera_dba;
GRANT USAGE ON SCHEMA api TO tessera_ledger, tessera_app, tessera_scheduler, tessera_dba, tessera_readonly;

-- What comes later: no function is anybody's until granted; those of schema api are granted here.
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_ledger REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_ledger IN SCHEMA api
GRANT EXECUTE ON FUNCTIONS TO tessera_app, tessera_scheduler, tessera_dba;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA api
GRANT SELECT ON TABLES TO tessera_app, tessera_scheduler, tessera_dba, tessera_readonly;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA core
GRANT SELECT ON TABLES TO tessera_dba;

SET LOCAL ROLE tessera_owner;

CREATE TABLE core.schema_migrations (
    version integer PRIMARY KEY CHECK (version > 0),
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE core.schema_migrations IS 'Files of sql/migrations that were applied here, with the hash they had then.';

CREATE TABLE core.schema_functions (
    path text PRIMARY KEY,
    sha256 text NOT NULL,
    signatures text [] NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE core.schema_functions IS 'Files of sql/functions as they are in force here, and the functions each of them made.';

GRANT SELECT ON core.schema_migrations, core.schema_functions TO tessera_app, tessera_scheduler;

-- core.uuid7() is the default of primary keys, so it must be there before any table and is no repeatable function.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 180000 THEN
        CREATE FUNCTION core.uuid7() RETURNS uuid
        LANGUAGE sql VOLATILE PARALLEL SAFE
        RETURN pg_catalog.uuidv7();
    ELSE
        CREATE FUNCTION core.uuid7() RETURNS uuid
        LANGUAGE plpgsql VOLATILE PARALLEL SAFE
        SET search_path = pg_catalog, pg_temp
        AS $uuid7$
        DECLARE
            v_us bigint := extract(EPOCH FROM clock_timestamp()) * 1000000;
        BEGIN
            -- 48 bits of milliseconds, version 7, 12 bits of the fraction; variant and the rest from a random UUID
            RETURN encode(
                int8send(((v_us / 1000) << 16) | 28672 | ((v_us % 1000) * 4096 / 1000))
                || substring(uuid_send(gen_random_uuid()) FROM 9),
                'hex'
            )::uuid;
        END;
        $uuid7$;
    END IF;
END;
$$;
COMMENT ON FUNCTION core.uuid7() IS 'A new UUID version 7: ordered by time to below a millisecond, then random. Built in from PostgreSQL 18 on.';
GRANT EXECUTE ON FUNCTION core.uuid7() TO tessera_ledger, tessera_app, tessera_scheduler, tessera_dba;
