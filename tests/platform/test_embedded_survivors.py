"""What earlier starts can leave behind: survivors, lock files that name strangers, half a cluster, lost secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from app.core.connections import start_embedded
from app.core.embedded import DataVersionError, EmbeddedPostgres, StartError, server_is_running
from app.core.embedded.processes import is_alive
from app.core.secrets import FILE_NAME, SecretsError, load_secrets
from app.settings import load_settings
from tests.platform.test_embedded import PASSWORD, ask, data, server_on

__all__ = ["data"]

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


def test_a_pid_file_that_names_a_stranger(data: Path) -> None:
    server = server_on(data)
    server.start()
    pid_file = server.folder.pgdata / "postmaster.pid"
    left = pid_file.read_text()
    server.stop()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text(f"{stranger.pid}\n{left.partition(chr(10))[2]}")
        server.start()
        assert ask(server, "SELECT 1") == "1"
        assert stranger.poll() is None
    finally:
        server.stop()
        stranger.kill()
        stranger.wait()


def test_a_server_that_outlived_its_supervisor_is_replaced(data: Path) -> None:
    # The kernel's signal for a dead parent is taken away, as on a system that has none.
    script = (
        "import sys\nfrom pathlib import Path\nimport app.core.embedded.server as module\n"
        "module.die_with_parent = lambda number: None\n"
        f"server = module.EmbeddedPostgres(Path(sys.argv[1]), superuser_password={PASSWORD!r})\n"
        "server.start()\nprint(server.pid, flush=True)\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(data)], capture_output=True, text=True, check=False)
    survivor = int(result.stdout)
    assert is_alive(survivor)
    server = EmbeddedPostgres(data, superuser_password=PASSWORD)
    server.start()
    try:
        assert not is_alive(survivor)
        assert ask(server, "SELECT 1") == "1"
    finally:
        server.stop()
    assert not server_is_running(data)


def test_half_a_cluster_is_made_again(data: Path) -> None:
    half = data / "postgres.new-cut-short"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = server_on(data)
    server.start()
    server.stop()
    assert not half.exists()


def test_a_broken_configuration_is_named_and_leaves_the_folder_free(data: Path) -> None:
    server = server_on(data)
    server.start()
    server.stop()
    local = server.folder.pgdata / "local.conf"
    local.write_text("shared_buffers = 'plenty'\n")
    with pytest.raises(StartError, match="shared_buffers"):
        server.start()
    local.unlink()
    server.start()
    server.stop()


@pytest.mark.skipif(not DEBIAN_15.is_dir(), reason="the binaries of PostgreSQL 15 are not installed")
def test_postgresql_15_and_data_of_another_major(data: Path) -> None:
    old = EmbeddedPostgres(data, superuser_password=PASSWORD, pg_bin=DEBIAN_15)
    old.start()
    try:
        assert ask(old, "SHOW server_version_num").startswith("15")
    finally:
        old.stop()
    with pytest.raises(DataVersionError, match="TESSERA_PG_BIN"):
        EmbeddedPostgres(data, superuser_password=PASSWORD).start()


def test_lost_secrets_are_replaced_in_the_cluster_too(data: Path) -> None:
    settings = msgspec.structs.replace(load_settings({}, dotenv=None), data=data)
    start_embedded(settings).stop()
    before = load_secrets(data)
    (data / FILE_NAME).unlink()
    server = start_embedded(settings)
    try:
        assert load_secrets(data) != before
        assert ask(server, "SELECT 1") == "1"
    finally:
        server.stop()


def test_secrets_are_private_and_two_starters_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: load_secrets(tmp_path), range(16)))
    assert len(found) == 1
    path = tmp_path / FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    load_secrets(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_damaged_secrets_are_not_silently_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(SecretsError, match=FILE_NAME):
        load_secrets(tmp_path)
