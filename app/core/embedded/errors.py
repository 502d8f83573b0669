"""What can go wrong with the embedded server. Each message says what to do."""

from __future__ import annotations


class EmbeddedError(RuntimeError):
    """The embedded server cannot be used."""


class InstallationError(EmbeddedError):
    """There are no usable PostgreSQL binaries."""


class AccountError(EmbeddedError):
    """There is no operating system account to run the server as, or it cannot reach the files it needs."""


class DataInUseError(EmbeddedError):
    """Another process supervises this data folder."""

    def __init__(self, data: str, pid: int | None) -> None:
        self.pid = pid
        who = f"process {pid}" if pid else "another process"
        stop = f" Stop that one first (kill {pid}), or" if pid else " Stop that one first, or"
        super().__init__(
            f"{who} already runs the embedded PostgreSQL in {data}.{stop} choose another folder with TESSERA_DATA."
        )


class DataVersionError(EmbeddedError):
    """The data belongs to another major version of PostgreSQL."""

    def __init__(self, pgdata: str, data_major: int, binary_major: int) -> None:
        self.data_major = data_major
        self.binary_major = binary_major
        super().__init__(
            f"the data in {pgdata} was made by PostgreSQL {data_major}, and the binaries are {binary_major}. "
            f"Point TESSERA_PG_BIN at the binaries of PostgreSQL {data_major}; to move to {binary_major}, dump with "
            f"the old version and restore into an empty TESSERA_DATA (docs/operations.md, Upgrades)."
        )


class StartError(EmbeddedError):
    """initdb or the server failed; `log` is the end of what it said."""

    def __init__(self, what: str, log: str) -> None:
        self.log = log.strip()
        super().__init__(f"{what}\n{self.log}" if self.log else what)
