"""A PostgreSQL server of the tests' own, on a socket in a directory of its own, and what somebody else sees in it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from needs import need_program


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Run a server and return its URL; skips the test where PostgreSQL is not installed."""
    initdb = need_program("initdb", package="postgresql", places=["/usr/lib/postgresql/*/bin/initdb"])
    # Not below pytest's own directory: it belongs to root, and another run of pytest closes it again to everybody else.
    directory = Path(tempfile.mkdtemp(prefix="postgresql-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(directory, "postgres", "postgres")
        as_user = [str(need_program("runuser", package="util-linux")), "-u", "postgres", "--"]

    def as_postgres(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=directory)

    data = str(directory / "data")
    as_postgres(str(initdb), "-D", data, "--auth=trust", "--username=postgres")
    server = [str(initdb.with_name("pg_ctl")), "-D", data, "-w", "-l", str(directory / "log")]
    as_postgres(*server, "-o", f"-c listen_addresses='' -k {directory}", "start")
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
    finally:
        as_postgres(*server, "-m", "immediate", "stop")
        shutil.rmtree(directory)


def create_database(url: str) -> str:
    """Make an empty database in a server and return its URL."""
    name = f"d{secrets.token_hex(4)}"
    with closing(psycopg_connect(url)) as connection:
        connection.autocommit = True
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


def psycopg_connect(url: str) -> Any:
    """Return a connection of somebody else's to a database."""
    import psycopg

    return psycopg.connect(url.replace("+psycopg", ""))


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in PostgreSQL as somebody else does."""
    with closing(psycopg_connect(url)) as connection, connection:
        result = connection.execute(statement)
        return list(result.fetchall()) if result.description else []
