"""The journal's tables, version by version: the one place that changes them.

A journal knows its version; `STEPS` leads from each version to the next. A new journal is made by taking all of them.
To change the tables, write a step and add it to `STEPS`, for example

    def _from_2(run: Run) -> None:
        run("ALTER TABLE delegations ADD COLUMN note TEXT", {})

and keep a journal of the version before as tests/documents/journal-2.sqlite. A step that has been released is never
changed. A step after which documents of a new format are written calls `rewrite_documents`, once, in the last of
the steps that follow each other.

No copy is made first: a step happens as a whole or not at all, and a copy from which somebody resumes would approve
again what the journal knows to be approved.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from chains.errors import ToolkitError
from delegation.databases import Database, NotUniqueError, Run, Step
from delegation.errors import JournalError, NewerVersionError
from delegation.models import Delegation


def _from_0(run: Run) -> None:
    # A journal of version 0 has these tables already; a new one looks like it and has none.
    run(
        """
        CREATE TABLE IF NOT EXISTS delegations (
            id TEXT PRIMARY KEY,
            revision INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            in_flight TEXT UNIQUE,
            document TEXT NOT NULL
        )
        """,
        {},
    )
    run(
        """
        CREATE TABLE IF NOT EXISTS pins (
            subject TEXT PRIMARY KEY,
            value TEXT NOT NULL,
            pinned_at TEXT NOT NULL
        )
        """,
        {},
    )
    rewrite_documents(run)


def _from_1(run: Run) -> None:
    # `owner_lock` is what `in_flight` was, and is also held while a person or a device is asked.
    run("ALTER TABLE delegations RENAME COLUMN in_flight TO owner_lock", {})
    run("ALTER TABLE delegations ADD COLUMN owner_key TEXT", {})
    run("ALTER TABLE delegations ADD COLUMN state TEXT", {})
    run("ALTER TABLE delegations ADD COLUMN holder TEXT", {})
    run("ALTER TABLE delegations ADD COLUMN leased_until TEXT", {})
    for delegation in rewrite_documents(run):
        run(
            "UPDATE delegations SET state = :state, owner_key = :owner_key WHERE id = :id",
            {
                "state": delegation.state,
                "owner_key": f"{delegation.request.network}:{delegation.request.owner}",
                "id": delegation.id,
            },
        )
    run("CREATE INDEX delegations_of_owner ON delegations (owner_key)", {})


STEPS: Final[dict[int, Step]] = {0: _from_0, 1: _from_1}
"""From each version to the next."""

VERSION: Final = max(STEPS) + 1
"""The version that this toolkit writes."""


def migrate(database: Database) -> int:
    """Bring a journal to the newest version and return the version it has: a higher one is left alone.

    Raises `JournalError` if a step fails; the journal then is what it was.
    """
    version = database.get_version()
    if version < 0:
        raise JournalError(
            f"The journal says that it is of version {version}, which there never was: it is damaged, or not ours.",
            hint="Nothing was written. Check which file or database the profile names.",
            found=version,
        )
    if version <= VERSION:
        database.prepare()
    while version < VERSION:
        try:
            database.advance(version, STEPS[version])
        except (JournalError, NotUniqueError) as error:
            raise JournalError(
                f"The journal is of version {version} and could not be brought to version {version + 1} "
                f"({error.__cause__ or error}). It is unchanged, and nothing was sent.",
                hint="Check that the database can be written and has room, then run it again.",
            ) from error
        version = database.get_version()
    return version


def rewrite_documents(run: Run) -> list[Delegation]:
    """Write every document that can be read in today's format and return them; the others stay as they are."""
    readable = []
    for identity, revision, document in run("SELECT id, revision, document FROM delegations", {}):
        try:
            delegation = read_document(identity, revision, document)
        except JournalError:
            continue  # hides only itself, now as before
        readable.append(delegation)
        run(
            "UPDATE delegations SET document = :document WHERE id = :id",
            {"document": delegation.model_dump_json(), "id": identity},
        )
    return readable


def read_document(identity: object, revision: object, document: object) -> Delegation:
    """Return the delegation of one row; raises `JournalError` that says what is wrong with its document."""
    try:
        # Of a damaged row it may be anything, and what is neither text nor bytes is no document.
        delegation = Delegation.model_validate_json(document if isinstance(document, str | bytes) else "")
    except NewerVersionError:
        raise
    except ValidationError as error:
        # Its values are not told: the document holds live tokens.
        places = {".".join(str(part) for part in problem["loc"]) for problem in error.errors(include_input=False)}
        problem = f"it does not fit at {', '.join(sorted(places)[:3])}" if places - {""} else "it is no whole document"
    except (ToolkitError, ValueError) as error:
        problem = f"it holds a value that nothing can mean ({type(error).__name__})"
    else:
        if (delegation.id, delegation.revision) != (identity, revision):
            problem = "it is the document of another delegation or revision"
        elif delegation.contradiction:
            problem = delegation.contradiction
        else:
            return delegation
    raise JournalError(
        f"Its entry is damaged, or another version of this toolkit wrote it: {problem}.",
        hint="It is kept as it is. Read it with the version of this toolkit that wrote it; what the chain holds "
        "can be read without it.",
    )
