"""`sql/` as one psql script, for a DBA who applies it by hand: the same order, checks and bookkeeping as the runner.

It brings any database up to date: what was applied before is skipped. Only this differs from the runner: function
files are all applied, changed or not, and one whose result type or parameter names changed needs a DROP FUNCTION first.
"""

from __future__ import annotations

from pathlib import Path

from app.core.migrations.database import LOCK_KEY
from app.core.migrations.sources import (
    DEFAULT_PREFIX,
    SQL_DIRECTORY,
    FunctionFile,
    Migration,
    read_sources,
    with_role_prefix,
)

_PROLOGUE = r"""-- Tessera's database, up to {last}. docs/operations-database.md says which login may apply it:
--     psql --no-psqlrc --file=this-file "$DATABASE_URL"
-- What was applied before is skipped; the first error ends it, and that step leaves nothing behind.
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET search_path = pg_catalog, pg_temp;
SET statement_timeout = 0;
SET lock_timeout = 0;
SELECT pg_advisory_lock({lock}) \g /dev/null
SET lock_timeout = '3s';
"""

_CHECK = r"""
-- The files must be those that this database was made from.
SELECT to_regclass('core.schema_migrations') IS NOT NULL AS tessera_begun \gset
\if :tessera_begun
DO $tessera$
DECLARE
    v_wrong text;
BEGIN
    SELECT string_agg(m.name, ', ' ORDER BY m.version) INTO v_wrong
    FROM core.schema_migrations AS m
    LEFT JOIN (VALUES
{known}
    ) AS k (version, sha256) USING (version)
    WHERE k.sha256 IS DISTINCT FROM m.sha256;
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION 'edited after they were applied, or of a newer release: %', v_wrong;
    END IF;
    IF (SELECT max(m.version) <> count(*) FROM core.schema_migrations AS m) THEN
        RAISE EXCEPTION 'migrations were applied out of order';
    END IF;
END;
$tessera$;
\endif
"""

_MIGRATION = r"""
-- ---- migrations/{name}.sql
{todo} \gset
\if :tessera_todo
BEGIN;
{role}{sql}
SET LOCAL ROLE tessera_owner;
INSERT INTO core.schema_migrations (version, name, sha256) VALUES ({version}, '{name}', '{sha256}');
COMMIT;
\endif
"""

_FUNCTIONS_BEGIN = """
-- ---- functions, all in one transaction
BEGIN;
SET LOCAL ROLE tessera_owner;
GRANT CREATE ON SCHEMA core, api TO tessera_ledger;
{grants}SET LOCAL ROLE tessera_ledger;
SET LOCAL check_function_bodies = off;
"""

_FUNCTIONS_END = """
-- ---- bookkeeping; functions and triggers that no file makes any more go
SET LOCAL ROLE tessera_owner;
REVOKE CREATE ON SCHEMA core, api FROM tessera_ledger;
{revokes}CREATE TEMPORARY TABLE tessera_files ON COMMIT DROP AS
SELECT f.path, f.sha256, f.names FROM (VALUES
{files}
) AS f (path, sha256, names);
DELETE FROM core.schema_functions AS s WHERE s.path NOT IN (SELECT f.path FROM tessera_files AS f);
INSERT INTO core.schema_functions (path, sha256, signatures)
SELECT f.path, f.sha256, array_agg(p.oid::regprocedure::text ORDER BY p.oid::regprocedure::text)
FROM tessera_files AS f
JOIN pg_proc AS p ON p.pronamespace::regnamespace::text || '.' || p.proname = ANY (f.names)
WHERE p.xmin = pg_current_xact_id()::xid
GROUP BY f.path, f.sha256
ON CONFLICT (path) DO UPDATE
SET sha256 = excluded.sha256, signatures = excluded.signatures, applied_at = now();
DO $tessera$
DECLARE
    v_old text;
BEGIN
    FOR v_old IN
        SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)
        FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND p.proowner = 'tessera_ledger'::regrole
        AND p.pronamespace IN ('core'::regnamespace, 'api'::regnamespace)
        AND t.xmin <> pg_current_xact_id()::xid
    LOOP
        EXECUTE v_old;
    END LOOP;
    SET LOCAL ROLE tessera_ledger;
    SELECT 'DROP ROUTINE ' || string_agg(p.oid::regprocedure::text, ', ') INTO v_old
    FROM pg_proc AS p
    WHERE p.proowner = 'tessera_ledger'::regrole
    AND p.pronamespace IN ('core'::regnamespace, 'api'::regnamespace)
    AND p.xmin <> pg_current_xact_id()::xid;
    IF v_old IS NOT NULL THEN
        EXECUTE v_old;
    END IF;
END;
$tessera$;
COMMIT;

SELECT pg_advisory_unlock({lock}) \\g /dev/null
\\echo Up to date: {last} and {count} function files.
"""


def render_script(role_prefix: str = DEFAULT_PREFIX, directory: Path = SQL_DIRECTORY) -> str:
    """The whole of `sql/` as a psql script. Raises SourceError."""
    sources = read_sources(directory)
    last = sources.migrations[-1].name
    known = ",\n".join(f"        ({m.version}, '{m.sha256}')" for m in sources.migrations)
    parts = [_PROLOGUE.format(last=last, lock=LOCK_KEY), _CHECK.replace("{known}", known)]
    parts += [_migration(migration) for migration in sources.migrations]
    parts += [_functions(sources.functions, last)]
    return with_role_prefix("".join(parts), role_prefix)


def _migration(migration: Migration) -> str:
    if migration.version == 1:
        todo = "SELECT to_regclass('core.schema_migrations') IS NULL AS tessera_todo"
        role = ""
    else:
        todo = (
            "SELECT NOT EXISTS (SELECT FROM core.schema_migrations AS m"
            f" WHERE m.version = {migration.version}) AS tessera_todo"
        )
        role = "SET LOCAL ROLE tessera_owner;\n"
    return _MIGRATION.format(
        todo=todo, role=role, name=migration.name, version=migration.version, sha256=migration.sha256, sql=migration.sql
    )


def _functions(files: tuple[FunctionFile, ...], last: str) -> str:
    if not files:
        return f"\nSELECT pg_advisory_unlock({LOCK_KEY}) \\g /dev/null\n\\echo Up to date: {last}.\n"
    tables = sorted({table for file in files for table in file.trigger_tables})
    begin = _FUNCTIONS_BEGIN.format(grants="".join(f"GRANT TRIGGER ON TABLE {t} TO tessera_ledger;\n" for t in tables))
    bodies = "".join(f"\n-- ---- functions/{file.path}\n{file.sql}" for file in files)
    rows = ",\n".join(
        f"    ('{file.path}', '{file.sha256}', ARRAY[{', '.join(repr(name) for name in sorted(file.defines))}])"
        for file in files
    )
    end = _FUNCTIONS_END.format(
        revokes="".join(f"REVOKE TRIGGER ON TABLE {t} FROM tessera_ledger;\n" for t in tables),
        files=rows,
        lock=LOCK_KEY,
        last=last,
        count=len(files),
    )
    return begin + bodies + end
