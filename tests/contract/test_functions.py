"""The contract of the SQL functions: what each file and each function in the catalogue must be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.settings import PROJECT_ROOT
from tests.contract.sources import FunctionSource, function_sources, sql_files, without_comments
from tests.support.postgres import Connection

LEDGER = ("wallets", "transfers", "entries", "holds", "captures", "refunds", "velocity_counters")
OPENERS = {"core._open_wallets", "api.create_asset", "api.open_wallet", "api.open_system_wallet"}
"""They make wallets, with nothing in them."""
HOLDERS = {"core._place_hold", "api.capture_hold", "api.release_hold", "core._expire_holds"}
"""They write what wallets hold, never what is in them."""
WRITERS = {
    # The many and the one: _post_one is _post_transfers for a single request, and tested to do the same.
    "transfers": {"core._post_transfers", "core._post_one"},
    "entries": {"core._post_transfers", "core._post_one"},
    "wallets": {"core._post_transfers", "core._post_one", *OPENERS, "core._set_wallet", *HOLDERS},
    "holds": HOLDERS,
    "captures": {"api.capture_hold"},
    "refunds": {"core._give_back"},
    "velocity_counters": {"core._count_velocity"},
}
MAY_NOTIFY = {"core._notify_rights", "api.relay_events"}
"""Not on a path of money: a commit that notifies holds a lock of the whole server."""
EXAMPLES = ("docs/**/*.md", "docs/sql-examples/**/*.sql")
CALLERS = ("app/**/queries.py", "app/**/_queries.py", "scheduler/**/*.py")


@pytest.mark.parametrize("source", function_sources(), ids=lambda source: source.path)
class TestFile:
    """Each file of sql/functions."""

    def test_is_named_after_its_function(self, source: FunctionSource) -> None:
        assert source.name.partition(".")[2] == source.path.rpartition("/")[2].removesuffix(".sql")
        assert source.name.startswith("core._" if "/_" in source.path else "api.")

    def test_has_a_header(self, source: FunctionSource) -> None:
        assert source.header.startswith(f"{source.name.partition('.')[2]}:")

    def test_states_what_a_contract_function_locks_decides_writes_and_raises(self, source: FunctionSource) -> None:
        words = ("Errors",) if source.name.startswith("core.") else ("Locks", "Decides", "Writes", "Errors")
        if source.name.startswith("core.") and "_raise(" not in source.code:
            return
        assert [word for word in words if f" {word} " not in source.header] == []

    def test_waits_for_nobody_and_notifies_nobody(self, source: FunctionSource) -> None:
        forbidden = {"dblink", "pg_sleep"} | ({"pg_notify", "NOTIFY"} if source.name not in MAY_NOTIFY else set())
        assert [word for word in sorted(forbidden) if re.search(rf"\b{word}\b", source.bare_code)] == []

    def test_writes_the_ledger_only_where_that_is_done(self, source: FunctionSource) -> None:
        for table in LEDGER:
            writes = re.search(
                rf"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM|TRUNCATE(\s+TABLE)?|MERGE\s+INTO)\s+(ONLY\s+)?core\.{table}\b",
                source.bare_code,
                re.IGNORECASE,
            )
            assert writes is None or source.name in WRITERS[table]

    def test_locks_wallets_only_in_lock_wallets(self, source: FunctionSource) -> None:
        locks = re.search(r"\bFOR\s+(NO\s+KEY\s+UPDATE|UPDATE|KEY\s+SHARE|SHARE)\b", source.bare_code, re.IGNORECASE)
        names_wallets = re.search(r"\bcore\.wallets\b", source.bare_code) is not None
        assert not (locks and names_wallets) or source.name == "core._lock_wallets"
        assert not re.search(r"\bLOCK\s+TABLE\b", source.bare_code, re.IGNORECASE)


def test_every_writer_that_is_allowed_exists() -> None:
    names = {source.name for source in function_sources()}
    assert set().union(*WRITERS.values(), MAY_NOTIFY, {"core._lock_wallets"}) <= names


async def test_nothing_in_the_database_notifies_but_what_may(db: Connection) -> None:
    """Neither in a function of a migration, nor by a trigger on what money writes."""
    found = await db.fetch("""
        SELECT p.oid::regproc::text FROM pg_proc AS p
        WHERE p.pronamespace IN ('api'::regnamespace, 'core'::regnamespace) AND p.prosrc ~* '\\mnotify\\M|pg_notify'""")
    assert {row[0] for row in found} == MAY_NOTIFY
    tables = await db.fetch(
        "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgfoid = 'core._notify_rights'::regproc"
    )
    assert {row[0] for row in tables} == {"core.users", "core.sessions", "core.api_keys"}


@pytest.mark.parametrize("path", sql_files(), ids=lambda path: path.name)
def test_nothing_is_a_floating_point_number(path: Path) -> None:
    assert re.findall(r"\b(?:float[48]?|real|double\s+precision|money)\b", without_comments(path), re.IGNORECASE) == []


async def test_contract_functions_are_definer_functions_with_a_pinned_search_path(db: Connection) -> None:
    wrong = await db.fetch("""
        SELECT p.oid::regprocedure::text, p.prosecdef, p.proconfig, r.rolname FROM pg_proc AS p
        JOIN pg_roles AS r ON r.oid = p.proowner
        WHERE p.pronamespace = 'api'::regnamespace AND NOT (
            p.prosecdef AND r.rolname = 'tessera_ledger'
            AND 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))
        )""")
    assert wrong == []


async def test_internal_functions_run_with_their_callers_rights_or_pin_their_search_path(db: Connection) -> None:
    wrong = await db.fetch("""
        SELECT p.oid::regprocedure::text FROM pg_proc AS p
        WHERE p.pronamespace = 'core'::regnamespace AND p.prosecdef
        AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(p.proconfig, '{}'))""")
    assert wrong == []


async def test_nobody_is_public(db: Connection) -> None:
    wrong = await db.fetch("""
        SELECT p.oid::regprocedure::text FROM pg_proc AS p
        WHERE p.pronamespace IN ('api'::regnamespace, 'core'::regnamespace) AND (
            p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0)
        )""")
    assert wrong == []


async def test_who_may_call_what(db: Connection) -> None:
    wrong = await db.fetch("""
        SELECT r.name, p.oid::regprocedure::text
        FROM (VALUES ('tessera_app'), ('tessera_scheduler'), ('tessera_dba'), ('tessera_readonly')) AS r (name)
        CROSS JOIN pg_proc AS p
        WHERE p.pronamespace IN ('api'::regnamespace, 'core'::regnamespace)
        AND p.proname <> 'uuid7' -- the default of primary keys
        AND has_function_privilege(r.name, p.oid, 'EXECUTE') AND (
            p.pronamespace = 'core'::regnamespace OR r.name = 'tessera_readonly'
            OR p.proname = 'lease_webhooks' AND r.name <> 'tessera_scheduler' -- it shows secrets
        )""")
    assert wrong == []
    assert await db.fetchval("""
        SELECT bool_and(has_function_privilege(r.name, p.oid, 'EXECUTE'))
        FROM (VALUES ('tessera_app'), ('tessera_scheduler'), ('tessera_dba')) AS r (name) CROSS JOIN pg_proc AS p
        WHERE p.pronamespace = 'api'::regnamespace
        AND (r.name = 'tessera_scheduler' OR p.proname <> 'lease_webhooks')
        AND (r.name = 'tessera_dba' OR p.proname NOT IN ('detach_month', 'attach_month', 'sealed_rows'))""")


async def test_everything_has_a_comment(db: Connection) -> None:
    """Functions, views, types of `api`; tables and functions of `core`."""
    wrong = await db.fetch("""
        SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p
        WHERE p.pronamespace IN ('api'::regnamespace, 'core'::regnamespace)
        AND length(coalesce(obj_description(p.oid, 'pg_proc'), '')) < 20
        UNION ALL
        SELECT c.oid::regclass::text FROM pg_class AS c
        WHERE c.relnamespace IN ('api'::regnamespace, 'core'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'm', 'c')
        AND length(coalesce(
            obj_description(c.oid, 'pg_class'), obj_description(c.reltype, 'pg_type'), ''
        )) < 20""")
    assert wrong == []


async def test_every_contract_function_has_a_caller_or_an_example(db: Connection) -> None:
    names = {row[0] for row in await db.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'api'::regnamespace")}
    texts = [path.read_text() for pattern in CALLERS + EXAMPLES for path in PROJECT_ROOT.glob(pattern)]
    assert sorted(name for name in names if not any(re.search(rf"\bapi\.{name}\s*\(", text) for text in texts)) == []
