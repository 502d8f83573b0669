"""The migration runner: on empty and on used databases, by many at once, as a login that is no superuser."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest

from app.core.embedded import find_installation
from app.core.migrations import (
    SQL_DIRECTORY,
    EditedMigrationError,
    MigrationBusyError,
    MigrationFailedError,
    MigrationPrivilegeError,
    MissingMigrationError,
    OutOfOrderMigrationError,
    RolePrefixError,
    SourceError,
    migrate,
    pending,
    read_sources,
    render_script,
)
from app.core.migrations.database import LOCK_KEY
from app.settings import load_settings
from tests.support.managed import Managed, drop_roles
from tests.support.postgres import Clone, Connection, ServerInfo, unique_name

BOOTSTRAP = SQL_DIRECTORY / "migrations" / "0001_roles_and_schemas.sql"


class Sql:
    """A small `sql/` of a test's own; starts with the real 0001."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("migrations/0001_roles_and_schemas.sql", BOOTSTRAP.read_text())
        (directory / "functions").mkdir()

    def write(self, path: str, sql: str) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(sql)

    def function(self, name: str, arguments: str = "", body: str = "RETURN 1;", returns: str = "integer") -> None:
        self.write(
            f"functions/core/{name}.sql",
            f"CREATE OR REPLACE FUNCTION core.{name}({arguments}) RETURNS {returns} LANGUAGE plpgsql"
            f" SET search_path = pg_catalog, pg_temp AS $$ BEGIN {body} END; $$;",
        )

    def remove(self, path: str) -> None:
        (self.directory / path).unlink()


@pytest.fixture
def sql(tmp_path: Path) -> Sql:
    return Sql(tmp_path / "sql")


@pytest.fixture
async def conn(empty_database: Clone) -> Connection:
    """The superuser on an empty database."""
    return await empty_database.connect()


async def _functions(conn: Connection) -> list[str]:
    return [
        row[0]
        for row in await conn.fetch("""
        SELECT p.oid::regprocedure::text FROM pg_proc AS p
        WHERE p.pronamespace::regnamespace::text IN ('core', 'api') AND p.proname <> 'uuid7' ORDER BY 1""")
    ]


async def test_an_empty_database_gets_everything_and_then_has_nothing_pending(conn: Connection) -> None:
    report = await migrate(conn)
    sources = read_sources()
    assert report.migrations == tuple(m.name for m in sources.migrations)
    assert report.functions == tuple(f.path for f in sources.functions)
    assert report.dropped == ()
    assert not await pending(conn)
    assert not (await migrate(conn)).changed
    recorded = await conn.fetch("SELECT version, sha256, applied_by FROM core.schema_migrations ORDER BY version")
    assert [(r["version"], r["sha256"]) for r in recorded] == [(m.version, m.sha256) for m in sources.migrations]
    assert {r["applied_by"] for r in recorded} == {await conn.fetchval("SELECT session_user")}


async def test_up_to_date_costs_one_query(conn: Connection, sql: Sql) -> None:
    await migrate(conn, directory=sql.directory)
    queries: list[str] = []
    with conn.query_logger(lambda record: queries.append(record.query)):
        assert not (await migrate(conn, directory=sql.directory)).changed
        await asyncio.sleep(0)  # asyncpg tells its loggers in the loop's next round
    assert len(queries) == 1


async def test_a_database_migrated_before_gets_only_what_is_new(conn: Connection, sql: Sql) -> None:
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    await migrate(conn, directory=sql.directory)
    await conn.execute("INSERT INTO core.things VALUES (1)")
    sql.write("migrations/0004_column.sql", "ALTER TABLE core.things ADD COLUMN word text;")
    assert [m.name for m in (await pending(conn, directory=sql.directory)).migrations] == ["0004_column"]
    assert (await migrate(conn, directory=sql.directory)).migrations == ("0004_column",)
    assert [tuple(row) for row in await conn.fetch("SELECT n, word FROM core.things")] == [(1, None)]
    assert await conn.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'things'") == "tessera_owner"


async def test_an_edited_migration_is_refused(conn: Connection, sql: Sql) -> None:
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    await migrate(conn, directory=sql.directory)
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n bigint);")
    with pytest.raises(EditedMigrationError, match="0002_table"):
        await migrate(conn, directory=sql.directory)
    with pytest.raises(EditedMigrationError):
        await pending(conn, directory=sql.directory)


async def test_a_missing_migration_is_refused(conn: Connection, sql: Sql) -> None:
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    await migrate(conn, directory=sql.directory)
    sql.remove("migrations/0002_table.sql")
    sql.function("_one")
    with pytest.raises(MissingMigrationError, match="0002_table"):
        await migrate(conn, directory=sql.directory)
    assert await _functions(conn) == []


async def test_a_migration_that_comes_late_is_refused(conn: Connection, sql: Sql) -> None:
    sql.write("migrations/0003_table.sql", "CREATE TABLE core.things (n integer);")
    await migrate(conn, directory=sql.directory)
    sql.write("migrations/0002_before.sql", "CREATE TABLE core.others (n integer);")
    with pytest.raises(OutOfOrderMigrationError, match=r"0002_before.*0003_table"):
        await migrate(conn, directory=sql.directory)


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("migrations/0001_twice.sql", "SELECT 1;", "same number"),
        ("migrations/two.sql", "SELECT 1;", "name must be like"),
        ("migrations/0002_tx.sql", "SELECT 1; COMMIT; SELECT 2;", "COMMIT is not allowed"),
        ("functions/core/nothing.sql", "-- CREATE OR REPLACE FUNCTION core.f()\nSELECT 1;", "there is no CREATE"),
        ("functions/core/public.sql", "CREATE FUNCTION public.f() RETURNS int RETURN 1;", "there is no CREATE"),
    ],
)
def test_files_that_break_the_rules_are_named(sql: Sql, path: str, text: str, said: str) -> None:
    sql.write(path, text)
    with pytest.raises(SourceError, match=said) as caught:
        read_sources(sql.directory)
    assert path in str(caught.value)


def test_a_function_has_one_home(sql: Sql) -> None:
    sql.function("_one")
    sql.write("functions/api/other.sql", "CREATE FUNCTION core._one(p_n integer) RETURNS integer RETURN 1;")
    with pytest.raises(SourceError, match=r"core\._one is in functions/"):
        read_sources(sql.directory)


async def test_a_failing_migration_changes_nothing_and_says_where(conn: Connection, sql: Sql) -> None:
    sql.write("migrations/0002_good.sql", "CREATE TABLE core.good (n integer);")
    sql.write("migrations/0003_bad.sql", "CREATE TABLE core.half (n integer);\n\nSELECT nonsense;\n")
    with pytest.raises(MigrationFailedError, match=r"migrations/0003_bad\.sql:3: column .nonsense.") as caught:
        await migrate(conn, directory=sql.directory)
    assert caught.value.sqlstate == "42703"
    assert await conn.fetchval("SELECT to_regclass('core.half')") is None
    assert await conn.fetchval("SELECT max(version) FROM core.schema_migrations") == 2
    sql.write("migrations/0003_bad.sql", "CREATE TABLE core.half (n integer);")
    assert (await migrate(conn, directory=sql.directory)).migrations == ("0003_bad",)


async def test_many_processes_may_start_at_once(empty_database: Clone) -> None:
    connections = [await empty_database.connect() for _ in range(6)]
    reports = await asyncio.gather(*(migrate(conn) for conn in connections))
    assert sum(report.changed for report in reports) == 1


async def test_two_databases_of_one_cluster_may_be_migrated_at_once(server: ServerInfo, sql: Sql) -> None:
    prefix = unique_name("race")[:24]
    clones = [Clone(server, unique_name("race")) for _ in range(3)]
    for clone in clones:
        await server.create(clone.name, template="template0")
    try:
        connections = [await clone.connect() for clone in clones]
        work = (migrate(conn, role_prefix=prefix, directory=sql.directory) for conn in connections)
        assert all(report.changed for report in await asyncio.gather(*work))
    finally:
        for clone in clones:
            await clone.close()
            await server.drop(clone.name)
        await drop_roles(server, prefix)


async def test_the_lock_is_let_go_of_when_a_process_dies(empty_database: Clone, sql: Sql) -> None:
    holder = await empty_database.connect()
    await holder.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    conn = await empty_database.connect()
    with pytest.raises(MigrationBusyError):
        await migrate(conn, directory=sql.directory, wait_seconds=0.2)
    waiting = asyncio.create_task(migrate(conn, directory=sql.directory))
    holder.terminate()
    assert (await waiting).changed


async def test_a_lock_that_is_not_to_be_had_is_tried_again(empty_database: Clone, sql: Sql) -> None:
    conn = await empty_database.connect()
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    await migrate(conn, directory=sql.directory)
    sql.write("migrations/0003_column.sql", "ALTER TABLE core.things ADD COLUMN word text;")
    reader = await empty_database.connect()
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT * FROM core.things")
    waiting = asyncio.create_task(migrate(conn, directory=sql.directory, lock_timeout_ms=50))
    # A writer behind the migration gets its turn between two attempts.
    writer = await empty_database.connect()
    await writer.execute("INSERT INTO core.things VALUES (1)", timeout=30)
    await transaction.rollback()
    assert (await waiting).migrations == ("0003_column",)


async def test_a_changed_function_is_replaced_and_keeps_its_identity(conn: Connection, sql: Sql) -> None:
    sql.function("_one")
    sql.function("_two")
    await migrate(conn, directory=sql.directory)
    before = await conn.fetchval("SELECT 'core._one()'::regprocedure::oid")
    sql.function("_one", body="RETURN 11;")
    assert (await migrate(conn, directory=sql.directory)).functions == ("core/_one.sql",)
    assert await conn.fetchval("SELECT core._one()") == 11
    assert await conn.fetchval("SELECT 'core._one()'::regprocedure::oid") == before


async def test_a_changed_signature_leaves_no_overload(conn: Connection, sql: Sql) -> None:
    sql.function("_one")
    await migrate(conn, directory=sql.directory)
    sql.function("_one", "p_n integer, p_m integer DEFAULT 2")
    assert (await migrate(conn, directory=sql.directory)).dropped == ("core._one()",)
    assert await _functions(conn) == ["core._one(integer,integer)"]


async def test_a_changed_result_type_or_parameter_name_works(conn: Connection, sql: Sql) -> None:
    sql.function("_one", "p_n integer")
    await migrate(conn, directory=sql.directory)
    sql.function("_one", "p_other integer", returns="text")
    await migrate(conn, directory=sql.directory)
    assert await conn.fetchval("SELECT core._one(p_other => 1)") == "1"
    assert await _functions(conn) == ["core._one(integer)"]


async def test_a_removed_file_drops_its_function_and_a_moved_one_does_not(conn: Connection, sql: Sql) -> None:
    sql.function("_one")
    sql.function("_two")
    await migrate(conn, directory=sql.directory)
    text = (sql.directory / "functions/core/_two.sql").read_text()
    sql.remove("functions/core/_one.sql")
    sql.remove("functions/core/_two.sql")
    sql.write("functions/other/_two.sql", text)
    report = await migrate(conn, directory=sql.directory)
    assert report.dropped == ("core._one()",)
    assert await _functions(conn) == ["core._two()"]
    assert [r[0] for r in await conn.fetch("SELECT path FROM core.schema_functions")] == ["other/_two.sql"]


async def test_functions_may_need_each_other_in_any_order(conn: Connection, sql: Sql) -> None:
    sql.write("functions/core/_a.sql", "CREATE OR REPLACE FUNCTION core._a() RETURNS integer RETURN core._z() + 1;")
    sql.write("functions/core/_z.sql", "CREATE OR REPLACE FUNCTION core._z() RETURNS integer RETURN 1;")
    sql.function("_b", body="RETURN core._y();")
    sql.function("_y")
    await migrate(conn, directory=sql.directory)
    assert await conn.fetchval("SELECT core._a() + core._b()") == 3


async def test_one_bad_function_file_stops_all_of_them(conn: Connection, sql: Sql) -> None:
    sql.function("_one")
    sql.write(
        "functions/core/_two.sql",
        "CREATE OR REPLACE FUNCTION core._two(p core.no_such_type) RETURNS integer\nLANGUAGE sql AS 'SELECT 1';",
    )
    with pytest.raises(MigrationFailedError, match=r"functions/core/_two\.sql"):
        await migrate(conn, directory=sql.directory)
    assert await _functions(conn) == []


async def test_triggers_follow_their_file(conn: Connection, sql: Sql) -> None:
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    body = (
        "CREATE OR REPLACE FUNCTION core._mark() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN NEW.n := 42; RETURN NEW; END; $$;\n"
    )
    trigger = (
        "CREATE OR REPLACE TRIGGER things_{} BEFORE INSERT ON core.things FOR EACH ROW EXECUTE FUNCTION core._mark();\n"
    )
    sql.write("functions/core/_mark.sql", body + trigger.format("mark"))
    await migrate(conn, directory=sql.directory)
    assert await conn.fetchval("INSERT INTO core.things VALUES (1) RETURNING n") == 42
    sql.write("functions/core/_mark.sql", body + trigger.format("renamed"))
    await migrate(conn, directory=sql.directory)
    assert await _triggers(conn) == ["things_renamed"]
    sql.remove("functions/core/_mark.sql")
    await migrate(conn, directory=sql.directory)
    assert await _triggers(conn) == []
    assert not await conn.fetchval("SELECT has_table_privilege('tessera_ledger', 'core.things', 'TRIGGER')")


async def _triggers(conn: Connection) -> list[str]:
    return [r[0] for r in await conn.fetch("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1")]


OF_THE_OWNER = [
    "_attach_partition",
    "_channel_day",
    "_cluster",
    "_drop_channel_days",
    "_guard_partition",
    "_history",
    "_hold_outbox",
    "_make_channel_days",
    "_make_partitions",
    "_month_sums",
    "_months_fit",
    "_move_month",
    "_new_partition",
    "_partition_name",
    "_shut_partition",
    "_uuid_at",
    "_uuid_floor",
    "_uuid_time",
    "uuid7",
]
"""They are in migrations: they make and move tables, or tables need them."""


async def test_functions_belong_to_the_ledger_role_which_keeps_no_right_to_make_more(conn: Connection) -> None:
    await migrate(conn)
    others = await conn.fetch("""
        SELECT p.proname AS name, p.proowner::regrole::text AS owner FROM pg_proc AS p
        WHERE p.pronamespace::regnamespace::text IN ('core', 'api') AND p.proowner <> 'tessera_ledger'::regrole
        ORDER BY 1""")
    assert {r["owner"] for r in others} == {"tessera_owner"}
    assert [r["name"] for r in others] == OF_THE_OWNER
    for schema in ("core", "api", "public"):
        assert not await conn.fetchval("SELECT has_schema_privilege('tessera_ledger', $1, 'CREATE')", schema)
        assert not await conn.fetchval("SELECT has_schema_privilege('tessera_app', $1, 'CREATE')", schema)


async def test_a_function_whose_type_was_dropped_comes_back(conn: Connection, sql: Sql) -> None:
    sql.write("migrations/0002_type.sql", "CREATE TYPE core.pair AS (a integer);")
    sql.function("_pair", "p_pair core.pair")
    await migrate(conn, directory=sql.directory)
    sql.write(
        "migrations/0003_type.sql", "DROP TYPE core.pair CASCADE; CREATE TYPE core.pair AS (a integer, b integer);"
    )
    assert (await migrate(conn, directory=sql.directory)).functions == ("core/_pair.sql",)
    assert await _functions(conn) == ["core._pair(core.pair)"]


async def test_a_migrator_needs_no_more_than_createrole_and_create(managed: Managed) -> None:
    await managed.make_login("migrator", "CREATEROLE")
    await managed.grant_create("migrator")
    conn = await managed.connect("migrator")
    report = await migrate(conn, role_prefix=managed.prefix)
    assert report.functions
    assert not await pending(conn)
    assert await conn.fetchval("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'api'") == (
        f"{managed.prefix}_owner"
    )
    # And what comes later, from the same login, still works.
    await conn.execute("DELETE FROM core.schema_functions WHERE path LIKE 'wallets/%'")
    assert (await migrate(conn, role_prefix=managed.prefix)).functions


@pytest.mark.parametrize("options", ["", "CREATEROLE"])
async def test_a_migrator_that_lacks_a_privilege_is_told(managed: Managed, options: str) -> None:
    await managed.make_login("migrator", options)
    conn = await managed.connect("migrator")
    with pytest.raises(MigrationPrivilegeError, match=r"docs/operations-database\.md"):
        await migrate(conn, role_prefix=managed.prefix)
    assert await conn.fetchval("SELECT to_regnamespace('core')") is None


async def test_a_second_migrator_is_made_a_member(managed: Managed, sql: Sql) -> None:
    await managed.make_login("migrator", "CREATEROLE")
    await managed.grant_create("migrator")
    await migrate(await managed.connect("migrator"), role_prefix=managed.prefix, directory=sql.directory)
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    await managed.make_login("second", "")
    second = await managed.connect("second")
    with pytest.raises((MigrationPrivilegeError, asyncpg.InsufficientPrivilegeError)):
        await migrate(second, role_prefix=managed.prefix, directory=sql.directory)
    admin = await asyncpg.connect(managed.server.url)
    await admin.execute(f"GRANT {managed.prefix}_owner, {managed.prefix}_ledger TO {managed.prefix}_second")
    await admin.close()
    assert (await migrate(second, role_prefix=managed.prefix, directory=sql.directory)).migrations == ("0002_table",)


async def test_roles_take_the_prefix_everywhere(managed: Managed) -> None:
    conn = await managed.clone.connect()
    await migrate(conn, role_prefix=managed.prefix)
    named = await conn.fetch("""
        SELECT p.oid::regprocedure::text FROM pg_proc AS p
        WHERE p.pronamespace::regnamespace::text IN ('core', 'api') AND p.prosrc ~ '\\mtessera_(owner|ledger)\\M'""")
    assert named == []
    await conn.execute("DELETE FROM core.schema_functions")
    with pytest.raises(RolePrefixError):
        await migrate(conn)


def _psql(url: str, script: Path) -> subprocess.CompletedProcess[str]:
    program = find_installation(load_settings(dotenv=None).pg_bin).program("psql")
    return subprocess.run([program, "-Xq", "-d", url, "-f", str(script)], capture_output=True, text=True, check=False)


async def test_the_script_for_psql_does_what_the_runner_does(
    empty_database: Clone, database: Clone, tmp_path: Path
) -> None:
    script = tmp_path / "tessera.sql"
    script.write_text(render_script())
    for _ in ("empty", "again"):
        result = _psql(empty_database.url(), script)
        assert result.returncode == 0, result.stderr
    by_hand, by_runner = await empty_database.connect(), await database.connect()
    assert not await pending(by_hand)
    for query in (
        "SELECT version, name, sha256 FROM core.schema_migrations ORDER BY 1",
        "SELECT path, sha256, signatures FROM core.schema_functions ORDER BY 1",
        """SELECT p.oid::regprocedure::text, p.proowner::regrole::text, p.proacl::text, md5(p.prosrc) FROM pg_proc AS p
        WHERE p.pronamespace IN ('core'::regnamespace, 'api'::regnamespace) ORDER BY 1""",
        "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
        "SELECT n.nspacl::text FROM pg_namespace AS n WHERE n.nspname IN ('core', 'api') ORDER BY n.nspname",
    ):
        assert await by_hand.fetch(query) == await by_runner.fetch(query)


async def test_the_script_goes_on_from_where_a_database_is(empty_database: Clone, sql: Sql, tmp_path: Path) -> None:
    conn = await empty_database.connect()
    sql.function("_one")
    sql.function("_old")
    await migrate(conn, directory=sql.directory)
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    sql.function("_one", "p_n integer")
    sql.remove("functions/core/_old.sql")
    script = tmp_path / "tessera.sql"
    script.write_text(render_script(directory=sql.directory))
    assert _psql(empty_database.url(), script).returncode == 0
    assert not await pending(conn, directory=sql.directory)
    assert await _functions(conn) == ["core._one(integer)"]


async def test_the_script_refuses_an_edited_migration(empty_database: Clone, sql: Sql, tmp_path: Path) -> None:
    conn = await empty_database.connect()
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n integer);")
    await migrate(conn, directory=sql.directory)
    sql.write("migrations/0002_table.sql", "CREATE TABLE core.things (n bigint);")
    script = tmp_path / "tessera.sql"
    script.write_text(render_script(directory=sql.directory))
    result = _psql(empty_database.url(), script)
    assert result.returncode == 3
    assert "edited after they were applied" in result.stderr


async def test_uuid7_is_ordered_by_time_and_well_formed(db: Connection) -> None:
    made = [row[0] for row in await db.fetch("SELECT core.uuid7() FROM generate_series(1, 500)")]
    assert len(set(made)) == 500
    assert all(value.version == 7 and value.variant == "specified in RFC 4122" for value in made)
    stamps = [value.int >> 80 for value in made]
    assert stamps == sorted(stamps)
    now_ms = await db.fetchval("SELECT (extract(EPOCH FROM clock_timestamp()) * 1000)::bigint")
    assert abs(now_ms - stamps[-1]) < 60_000


async def test_limits_of_the_service_roles_are_set_in_this_database(conn: Connection, sql: Sql) -> None:
    await migrate(conn, directory=sql.directory)
    rows = await conn.fetch("""
        SELECT s.setrole::regrole::text AS role, s.setconfig FROM pg_db_role_setting AS s
        JOIN pg_database AS d ON d.oid = s.setdatabase WHERE d.datname = current_database()""")
    names = {row["role"]: {item.partition("=")[0] for item in row["setconfig"]} for row in rows}
    limits = {"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}
    assert names == {"tessera_app": limits, "tessera_scheduler": limits}
