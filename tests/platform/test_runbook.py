"""docs/runbook.md: every block of it, run as it stands there, on servers that are thrown away."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.embedded import EmbeddedPostgres
from app.settings import load_settings
from tests.support.runbook import NAMES, RUNBOOK, Operator, Service, read_blocks

PASSWORD = "correct horse battery"
WAIT_SECONDS = 30
PRIVILEGES = """
WITH mine AS (SELECT oid FROM pg_namespace WHERE nspname IN ('core', 'api')),
objects (what, owner, acl) AS (
    SELECT 'schema ' || nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE oid IN (SELECT oid FROM mine)
    UNION ALL
    SELECT 'relation ' || oid::regclass, relowner,
        coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM pg_class WHERE relnamespace IN (SELECT oid FROM mine) AND relkind IN ('r', 'p', 'v', 'S')
    UNION ALL
    SELECT 'column ' || a.attrelid::regclass || '.' || a.attname, c.relowner, a.attacl
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attacl IS NOT NULL AND c.relnamespace IN (SELECT oid FROM mine)
    UNION ALL
    SELECT 'function ' || oid::regprocedure, proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc WHERE pronamespace IN (SELECT oid FROM mine)
    UNION ALL
    SELECT 'type ' || oid::regtype, typowner, coalesce(typacl, acldefault('T', typowner))
    FROM pg_type WHERE typnamespace IN (SELECT oid FROM mine) AND typelem = 0
    UNION ALL
    SELECT 'default ' || defaclobjtype::text || coalesce(defaclnamespace::regnamespace::text, ''), defaclrole, defaclacl
    FROM pg_default_acl
)
SELECT o.what || ' ' || o.owner::regrole || ' ' || (
    SELECT string_agg(a.grantee::regrole || ':' || a.privilege_type, ' '
        ORDER BY a.grantee::regrole::text, a.privilege_type)
    FROM aclexplode(o.acl) AS a
)
FROM objects AS o
UNION ALL
SELECT 'setting ' || s.setrole::regrole || ' ' || unnest(s.setconfig)
FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase AND d.datname = 'tessera'
UNION ALL
SELECT 'database ' || a.grantee::regrole || ' ' || a.privilege_type
FROM pg_database AS d CROSS JOIN aclexplode(d.datacl) AS a
WHERE d.datname = 'tessera' AND a.grantee::regrole::text LIKE 'tessera_%' AND a.grantee <> d.datdba
ORDER BY 1
"""
"""Who owns what, who may what, and what is set for whom: a copy must not differ in any line."""


@pytest.fixture
def operator() -> Iterator[Operator]:
    made = Operator()
    yield made
    made.close()


@pytest.fixture
def small_disk(operator: Operator) -> Iterator[Path]:
    """A file system of 200 MiB, with the data folder on it."""
    folder = operator.folder / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("this needs the right to mount a file system")
    folder.chmod(0o755)
    operator.data = folder / "data"
    operator.env["TESSERA_DATA"] = str(operator.data)
    yield folder
    operator.end()
    subprocess.run(["umount", folder], check=True)


class Client:
    """A user of the API."""

    def __init__(self, service: Service, name: str, token: str | None = None) -> None:
        self.name = name
        self.http = httpx.Client(base_url=f"{service.url}/api/v1", trust_env=False)
        self.user = ""
        self.token = token or self._register()

    def _register(self) -> str:
        body = {"email": f"{self.name}@example.com", "username": self.name, "password": PASSWORD}
        answer = self.http.post("/auth/register", json=body)
        assert answer.status_code == 201, answer.text
        self.user = answer.json()["user"]["id"]
        token: str = answer.json()["access_token"]
        return token

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key else {})
        return self.http.request(method, path, json=body, headers=headers)

    def tip(self, creator: str, amount: int, key: str) -> dict[str, Any]:
        answer = self.call("POST", "/tips/send", {"creator_id": creator, "amount": amount}, key)
        assert answer.status_code in (200, 201), answer.text
        body: dict[str, Any] = answer.json()
        return body


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def folder_of(operator: Operator, pattern: str) -> str:
    """The one folder that a block has made in BACKUPS."""
    (found,) = (path for path in Path(operator.env["BACKUPS"]).glob(pattern) if path.is_dir())
    return str(found)


def archive_on(operator: Operator) -> Service:
    """Turn on archiving on a running service, and see that it works. The service, started anew."""
    operator.follow("Turn on WAL archiving")
    operator.follow("Stop the service")
    service = operator.start()
    deadline = time.monotonic() + WAIT_SECONDS
    while "archived_count     | 0" in (said := operator.follow("Check the archive")):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
    assert "failed_count       | 0" in said
    return service


def test_each_block_is_followed_by_a_test() -> None:
    source = Path(__file__).read_text()
    headings = set(read_blocks(RUNBOOK.read_text())) - {NAMES}
    assert sorted(heading for heading in headings if f'"{heading}"' not in source) == []
    assert len(headings) > 20


def test_no_block_is_in_another_shell() -> None:
    text = RUNBOOK.read_text()
    assert text.count("```") == 2 * len(read_blocks(text))


def test_backup_and_restore_to_a_moment(operator: Operator) -> None:
    operator.start()
    service = archive_on(operator)
    fan, ada = Client(service, "fan"), Client(service, "ada")
    operator.shell("./run grant fan@example.com 1000 --key seed")
    operator.follow("Base backup")
    operator.follow("Dump")
    base = folder_of(operator, "base-*")
    assert (Path(operator.env["BACKUPS"]) / "roles.sql").stat().st_size > 0

    assert ada.call("POST", "/dashboard/profile/creator", {"rate_per_minute": 10}).status_code == 200
    early = fan.tip(ada.user, 100, "early")
    operator.follow("Name the moment")
    at = operator.sql("SELECT clock_timestamp()")
    late = fan.tip(ada.user, 300, "late")
    program = fan.call("POST", "/api-keys", {"name": "late", "scopes": ["wallet:read"]}).json()
    newcomer = Client(service, "newcomer")
    assert operator.sql("SELECT count(*) FROM core.idempotency_keys") == "3"

    operator.follow("Save what the archive has not got")
    restored = str(operator.folder / "restored")
    moment = {"RESTORED": restored, "BASE": base, "AT": at, "TARGET": f"recovery_target_time = '{at}'"}
    said = operator.follow("Restore the base backup", **moment)
    assert "The books balance" in said
    assert not re.search("^[<>]", operator.follow("Compare with the old data", **moment), re.MULTILINE)
    then = {row["wallet_id"]: row["balance"] for row in rows(Path(operator.env["BACKUPS"]) / "balances-restored.csv")}
    assert sorted(then.values(), key=int)[-2:] == ["100", "900"]

    operator.follow("List what is lost", **moment)
    lost = rows(Path(operator.env["BACKUPS"]) / "lost-transfers.csv")
    assert [(row["transfer_id"], row["key"], row["key_owner"]) for row in lost] == [(late["tip_id"], "late", fan.user)]
    events = rows(Path(operator.env["BACKUPS"]) / "lost-events.csv")
    assert sorted(row["type"] for row in events) == ["tip.sent", "wallet.changed", "wallet.changed"]

    assert operator.follow("End every session", **moment).splitlines()[-1] == "UPDATE 2"
    operator.follow("Stop the service")
    operator.follow("Take over", **moment)
    service = operator.start(TESSERA_DATA=restored)
    assert operator.sql("SHOW archive_mode", TESSERA_DATA=restored) == "off"
    timeline = "SELECT timeline_id FROM pg_control_checkpoint()"
    assert operator.sql(timeline, "migrate", TESSERA_DATA=restored) == "2"

    # who was there signs in anew, who came later is unknown
    for client in (fan, newcomer):
        client.http.base_url = httpx.URL(f"{service.url}/api/v1")
        assert client.call("GET", "/dashboard/wallet").status_code == 401
    login = {"email": "fan@example.com", "password": PASSWORD}
    fan.token = fan.http.post("/auth/login", json=login).json()["access_token"]
    program_call = fan.http.get("/dashboard/wallet", headers={"X-API-Key": program["key"]})
    assert program_call.status_code == 401
    # keys of before are replayed, those of after are new
    assert fan.tip(ada.user, 100, "early")["tip_id"] == early["tip_id"]
    again = fan.tip(ada.user, 300, "late")
    assert (again["tip_id"] == late["tip_id"], again["new_balance"]) == (False, 600)
    assert "The books balance" in operator.shell("./run audit", TESSERA_DATA=restored)
    # archiving starts anew
    archive = str(operator.folder / "archive-2")
    operator.follow("Turn on WAL archiving", TESSERA_DATA=restored, ARCHIVE=archive)
    settings = "SELECT string_agg(setting, ' ') FROM pg_file_settings WHERE name = 'archive_mode'"
    assert operator.sql(settings, "migrate", TESSERA_DATA=restored) == "on"
    assert operator.follow("Check the archive", TESSERA_DATA=restored, ARCHIVE=archive)


@pytest.mark.long
def test_restore_to_a_name_and_prune(operator: Operator) -> None:
    operator.start()
    archive_on(operator)
    operator.shell(register("fan"))
    operator.follow("Base backup")
    base = folder_of(operator, "base-*")
    operator.shell("./run grant fan@example.com 1000")
    operator.follow("Name the moment")
    operator.shell("./run grant fan@example.com 5")
    operator.follow("Save what the archive has not got")
    operator.follow("Stop the service")

    restored = str(operator.folder / "restored")
    operator.follow(
        "Restore the base backup", RESTORED=restored, BASE=base, TARGET="recovery_target_name = 'before-import'"
    )
    statement = "SELECT sum(balance) FROM api.wallets WHERE owner_id IS NOT NULL"
    assert operator.sql(statement, TESSERA_DATA=restored) == "1000"
    assert operator.sql(statement) == "1005"

    segments = sorted(os.listdir(operator.env["ARCHIVE"]))
    operator.follow("Prune the archive", BASE=base)
    kept = sorted(os.listdir(operator.env["ARCHIVE"]))
    assert 0 < len(kept) < len(segments)
    again = operator.folder / "again"
    operator.follow(
        "Restore the base backup", RESTORED=str(again), BASE=base, TARGET="recovery_target_name = 'before-import'"
    )
    assert operator.sql(statement, TESSERA_DATA=str(again)) == "1000"
    # a moment that the archive does not reach is told
    too_late = "recovery_target_time = '2999-01-01 00:00:00+00'"
    # the old server dies before its last log is archived; all that it ever committed is there
    service = operator.start()
    operator.shell("./run grant fan@example.com 70")
    os.kill(int((operator.data / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGSTOP)
    service.end(signal.SIGKILL)
    os.kill(int((operator.data / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    newest = str(operator.folder / "newest")
    operator.follow("Restore the base backup", RESTORED=newest, BASE=base, TARGET="", DEAD=str(operator.data))
    assert operator.sql(statement, TESSERA_DATA=newest) == "1075"

    script = operator.script("Restore the base backup")
    said = operator.failing(script, RESTORED=str(operator.folder / "never"), BASE=base, TARGET=too_late)
    assert "recovery ended before configured recovery target was reached" in said


def register(name: str) -> str:
    """A command that makes a user."""
    return f"./run psql --as app -c \"SELECT api.register_user('{name}@example.com', '{name}', NULL, 'no hash')\""


@pytest.mark.long
def test_moving_to_a_server_of_your_own_and_back(operator: Operator) -> None:
    settings = load_settings(dotenv=None)
    folder = operator.folder / "own"
    backups = Path(operator.env["BACKUPS"])
    own = EmbeddedPostgres(folder, superuser_password="new", pg_bin=settings.pg_bin, account=settings.pg_user)
    operator.shell(f"./run migrate\n{register('fan')}\n./run grant fan@example.com 1000")
    own.start()
    try:
        # no superuser, as managed services have it (docs/operations-database.md)
        there = {"NEW_URL": own.url("tessera_admin", "of-the-admin", "tessera")}
        for statement in (
            "CREATE ROLE tessera_admin LOGIN CREATEROLE PASSWORD 'of-the-admin'",
            "CREATE DATABASE tessera OWNER tessera_admin ENCODING 'UTF8' TEMPLATE template0",
        ):
            operator.shell('DATABASE_URL=$URL ./run psql --as migrate -c "$DO"', URL=own.superuser_url(), DO=statement)
        operator.follow("Make the roles", **there)
        operator.start("--no-scheduler")
        operator.follow("Copy to a server of your own", **there)
        assert "The books balance" in operator.follow("Check the copy", **there)
        operator.follow("Stop the service")
        # nothing is ever dropped that holds something
        assert "division by zero" in operator.failing(operator.script("Make the roles"), **there)

        here, url = operator.sql(PRIVILEGES, "migrate"), there["NEW_URL"]
        assert len(here.splitlines()) > 200
        assert operator.sql(PRIVILEGES, "migrate", DATABASE_URL=url) == here
        service = operator.start(DATABASE_URL=url)
        assert Client(service, "ada").call("GET", "/dashboard/wallet").status_code == 200
        operator.shell("./run grant fan@example.com 7", DATABASE_URL=url)
        service.end()
        later = operator.sql(PRIVILEGES, "migrate", DATABASE_URL=url)  # the scheduler has made partitions
        assert set(here.splitlines()) <= set(later.splitlines())
        operator.shell(operator.blocks["Check the copy"].replace("diff", "! diff"), **(operator.env | there))
        now = '-o "$BACKUPS/balances-before.csv" -c "SELECT * FROM api.wallets ORDER BY wallet_id"'
        operator.shell(f"./run psql -- -X --csv {now}", DATABASE_URL=url)
        back = str(operator.folder / "back")
        operator.follow("Back to an embedded server", **there)
        dump = str(backups / "back.dump")
        assert "The books balance" in operator.follow("Restore a dump", NEW_DATA=back, DUMP=dump)
        assert (backups / "balances-restored.csv").read_text() == (backups / "balances-before.csv").read_text()
        assert operator.sql(PRIVILEGES, "migrate", TESSERA_DATA=back) == later
    finally:
        own.stop()
    service = operator.start(TESSERA_DATA=back)
    assert Client(service, "ben").call("GET", "/dashboard/wallet").status_code == 200
    operator.shell("./run grant fan@example.com 1", TESSERA_DATA=back)
    statement = "SELECT sum(balance) FROM api.wallets WHERE owner_id IS NOT NULL"
    assert operator.sql(statement, TESSERA_DATA=back) == "1008"


def test_a_violation_is_frozen_kept_understood_and_repaired(operator: Operator) -> None:
    operator.start()
    archive_on(operator)
    operator.shell(f"{register('fan')}\n./run grant fan@example.com 100")
    wallet = operator.sql("SELECT wallet_id FROM api.wallets WHERE owner_id IS NOT NULL")
    issuance = operator.sql("SELECT wallet_id FROM api.wallets WHERE purpose = 'issuance' LIMIT 1")
    operator.follow("Base backup")
    assert operator.follow("Look").startswith("The books balance")
    at = operator.sql("SELECT clock_timestamp()")
    # somebody with a superuser's rights, and a transfer that is lost by the restore
    slip = f"UPDATE core.wallets SET balance = balance + 7 WHERE id = '{wallet}'"
    operator.sql(f"SET session_replication_role = replica; {slip}", "migrate")
    operator.shell("./run grant fan@example.com 50")

    said = operator.follow("Look")
    assert "asset_sums_to_zero" in said
    assert "running_balance" in said
    assert "frozen" in operator.follow("Stop the bleeding", WALLET=wallet)
    assert "WALLET_FROZEN" in operator.failing("./run grant fan@example.com 1")
    operator.follow("Keep the evidence", WALLET=wallet)
    evidence = Path(folder_of(operator, "incident-*"))
    assert {row["rule"] for row in rows(evidence / "violations.csv")} >= {"asset_sums_to_zero", "running_balance"}
    assert (evidence / "postgres" / "backup_manifest").is_file()
    assert (evidence / "books.jsonl.gz").is_file()
    told = operator.follow("Find out", WALLET=wallet)
    assert "wallet.frozen" in told
    assert "checksum_failures" in told

    operator.follow("Save what the archive has not got")
    operator.follow("Stop the service")
    restored = str(operator.folder / "restored")
    moment = {"RESTORED": restored, "BASE": folder_of(operator, "base-*"), "AT": at}
    operator.follow("Restore the base backup", TARGET=f"recovery_target_time = '{at}'", **moment)
    operator.follow("List what is lost", **moment)
    (lost,) = rows(Path(operator.env["BACKUPS"]) / "lost-transfers.csv")
    names = {"WALLET": wallet, "FROM": issuance, "TO": wallet, "AMOUNT": lost["amount"], "TESSERA_DATA": restored}
    operator.start("--no-scheduler", TESSERA_DATA=restored)
    for person in ("ada", "ben"):
        make = f"CREATE ROLE {person} LOGIN PASSWORD 'of-{person}' IN ROLE tessera_dba"
        operator.sql(make, "migrate", TESSERA_DATA=restored)
        names[f"{person.upper()}_URL"] = f"postgresql://{person}:of-{person}@/tessera?host={restored}/run"
    script = operator.script("Repair by an adjustment")
    assert "SAME_PERSON" in operator.failing(script, **(names | {"BEN_URL": names["ADA_URL"]}))
    said = operator.follow("Repair by an adjustment", **names)
    assert "approved" in said
    assert "The books balance" in said
    who = "SELECT requested_db_user || ' ' || decided_db_user FROM api.adjustments"
    assert operator.sql(who, TESSERA_DATA=restored) == "ada ben"
    balance = f"SELECT balance FROM api.wallets WHERE wallet_id = '{wallet}'"
    assert operator.sql(balance, TESSERA_DATA=restored) == "150"


def test_what_an_adjustment_does_not_mend(operator: Operator) -> None:
    operator.shell(f"./run migrate\n{register('fan')}\n./run grant fan@example.com 100")
    wallet = operator.sql("SELECT wallet_id FROM api.wallets WHERE owner_id IS NOT NULL")
    issuance = operator.sql("SELECT wallet_id FROM api.wallets WHERE purpose = 'issuance' LIMIT 1")
    statement = f"UPDATE core.wallets SET balance = balance + 7 WHERE id = '{wallet}'"
    operator.sql(f"SET session_replication_role = replica; {statement}", "migrate")
    before = operator.failing("./run audit")
    assert "balance_is_last_entry" in before
    asked = operator.sql(f"SELECT adjustment_id FROM api.request_adjustment('{wallet}', '{issuance}', 7, 'a test')")
    operator.sql(f"SELECT api.approve_adjustment('{asked}')", "migrate")
    assert "running_balance" in operator.failing("./run audit")


def test_token_secret_rotates_and_old_tokens_stay_good(operator: Operator) -> None:
    old = "an-old-one-Zk3vB8qL0xW5rT7yU2iO9pA4sD6fG1hJ"
    service = operator.start(TESSERA_TOKEN_SECRET=old)
    fan = Client(service, "fan")
    operator.follow("Stop the service")
    said = operator.follow("Rotate the token secret", TESSERA_TOKEN_SECRET=old)
    settings = dict(line.split("=", 1) for line in said.splitlines())
    assert settings["TESSERA_TOKEN_OLD_SECRETS"] == f"k1={old}"
    service = operator.start(TESSERA_ENV="production", **settings)
    assert Client(service, "fan", fan.token).call("GET", "/dashboard/wallet").status_code == 200
    operator.follow("Stop the service")
    settings.pop("TESSERA_TOKEN_OLD_SECRETS")
    service = operator.start(**settings)
    assert Client(service, "fan", fan.token).call("GET", "/dashboard/wallet").status_code == 401


def test_passwords_rotate(operator: Operator) -> None:
    operator.start()
    operator.shell(f"{register('fan')}\n./run grant fan@example.com 100")
    old = json.loads((operator.data / "secrets.json").read_text())
    operator.follow("Stop the service")
    operator.follow("Rotate the embedded server's passwords")
    new = json.loads((operator.data / "secrets.json").read_text())
    assert [name for name in old if old[name] == new[name]] == []
    service = operator.start()
    assert Client(service, "ada").call("GET", "/dashboard/wallet").status_code == 200
    url = operator.shell("./run psql --as app --print-url").strip()
    refused = url.replace(new["app_password"], old["app_password"])
    said = operator.failing("./run psql --as app -c 'SELECT 1'", DATABASE_URL=refused)
    assert "password authentication failed" in said


def test_after_a_crash(operator: Operator) -> None:
    service = operator.start()
    operator.shell(f"{register('fan')}\n./run grant fan@example.com 100")
    postmaster = int((operator.data / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    service.end(signal.SIGKILL)
    operator.start()
    said = operator.follow("After a crash")
    assert "The books balance" in said
    assert "database system was not properly shut down" in said
    assert "0 failures" in said
    assert "attached" in operator.follow("5. Partition upkeep")
    assert "job_done" in operator.follow("Run a job now", JOB="cancel-no-shows")
    said = operator.follow("See the jobs")
    assert re.search(r"^job +\| cancel-no-shows$", said, re.MULTILINE), said
    assert "Cancel scheduled streams that never went live" in said
    assert operator.sql("SELECT sum(balance) FROM api.wallets WHERE owner_id IS NOT NULL") == "100"


def test_a_full_disk(operator: Operator, small_disk: Path) -> None:
    for name in ("BACKUPS", "ARCHIVE"):
        Path(operator.env[name]).mkdir()
    service = operator.start()
    operator.shell(f"{register('fan')}\n./run grant fan@example.com 100 --key before")
    assert "archived_count" in operator.follow("What fills the disk")
    # the service writes at the same time: there may be a little less
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(64 * 1024))
    # log without end, that needs room
    noise = "SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1000000)) FROM generate_series(1, 100)"
    assert "No space left on device" in operator.failing(f'./run psql --as migrate -c "{noise}"')
    assert service.process.wait(WAIT_SECONDS) == 1
    assert "No space left on device" in service.log.read_text()
    assert "100%" in operator.failing(operator.script("What fills the disk"))

    (small_disk / "filler").unlink()
    operator.start()
    said = operator.follow("After a crash")
    assert "The books balance" in said
    assert "FAIL" not in said
    assert "Nothing moved" in operator.shell("./run grant fan@example.com 100 --key before")
    operator.shell("./run grant fan@example.com 1 --key after")
    assert operator.sql("SELECT sum(balance) FROM api.wallets WHERE owner_id IS NOT NULL") == "101"
