"""The journal: every delegation as it stands, durable before the next step is taken.

One file by default (SQLite, WAL, mode 0600); any other database by its SQLAlchemy URL. Each change is one statement,
so that two processes can share a journal: a delegation that another process carried on is refused, not overwritten,
and an owner's network has at most one approval in flight.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError

from delegation.errors import JournalConflictError, JournalError, OwnerBusyError, UnknownDelegationError
from delegation.models import Delegation, utc_now

_SCHEMA: Final = (
    """
    CREATE TABLE IF NOT EXISTS delegations (
        id TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        in_flight TEXT UNIQUE,
        document TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS pins (
        subject TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        pinned_at TEXT NOT NULL
    )
    """,
)


class _NotUniqueError(Exception):
    """A statement broke a uniqueness rule."""


class _Database(Protocol):
    def run(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run one statement in its own durable transaction and return its rows."""
        ...

    def close(self) -> None: ...


class _Sqlite:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The file holds signed transactions and live tokens: it is ours alone from its first byte on.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise JournalError(f"Others can read the journal {path}.", hint=f"Run: chmod 600 {path}")
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # Rule 10: on disk before it is broadcast, also when the power fails.
        self._connection.execute("PRAGMA synchronous = FULL")

    def run(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.IntegrityError as error:
            raise _NotUniqueError from error
        except sqlite3.Error as error:
            raise _failed(error) from error

    def close(self) -> None:
        self._connection.close()


class _SqlAlchemy:
    def __init__(self, url: str) -> None:
        try:
            from sqlalchemy import create_engine, exc
        except ImportError as error:
            raise _not_installed() from error
        try:
            self._engine = create_engine(url, hide_parameters=True)
        except ImportError as error:
            raise _not_installed() from error
        except exc.SQLAlchemyError:
            # Not quoted: the URL may hold a password.
            raise JournalError("This is not the URL of a database.", hint="Correct journal in the profile.") from None

    def run(self, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        from sqlalchemy import text
        from sqlalchemy.exc import IntegrityError, SQLAlchemyError

        try:
            with self._engine.begin() as connection:
                result = connection.execute(text(statement), values)
                return [tuple(row) for row in result] if result.returns_rows else []
        except IntegrityError as error:
            raise _NotUniqueError from error
        except SQLAlchemyError as error:
            raise _failed(error) from None

    def close(self) -> None:
        self._engine.dispose()


class Journal:
    """Delegations and first-use pins in one database. Open it with `open_journal`."""

    def __init__(self, database: _Database) -> None:
        self._database = database
        for statement in _SCHEMA:
            self._database.run(statement, {})

    def save(self, delegation: Delegation) -> Delegation:
        """Make a delegation durable and return it with its next revision.

        Raises `JournalConflictError` if another process saved it since it was loaded, and `OwnerBusyError` if it has
        an approval in flight while another delegation of this owner on this network has one too.
        """
        saved = delegation.model_copy(update={"revision": delegation.revision + 1})
        values = {
            "id": saved.id,
            "loaded": delegation.revision,
            "revision": saved.revision,
            "created_at": saved.created_at.isoformat(),
            "in_flight": f"{saved.request.network}:{saved.request.owner}" if saved.in_flight else None,
            "document": saved.model_dump_json(),
        }
        try:
            written = self._database.run(
                """
                INSERT INTO delegations (id, revision, created_at, in_flight, document)
                VALUES (:id, :revision, :created_at, :in_flight, :document)
                RETURNING id
                """
                if delegation.revision == 0
                else """
                UPDATE delegations SET revision = :revision, in_flight = :in_flight, document = :document
                WHERE id = :id AND revision = :loaded
                RETURNING id
                """,
                values,
            )
        except _NotUniqueError:
            raise self._not_unique(saved, values["in_flight"]) from None
        if not written:
            raise _conflict(saved)
        return saved

    def _not_unique(self, delegation: Delegation, in_flight: object) -> JournalError:
        holders = self._database.run(
            "SELECT id FROM delegations WHERE in_flight = :in_flight AND id <> :id",
            {"in_flight": in_flight, "id": delegation.id},
        )
        if not holders:
            return _conflict(delegation)
        holder = holders[0][0]
        return OwnerBusyError(
            f"Delegation {holder} of the same owner has an approval on {delegation.request.network} that has not "
            "settled; a second one would compete with it. Nothing of this delegation was sent.",
            hint=f"Finish delegation {holder} first.",
            found=holder,
        )

    def load(self, delegation_id: str) -> Delegation:
        """Return a delegation by its id or by the unique beginning of its id; raises `UnknownDelegationError`."""
        rows = self._database.run(
            "SELECT document FROM delegations WHERE substr(id, 1, :length) = :id",
            {"id": delegation_id, "length": len(delegation_id)},
        )
        if len(rows) != 1 or not delegation_id:
            problem = "More than one delegation starts with" if rows else "The journal has no delegation"
            raise UnknownDelegationError(f"{problem} {delegation_id!r}.", hint="Look at the list of the journal.")
        return _read(rows[0][0])

    def list(self) -> tuple[Delegation, ...]:
        """Return all delegations, the oldest first."""
        rows = self._database.run("SELECT document FROM delegations ORDER BY created_at, id", {})
        return tuple(_read(row[0]) for row in rows)

    def get_pin(self, subject: str) -> str | None:
        """Return what was pinned for a subject at its first use, or None."""
        rows = self._database.run("SELECT value FROM pins WHERE subject = :subject", {"subject": subject})
        return str(rows[0][0]) if rows else None

    def set_pin(self, subject: str, value: str) -> None:
        """Pin a value, replacing an older one."""
        self._database.run(
            """
            INSERT INTO pins (subject, value, pinned_at) VALUES (:subject, :value, :pinned_at)
            ON CONFLICT (subject) DO UPDATE SET value = :value, pinned_at = :pinned_at
            """,
            {"subject": subject, "value": value, "pinned_at": utc_now().isoformat()},
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def open_journal(location: str | Path) -> Journal:
    """Return the journal at a path or `sqlite:///` URL, or at any other SQLAlchemy URL.

    Raises `JournalError` if it cannot be opened or, for a file, if others can read it.
    """
    text = str(location)
    try:
        if "://" in text and not text.startswith("sqlite:///"):
            return Journal(_SqlAlchemy(text))
        return Journal(_Sqlite(Path(text.removeprefix("sqlite:///"))))
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"The journal cannot be opened: {error}.", hint="Check the path and its owner.") from error


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


def _conflict(delegation: Delegation) -> JournalConflictError:
    return JournalConflictError(
        f"Another process carried delegation {delegation.id} on at the same moment; this one has stopped.",
        hint="Look where it stands now before anything else is done.",
        found=delegation.id,
    )


def _read(document: str) -> Delegation:
    try:
        return Delegation.model_validate_json(document)
    except ValidationError as error:
        raise JournalError(
            f"The journal holds a delegation that this version cannot read ({error.error_count()} fields differ).",
            hint="It was written by another version of this toolkit; use that one to finish it.",
        ) from None
