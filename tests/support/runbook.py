"""docs/runbook.md as a program: its blocks of shell, by the heading above them, and an operator who runs them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx

from app.settings import PROJECT_ROOT, setting_names

RUNBOOK = PROJECT_ROOT / "docs" / "runbook.md"
NAMES = "Names"
"""The heading of the block that every procedure begins with."""
SECONDS = 120
START_SECONDS = 60
POLL_SECONDS = 0.1


def read_blocks(text: str) -> dict[str, str]:
    """The ```sh block below each heading that has one. Two below one heading are an error."""
    blocks: dict[str, str] = {}
    for section in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        found = re.findall(r"^```sh\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
        if len(found) > 1 or (found and heading in blocks):
            raise ValueError(f"more than one block of sh below {heading!r}")
        if found:
            blocks[heading] = found[0]
    return blocks


class Service:
    """`./run up` in a process of its own."""

    def __init__(self, environment: dict[str, str], log: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                ["./run", "up", "--port", str(port), *options],
                cwd=PROJECT_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # So that it is gone for `kill -0` when it has ended.
        threading.Thread(target=self.process.wait, daemon=True).start()

    def wait_until_ready(self) -> None:
        """Return once it answers and has a database."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                answer = httpx.get(f"{self.url}/api/v1/public/health/ready", trust_env=False)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code == 200:
                    return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"not ready after {START_SECONDS} s:\n{self.log.read_text()}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal it and wait for its end. May be repeated."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(SECONDS)


class Operator:
    """Somebody who follows the runbook: a folder, an environment, and the blocks."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tessera-runbook-"))
        self.folder.chmod(0o755)
        self.blocks = read_blocks(RUNBOOK.read_text())
        self.data = self.folder / "data"
        self.env = {
            name: value
            for name, value in os.environ.items()
            if name not in setting_names() and not name.startswith("PG")
        }
        self.env |= {name: os.environ[name] for name in ("TESSERA_PG_BIN", "TESSERA_PG_USER") if name in os.environ}
        self.env |= {
            "TESSERA_DATA": str(self.data),
            "BACKUPS": str(self.folder / "backups"),
            "ARCHIVE": str(self.folder / "archive"),
        }
        self._services: list[Service] = []

    def follow(self, heading: str, **variables: str) -> str:
        """Run the block below a heading, in a shell of its own, with `variables` set. What it said (both streams)."""
        return self.shell(self.script(heading), **variables)

    def script(self, heading: str) -> str:
        """The block below a heading, after the one that all begin with."""
        return self.blocks[NAMES] + self.blocks[heading]

    def shell(self, script: str, **variables: str) -> str:
        """Run a script as the runbook's blocks are run. What it said."""
        code, said = self._run(script, variables)
        assert code == 0, f"exit code {code} of\n{script}\n{said}"
        return said

    def failing(self, script: str, **variables: str) -> str:
        """Run a script that must not succeed. What it said."""
        code, said = self._run(script, variables)
        assert code != 0, f"succeeded:\n{script}\n{said}"
        return said

    def _run(self, script: str, variables: dict[str, str]) -> tuple[int, str]:
        ran = subprocess.run(
            ["sh", "-c", script],
            cwd=PROJECT_ROOT,
            env=self.env | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return ran.returncode, ran.stdout

    def sql(self, statement: str, access: str = "dba", **variables: str) -> str:
        """The result of a statement, by `./run psql`."""
        script = './run psql --as "$ACCESS" -- -XAtq -v ON_ERROR_STOP=1 -c "$STATEMENT"'
        said = self.shell(script, **{"STATEMENT": statement, "ACCESS": access, **variables})
        return said.strip().removeprefix("Starting the embedded PostgreSQL for this command").strip()

    def start(self, *options: str, **variables: str) -> Service:
        """Start the service and wait until it is ready."""
        service = Service(self.env | variables, self.folder / "service.log", *options)
        self._services.append(service)
        service.wait_until_ready()
        return service

    def end(self) -> None:
        """End what runs."""
        for service in self._services:
            service.end()

    def close(self) -> None:
        """End what runs and remove the folder."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)
