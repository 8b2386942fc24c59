"""Processes that open a journal in forks of themselves: `journal_processes.py race|kill LOCATION`.

`race` opens it in six forks at one moment and prints how many delegations each of them lists. `kill` opens it in one
fork after the other, each of which kills itself (SIGKILL) after one more statement of a version's step than the one
before, and after the first one again once that step is through, until one comes to its end; it prints how many were
killed.
"""

import os
import signal
import sys
import traceback
from typing import Any

from delegation.databases import Database, Rows, Run, Step
from delegation.journal import Journal, _open_database, open_journal

if sys.argv[2].startswith("postgresql"):
    import psycopg  # noqa: F401 - once here, and not in every fork

RACERS = 6


def kill_in(step: Step, statements: int) -> Step:
    """Return a step at which the power fails after so many statements."""

    def dying(run: Run) -> None:
        left = statements

        def run_and_die(statement: str, values: Any) -> Rows:
            nonlocal left
            rows = run(statement, values)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return rows

        step(run_and_die)

    return dying


def open_and_die(location: str, statements: int) -> None:
    """Open a journal in whose migrations the power fails."""
    database: Database = _open_database(location)
    base = type(database)

    class DyingDatabase(base):  # type: ignore[valid-type, misc]
        def advance(self, version: int, step: Step) -> None:
            super().advance(version, kill_in(step, statements))

    database.__class__ = DyingDatabase
    Journal(database).close()


def fork(work: Any, *values: Any) -> int:
    """Start a fork and return its process id; its exit status is 0 if it came to the end of its work."""
    child = os.fork()
    if child:
        return child
    try:
        work(*values)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(1)


def tell(number: int) -> None:
    """Print a number at once, so that the words of two processes do not mix."""
    os.write(1, f"{number}\n".encode())


def wait(child: int) -> int:
    """Return the exit status of a fork; negative for the signal that killed it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def race(location: str) -> None:
    """Open the journal in all forks at one moment."""
    start, started = os.pipe()

    def racer() -> None:
        os.read(start, 1)
        journal = open_journal(location)
        tell(len(journal.list()))
        journal.close()

    children = [fork(racer) for _ in range(RACERS)]
    os.write(started, b"." * RACERS)
    statuses = [wait(child) for child in children]
    if any(statuses):
        sys.exit("one of them failed")


def kill(location: str) -> None:
    """Kill one fork after the other, each a statement later."""
    killed, statements, version = 0, 1, get_version(location)
    while wait(fork(open_and_die, location, statements)) == -signal.SIGKILL:
        killed += 1
        before, version = version, get_version(location)
        statements = statements + 1 if version == before else 1
    tell(killed)


def get_version(location: str) -> int:
    """Return the version of a journal without bringing it forward."""
    database = _open_database(location)
    try:
        return database.get_version()
    finally:
        database.close()


{"race": race, "kill": kill}[sys.argv[1]](sys.argv[2])
