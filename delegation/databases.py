"""The databases that a journal can be in: a file of our own (SQLite), or any other by its SQLAlchemy URL.

All keep the same promises: `run` is durable when it returns, `run_all` does all of its statements or none, and
`advance` takes the journal from one version to the next as a whole or not at all, once, however many processes open it
at that moment. Each can be used from several threads. What is stored is not known here.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from delegation.errors import JournalError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_PATIENCE: Final = 10.0  # seconds for which another process may hold the file

Rows = Sequence[Sequence[Any]]
Statement = tuple[str, Mapping[str, Any]]
"""A statement and its values."""

Run = Callable[[str, Mapping[str, Any]], Rows]
"""Runs one statement with its values and returns its rows."""

Step = Callable[[Run], None]
"""Takes the journal from one version to the next, with the statements it runs."""


class NotUniqueError(Exception):
    """A statement broke a uniqueness rule, or another rule of the database."""


class Database(Protocol):
    """Where a journal is kept. Every method raises `JournalError` if the database fails."""

    def run(self, statement: str, values: Mapping[str, Any]) -> Rows:
        """Run one statement in its own durable transaction; raises `NotUniqueError`."""
        ...

    def run_all(self, statements: Sequence[Statement]) -> bool:
        """Run statements that each return a row in one durable transaction; raises `NotUniqueError`.

        Returns whether all did. As soon as one returns none, nothing of it is done.
        """
        ...

    def get_time(self) -> datetime:
        """Return the time by the one clock that all who share this database go by."""
        ...

    def get_version(self) -> int:
        """Return the version of the journal in it; 0 if it says none."""
        ...

    def prepare(self) -> None:
        """Make the database ready to be written by us."""
        ...

    def advance(self, version: int, step: Step) -> None:
        """Take the journal from this version to the next in one transaction; does nothing if another process did.

        Raises `NotUniqueError`. Whatever stops it, the journal is as it was.
        """
        ...

    def close(self) -> None: ...


class SqliteDatabase:
    """A file of our own, mode 0600; its version is SQLite's `user_version`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The file holds signed transactions and live tokens: it is ours alone from its first byte on.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise JournalError(f"Others can read the journal {path}.", hint=f"Run: chmod 600 {path}")
        # One connection for all threads, of which one at a time uses it.
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE, check_same_thread=False)
        self._turn = threading.RLock()
        # Text that is no UTF-8 spoils its own row only; whoever reads that row refuses it.
        self._connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        try:
            # On disk before it is broadcast, also when the power fails.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA user_version")  # fails if the file is no database
        except sqlite3.Error:
            self._connection.close()
            raise

    def run(self, statement: str, values: Mapping[str, Any]) -> Rows:
        """Run one statement."""
        try:
            with self._turn:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.IntegrityError as error:
            raise NotUniqueError(str(error)) from error
        except sqlite3.Error as error:
            raise _failed(error) from error

    def run_all(self, statements: Sequence[Statement]) -> bool:
        """Run statements under SQLite's lock for the one writer."""
        with self._turn:
            self.run("BEGIN IMMEDIATE", {})
            done = False
            try:
                done = all(self.run(statement, values) for statement, values in statements)
                if done:
                    self.run("COMMIT", {})
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        return done

    def get_time(self) -> datetime:
        """Return the time of this machine, on which all are who share the file."""
        return datetime.now(UTC)

    def get_version(self) -> int:
        """Return the file's `user_version`."""
        return int(self.run("PRAGMA user_version", {})[0][0])

    def prepare(self) -> None:
        """Let readers and one writer work side by side."""
        # For this lock alone SQLite does not wait: of processes that open a new file at once, one is told it is busy.
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the rest says of which kind
                if not busy or time.monotonic() > deadline:
                    raise _failed(error) from error
                time.sleep(0.01)
            else:
                return

    def advance(self, version: int, step: Step) -> None:
        """Take the journal to the next version under SQLite's lock for the one writer."""
        with self._turn:
            self.run("BEGIN IMMEDIATE", {})
            try:
                if self.get_version() == version:
                    step(self.run)
                    self.run(f"PRAGMA user_version = {version + 1}", {})
                self.run("COMMIT", {})
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class SqlAlchemyDatabase:
    """Any other database; its version is the one row of the table `journal_version`."""

    def __init__(self, url: str) -> None:
        try:
            from sqlalchemy import create_engine, exc
        except ImportError as error:
            raise _not_installed() from error
        try:
            self._engine = create_engine(url, hide_parameters=True)
        except ImportError as error:
            raise _not_installed() from error
        except (exc.SQLAlchemyError, ValueError):
            # Such as a port that is no number. Not quoted: the URL may hold a password.
            raise JournalError("This is not the URL of a database.", hint="Correct journal in the profile.") from None
        self._has_version = False

    def run(self, statement: str, values: Mapping[str, Any]) -> Rows:
        """Run one statement."""
        with self._transaction() as connection:
            return _run(connection, statement, values)

    def run_all(self, statements: Sequence[Statement]) -> bool:
        """Run statements in one transaction."""
        with suppress(_UndoneError), self._transaction() as connection:
            for statement, values in statements:
                if not _run(connection, statement, values):
                    raise _UndoneError
            return True
        return False

    def get_time(self) -> datetime:
        """Return the time of the database's machine: those who share it may be on machines whose clocks differ."""
        (now,) = self.run("SELECT CURRENT_TIMESTAMP", {})[0]
        return _aware(now)

    def get_version(self) -> int:
        """Return the version that the table names; 0 before there is one."""
        with self._transaction() as connection:
            rows = _run(connection, "SELECT version FROM journal_version", {}) if self._knows(connection) else ()
        return int(rows[0][0]) if rows else 0

    def _knows(self, connection: Connection) -> bool:
        """Return whether there is the table of the version by now."""
        from sqlalchemy import inspect

        self._has_version = self._has_version or inspect(connection).has_table("journal_version")
        return self._has_version

    def prepare(self) -> None:
        """Make the table of the version, in which version 0 can be locked."""
        if self.get_version() > 0:
            return
        try:
            self.run(
                "CREATE TABLE IF NOT EXISTS journal_version "
                "(only_row INTEGER PRIMARY KEY CHECK (only_row = 1), version INTEGER NOT NULL)",
                {},
            )
        except (NotUniqueError, JournalError):
            # PostgreSQL's IF NOT EXISTS does not hold against another process that makes the table at the same moment:
            # it is told as a unique key that is there, or as a table that is, by how far that one is.
            with self._transaction() as connection:
                if not self._knows(connection):
                    raise
        self.run("INSERT INTO journal_version VALUES (1, 0) ON CONFLICT (only_row) DO NOTHING", {})

    def advance(self, version: int, step: Step) -> None:
        """Take the journal to the next version under a lock of the version's row."""
        with self._transaction() as connection:

            def run(statement: str, values: Mapping[str, Any]) -> Rows:
                return _run(connection, statement, values)

            # An UPDATE locks the row to the end: another process waits here, and then sees what this one wrote.
            locked = run("UPDATE journal_version SET version = version RETURNING version", {})
            if locked[0][0] == version:
                step(run)
                run("UPDATE journal_version SET version = :version", {"version": version + 1})

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError as error:
            raise NotUniqueError(type(error.orig).__name__) from error
        except SQLAlchemyError as error:
            raise _failed(error) from None


class _UndoneError(Exception):
    """A statement of several found nothing to do, so that none of them is done."""


def _aware(time: datetime | str) -> datetime:
    # Some drivers give text, and without a zone it is UTC (SQL leaves it open; SQLite and MySQL say so).
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _run(connection: Connection, statement: str, values: Mapping[str, Any]) -> Rows:
    from sqlalchemy import text

    result = connection.execute(text(statement), values)
    return [tuple(row) for row in result] if result.returns_rows else []


def _not_installed() -> JournalError:
    return JournalError(
        "This journal URL needs SQLAlchemy and the database's driver, which are not installed.",
        hint="Install them with: pip install 'delegation-toolkit[postgresql]'",
    )


def _failed(error: Exception) -> JournalError:
    return JournalError(
        f"The journal could not be read or written ({type(error).__name__}); nothing was sent since its last entry.",
        hint="Check that the database can be reached and has room, then try again.",
    )
