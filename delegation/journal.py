"""The journal: every delegation as it stands, durable before the next step is taken.

One file by default (SQLite, WAL, mode 0600); any other database by its SQLAlchemy URL. Each change is one statement,
so that two processes can share a journal: a delegation that another process carried on is refused, not overwritten,
and an owner's network has at most one approval in flight.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from delegation.databases import Database, NotUniqueError, Rows, SqlAlchemyDatabase, SqliteDatabase
from delegation.errors import (
    JournalConflictError,
    JournalError,
    NewerVersionError,
    OwnerBusyError,
    UnknownDelegationError,
)
from delegation.migrations import VERSION, migrate, read_document
from delegation.models import Delegation, utc_now

_SELECT: Final = "SELECT id, revision, created_at, in_flight, document FROM delegations"


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A delegation of the journal whose document cannot be read here; it hides only itself, and nothing of it is lost.

    `created_at`, `network` and `owner` are known as far as the row says so beside its document: the last two only if
    `in_flight`, that is, if it may have an approval on the chain that has not settled. `problem` says why it cannot be
    read and `hint` what to do.
    """

    id: str
    created_at: datetime | None
    network: str | None
    owner: str | None
    in_flight: bool
    problem: str
    hint: str

    @property
    def error(self) -> JournalError:
        """The error to raise where this delegation was asked for."""
        return JournalError(f"Delegation {self.id} cannot be read. {self.problem}", hint=self.hint, found=self.id)


class Journal:
    """Delegations and first-use pins in one database. Open it with `open_journal`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._version = migrate(database)

    def save(self, delegation: Delegation) -> Delegation:
        """Make a delegation durable and return it with its next revision.

        Raises `JournalConflictError` if another process saved it since it was loaded, `OwnerBusyError` if it has an
        approval in flight while another delegation of this owner on this network has one too, and `NewerVersionError`
        if a newer version of this toolkit has changed the journal.
        """
        self._require_writable()
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
        except NotUniqueError:
            raise self._not_unique(saved, values["in_flight"]) from None
        if not written:
            raise _conflict(saved)
        return saved

    def _not_unique(self, delegation: Delegation, in_flight: object) -> JournalError:
        holders = self._select("WHERE in_flight = :in_flight AND id <> :id", in_flight=in_flight, id=delegation.id)
        if not holders:
            return _conflict(delegation)
        holder = holders[0]
        state = "has an approval" if isinstance(holder, Delegation) else "cannot be read, and may have an approval"
        return OwnerBusyError(
            f"Delegation {holder.id} of the same owner {state} on {delegation.request.network} that has not "
            "settled; a second one would compete with it. Nothing of this delegation was sent.",
            hint=f"Finish delegation {holder.id} first."
            if isinstance(holder, Delegation)
            else f"{holder.problem}\n{holder.hint}",
            found=holder.id,
        )

    def load(self, delegation_id: str) -> Delegation:
        """Return a delegation by its id or by the unique beginning of its id.

        Raises `UnknownDelegationError` if there is none, and `JournalError` if it cannot be read.
        """
        # What a shell passes on that is no text cannot be asked for.
        rows = (
            self._select("WHERE substr(id, 1, :length) = :id", id=delegation_id, length=len(delegation_id))
            if delegation_id.isprintable()
            else ()
        )
        if len(rows) != 1 or not delegation_id:
            problem = "More than one delegation starts with" if rows else "The journal has no delegation"
            raise UnknownDelegationError(f"{problem} {delegation_id!r}.", hint="Look at the list of the journal.")
        if isinstance(rows[0], UnreadableRow):
            raise rows[0].error
        return rows[0]

    def list(self) -> tuple[Delegation, ...]:
        """Return all delegations that can be read, the oldest first; the others are `unreadable`."""
        return self.read_all()[0]

    def unreadable(self) -> tuple[UnreadableRow, ...]:
        """Return what is in the journal and cannot be read, the oldest first."""
        return self.read_all()[1]

    def read_all(self) -> tuple[tuple[Delegation, ...], tuple[UnreadableRow, ...]]:
        """Return in one reading what `list` and `unreadable` return."""
        rows = self._select("ORDER BY created_at, id")
        return (
            tuple(row for row in rows if isinstance(row, Delegation)),
            tuple(row for row in rows if isinstance(row, UnreadableRow)),
        )

    def get_pin(self, subject: str) -> str | None:
        """Return what was pinned for a subject at its first use, or None."""
        rows = self._ask("SELECT value FROM pins WHERE subject = :subject", {"subject": subject})
        return str(rows[0][0]) if rows else None

    def set_pin(self, subject: str, value: str) -> None:
        """Pin a value, replacing an older one; raises `NewerVersionError` as `save` does."""
        self._require_writable()
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

    def _select(self, rest: str, **values: object) -> tuple[Delegation | UnreadableRow, ...]:
        rows = self._ask(f"{_SELECT} {rest}", values)
        return tuple(_read(*row) for row in rows)

    def _ask(self, statement: str, values: dict[str, Any]) -> Rows:
        try:
            return self._database.run(statement, values)
        except JournalError as error:
            if self._version > VERSION:
                raise _newer(self._version, "cannot be read by this one") from error
            raise

    def _require_writable(self) -> None:
        # Asked each time: another process may have brought the journal to a newer version since it was opened.
        version = self._database.get_version()
        if version > VERSION:
            raise _newer(version, "is only read by this one")


def open_journal(location: str | Path) -> Journal:
    """Return the journal at a path or `sqlite:///` URL, or at any other SQLAlchemy URL.

    A journal of an older version is brought to today's; one of a newer version is only read, and refuses to be
    written. Raises `JournalError` if it cannot be opened or, for a file, if others can read it.
    """
    database = _open_database(str(location))
    try:
        return Journal(database)
    except BaseException:
        database.close()
        raise


def _open_database(location: str) -> Database:
    if "://" in location and not location.startswith("sqlite:///"):
        return SqlAlchemyDatabase(location)
    try:
        return SqliteDatabase(Path(location.removeprefix("sqlite:///")))
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"The journal cannot be opened: {error}.", hint="Check the path and its owner.") from error


def _newer(version: int, what: str) -> NewerVersionError:
    return NewerVersionError(
        f"The journal is of version {version}, which a newer version of this toolkit made, and {what}, which knows "
        f"version {VERSION}. Nothing was written and nothing was sent.",
        hint="Upgrade this toolkit; nothing in the journal is lost.",
        expected=VERSION,
        found=version,
    )


def _conflict(delegation: Delegation) -> JournalConflictError:
    return JournalConflictError(
        f"Another process carried delegation {delegation.id} on at the same moment; this one has stopped.",
        hint="Look where it stands now before anything else is done.",
        found=delegation.id,
    )


def _read(
    identity: object, revision: object, created_at: object, in_flight: object, document: object
) -> Delegation | UnreadableRow:
    """Return what a row holds; nothing is taken for granted of a row that may be damaged, not even that it is text."""
    try:
        return read_document(identity, revision, document)
    except JournalError as error:
        network, _, owner = ("" if in_flight is None else str(in_flight)).partition(":")
        return UnreadableRow(
            id=str(identity),
            created_at=_read_time(created_at),
            network=network or None,
            owner=owner or None,
            in_flight=in_flight is not None,
            problem=error.message,
            hint=error.hint,
        )


def _read_time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None  # damaged like the rest of its row
    return time if time.tzinfo is not None else None
