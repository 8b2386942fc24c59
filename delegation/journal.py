"""The journal: every delegation as it stands, durable before the next step is taken.

One file by default (SQLite, WAL, mode 0600); any other database by its SQLAlchemy URL. Each change is one transaction,
so that many processes can share a journal: a delegation that another process carried on is refused, not overwritten,
one process carries a delegation at a time, and of an owner on a network at most one approval is in flight or asked
about. What cannot follow from what is saved, by the table of `delegation.lifecycle`, is not written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from delegation.databases import Database, NotUniqueError, Rows, SqlAlchemyDatabase, SqliteDatabase, Statement
from delegation.errors import (
    IllegalTransitionError,
    JournalConflictError,
    JournalError,
    LeasedError,
    NewerVersionError,
    OwnerBusyError,
    UnknownDelegationError,
)
from delegation.leases import LEASE, Heart, Lease, is_gone, name_holder, process_heart
from delegation.lifecycle import can_begin_as, states_before
from delegation.migrations import VERSION, migrate, read_document
from delegation.models import Delegation

_FOREVER: Final = "9999"  # later than any time as text
_SELECT: Final = "SELECT id, revision, created_at, owner_lock, document FROM delegations"


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

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], datetime] | None = None,
        heart: Heart | None = None,
        name: Callable[[], str] = name_holder,
    ) -> None:
        self._database = database
        self._version = migrate(database)
        # By the database's clock, unless a test has one of its own: machines that share a journal may differ in theirs.
        self._now = now or database.get_time
        self._heart = heart or process_heart()
        self._name_holder = name
        self._held: dict[str, Lease] = {}  # by the delegation, of which no more is saved once its lease is lost

    def save(self, delegation: Delegation, *, others: Sequence[Delegation] = ()) -> Delegation:
        """Make a delegation durable and return it with its next revision.

        `others` were loaded before, and end or give up their owner's lock to it now: all or none is saved.
        Raises `JournalConflictError` if another process saved one of them since it was loaded, or took over the lease
        that was held here; `OwnerBusyError` if it has an approval in flight while another delegation of this owner on
        this network has the owner's lock; `IllegalTransitionError` if it cannot follow from what is saved; and
        `NewerVersionError` if a newer version of this toolkit has changed the journal.
        """
        self._require_writable()
        everything = (*others, delegation)
        for one in everything:
            _require_legal(one)
        saved = delegation.model_copy(update={"revision": delegation.revision + 1})
        try:
            written = self._database.run_all([_writing(one, self._held.get(one.id)) for one in everything])
        except NotUniqueError:
            raise self._not_unique(saved) from None
        if not written:
            raise self._not_written(everything)
        return saved

    def _not_unique(self, delegation: Delegation) -> JournalError:
        holder = self.find_lock_holder(delegation)
        return _conflict(delegation) if holder is None else owner_busy(holder, delegation)

    def _not_written(self, delegations: Sequence[Delegation]) -> JournalError:
        for delegation in delegations:
            rows = self._ask(
                "SELECT revision, state FROM delegations WHERE id = :id",
                {"id": delegation.id},
            )
            if rows and rows[0][0] == delegation.revision and rows[0][1] not in states_before(delegation.state):
                return IllegalTransitionError(
                    f"Delegation {delegation.id} is {rows[0][1]}, and cannot be {delegation.state} next. Nothing was "
                    "saved.",
                    hint="That is a fault of this toolkit. Report it; what is saved stands.",
                    expected=sorted(states_before(delegation.state)),
                    found=rows[0][1],
                )
            if not rows or rows[0][0] != delegation.revision:
                return _conflict(delegation)
        return _conflict(delegations[-1])

    def find_lock_holder(self, delegation: Delegation) -> Delegation | UnreadableRow | None:
        """Return the other delegation that has the lock of this one's owner on its network, or None."""
        holders = self._select("WHERE owner_lock = :lock AND id <> :id", lock=_lock(delegation), id=delegation.id)
        return holders[0] if holders else None

    def lease(self, delegation: Delegation, *, force: bool = False) -> Lease:
        """Return the right to carry a saved delegation, renewed while this process lives.

        Raises `LeasedError` if another process has it. With `force` it is taken all the same: what the other process
        saves next is refused.
        """
        self._require_writable()
        lease = Lease(self, delegation.id, self._name_holder())
        if not self._take(lease, force=force, of=self._find_gone(delegation)):
            raise self._leased(delegation)
        self._held[delegation.id] = lease
        lease.start(self._heart)
        return lease

    def _take(self, lease: Lease, *, force: bool, of: str | None) -> bool:
        """Take a lease that nobody has, or that has run out; one `of` a process that is gone does not run longer."""
        now = self._now()
        return bool(
            self._database.run(
                """
                UPDATE delegations SET holder = :holder, leased_until = :until
                WHERE id = :id AND (leased_until IS NULL OR leased_until <= :free_until OR holder = :gone)
                RETURNING id
                """,
                {
                    "holder": lease.holder,
                    "until": _text(now + LEASE),
                    "free_until": _FOREVER if force else _text(now),
                    "gone": of or "",
                    "id": lease.delegation_id,
                },
            )
        )

    def _find_gone(self, delegation: Delegation) -> str | None:
        """Return who holds the lease, if it can be seen from here that this process has ended."""
        rows = self._ask("SELECT holder FROM delegations WHERE id = :id", {"id": delegation.id})
        holder = str(rows[0][0]) if rows else ""
        return holder if is_gone(holder) else None

    def _leased(self, delegation: Delegation) -> JournalError:
        rows = self._ask("SELECT holder, leased_until FROM delegations WHERE id = :id", {"id": delegation.id})
        if not rows:
            return UnknownDelegationError(f"The journal has no delegation {delegation.id!r}.")
        holder, until = (str(cell) for cell in rows[0])
        process = holder.partition(" (")[0].partition(",")[0]
        return LeasedError(
            f"Delegation {delegation.id} is being carried by {process}; nothing was done here.",
            hint=f"Wait until it has ended, or stop it. If it is gone, its right ends at {until[11:19]} UTC.",
            found=holder,
        )

    def renew_lease(self, lease: Lease) -> bool:
        """Let a lease hold for its full time again; return whether it is still held."""
        values = {"until": _text(self._now() + LEASE), "id": lease.delegation_id, "holder": lease.holder}
        return bool(
            self._database.run(
                "UPDATE delegations SET leased_until = :until WHERE id = :id AND holder = :holder RETURNING id", values
            )
        )

    def release_lease(self, lease: Lease) -> None:
        """Give a lease back, and the owner's lock with it unless something of the delegation is in flight."""
        if self._held.get(lease.delegation_id) is lease:
            del self._held[lease.delegation_id]
        self._database.run(
            """
            UPDATE delegations SET holder = NULL, leased_until = NULL,
                owner_lock = CASE WHEN state IN ('handed_out', 'on_its_way') THEN owner_lock ELSE NULL END
            WHERE id = :id AND holder = :holder
            """,
            {"id": lease.delegation_id, "holder": lease.holder},
        )

    def lock_owner(self, delegation: Delegation, lease: Lease) -> None:
        """Take the owner's lock on this network, before a person or a device is asked.

        What a killed process had locked while it was asking is free once its lease has run out. Raises
        `OwnerBusyError` if another delegation has the lock, and `JournalConflictError` if the lease is lost.
        """
        for last in (False, True):
            try:
                locked = self._database.run(
                    "UPDATE delegations SET owner_lock = :lock WHERE id = :id AND holder = :holder RETURNING id",
                    {"lock": _lock(delegation), "id": delegation.id, "holder": lease.holder},
                )
            except NotUniqueError:
                if last or not self._unlock_dead(delegation):
                    raise self._not_unique(delegation) from None
                continue
            if not locked:
                raise _conflict(delegation)
            return

    def unlock_owner(self, delegation: Delegation, lease: Lease) -> None:
        """Give the owner's lock back, which a delegation keeps that was handed out and is to be agreed to again."""
        self._database.run(
            "UPDATE delegations SET owner_lock = NULL WHERE id = :id AND holder = :holder",
            {"id": delegation.id, "holder": lease.holder},
        )

    def _unlock_dead(self, delegation: Delegation) -> bool:
        """Take the owner's lock from a delegation whose process died while it was asking; return whether it was so."""
        other = self.find_lock_holder(delegation)
        gone = self._find_gone(other) if isinstance(other, Delegation) else None
        return bool(
            self._database.run(
                """
                UPDATE delegations SET owner_lock = NULL, holder = NULL, leased_until = NULL
                WHERE owner_lock = :lock AND state NOT IN ('handed_out', 'on_its_way')
                    AND (leased_until IS NULL OR leased_until <= :now OR holder = :gone)
                RETURNING id
                """,
                {"lock": _lock(delegation), "now": _text(self._now()), "gone": gone or ""},
            )
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

    def read_all(self, of: Delegation | None = None) -> tuple[tuple[Delegation, ...], tuple[UnreadableRow, ...]]:
        """Return in one reading what `list` and `unreadable` return.

        With `of` only those of the same owner on the same network, and what cannot be read and may be one of them.
        """
        if of is None:
            rows = self._select("ORDER BY created_at, id")
        else:
            rows = self._select("WHERE owner_key = :key OR owner_key IS NULL ORDER BY created_at, id", key=_lock(of))
        return (
            tuple(row for row in rows if isinstance(row, Delegation)),
            tuple(row for row in rows if isinstance(row, UnreadableRow)),
        )

    def get_pin(self, subject: str) -> str | None:
        """Return what was pinned for a subject at its first use, or None."""
        rows = self._ask("SELECT value FROM pins WHERE subject = :subject", {"subject": subject})
        return str(rows[0][0]) if rows else None

    def list_pins(self) -> tuple[str, ...]:
        """Return the subjects of all pins."""
        return tuple(str(row[0]) for row in self._ask("SELECT subject FROM pins ORDER BY subject", {}))

    def set_pin(self, subject: str, value: str) -> None:
        """Pin a value, replacing an older one; raises `NewerVersionError` as `save` does."""
        self._require_writable()
        self._database.run(
            """
            INSERT INTO pins (subject, value, pinned_at) VALUES (:subject, :value, :pinned_at)
            ON CONFLICT (subject) DO UPDATE SET value = :value, pinned_at = :pinned_at
            """,
            {"subject": subject, "value": value, "pinned_at": self._now().isoformat()},
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


def owner_busy(holder: Delegation | UnreadableRow, delegation: Delegation) -> OwnerBusyError:
    """Return the error for a delegation whose owner's lock another one has."""
    if isinstance(holder, UnreadableRow):
        state, hint = "cannot be read, and may have an approval in flight", f"{holder.problem}\n{holder.hint}"
    elif holder.in_flight:
        state = "has an approval that has not settled; a second one would compete with it"
        hint = f"Finish delegation {holder.id} first."
    else:
        state = "is being asked about by another process"
        hint = f"Answer the question about delegation {holder.id} first, or abandon it."
    return OwnerBusyError(
        f"Delegation {holder.id} of the same owner on {delegation.request.network} {state}. Nothing of this delegation "
        "was sent.",
        hint=hint,
        found=holder.id,
    )


def _lock(delegation: Delegation) -> str:
    return f"{delegation.request.network}:{delegation.request.owner}"


def _text(time: datetime) -> str:
    """Return a time as text that sorts as the time does."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _require_legal(delegation: Delegation) -> None:
    problem = delegation.contradiction
    if not problem and delegation.revision == 0 and not can_begin_as(delegation.state):
        problem = f"it is {delegation.state} and was never saved before"
    if problem:
        raise IllegalTransitionError(
            f"Delegation {delegation.id} was not saved: {problem}.",
            hint="That is a fault of this toolkit. Report it; what is saved stands.",
            found=delegation.state,
        )


def _writing(delegation: Delegation, lease: Lease | None) -> Statement:
    """Return the statement that saves a delegation, and returns a row unless it cannot follow from what is saved.

    With a `lease` that is lost it returns none either.
    """
    values: dict[str, Any] = {
        "id": delegation.id,
        "loaded": delegation.revision,
        "revision": delegation.revision + 1,
        "state": delegation.state,
        "document": delegation.model_copy(update={"revision": delegation.revision + 1}).model_dump_json(),
    }
    if delegation.revision == 0:
        return (
            """
            INSERT INTO delegations (id, revision, created_at, owner_key, state, document)
            VALUES (:id, :revision, :created_at, :owner_key, :state, :document)
            RETURNING id
            """,
            values | {"created_at": delegation.created_at.isoformat(), "owner_key": _lock(delegation)},
        )
    lock = "NULL"
    if delegation.to_be_made or delegation.borrows_lock:
        lock = "owner_lock"  # as it is: held while its owner is asked
    elif delegation.in_flight and delegation.replaced_by is None:
        lock, values["lock"] = ":lock", _lock(delegation)
    before = ", ".join(f"'{state}'" for state in sorted(states_before(delegation.state)))
    held = ""
    if lease is not None:
        held, values["holder"] = "AND holder = :holder", lease.holder
    return (
        # Nothing of it is anybody's input but ours: `lock`, `before` and `held` are words of this package.
        f"""
        UPDATE delegations SET revision = :revision, state = :state, owner_lock = {lock}, document = :document
        WHERE id = :id AND revision = :loaded AND state IN ({before}) {held}
        RETURNING id
        """,  # noqa: S608
        values,
    )


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
    identity: object, revision: object, created_at: object, owner_lock: object, document: object
) -> Delegation | UnreadableRow:
    """Return what a row holds; nothing is taken for granted of a row that may be damaged, not even that it is text."""
    try:
        return read_document(identity, revision, document)
    except JournalError as error:
        network, _, owner = ("" if owner_lock is None else str(owner_lock)).partition(":")
        return UnreadableRow(
            id=str(identity),
            created_at=_read_time(created_at),
            network=network or None,
            owner=owner or None,
            in_flight=owner_lock is not None,
            problem=error.message,
            hint=error.hint,
        )


def _read_time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None  # damaged like the rest of its row
    return time if time.tzinfo is not None else None
