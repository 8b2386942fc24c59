"""The journal: durable, ours alone, and never overwritten by a process that is behind."""

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from journal_lab import AMOUNT, OWNER, in_state, make_delegation, query, save_in_order
from postgresql_lab import ask, psycopg_connect

from delegation import formats
from delegation.errors import (
    IllegalTransitionError,
    JournalConflictError,
    JournalError,
    NewerVersionError,
    OwnerBusyError,
    UnknownDelegationError,
)
from delegation.journal import Journal, open_journal
from delegation.migrations import VERSION
from delegation.models import Delegation

DOCUMENTS = Path(__file__).parent / "documents"
PROCESSES = Path(__file__).parent / "journal_processes.py"


def with_approval_in_flight(delegation: Delegation) -> Delegation:
    return in_state("on_its_way", delegation)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = open_journal(path)
    yield opened
    opened.close()


def test_what_was_saved_is_loaded_again_to_the_last_base_unit(journal: Journal) -> None:
    saved = save_in_order(journal, with_approval_in_flight(make_delegation()))
    assert journal.load("aaaa") == saved
    assert saved.approvals[0].step.amount == AMOUNT


def test_base_units_are_text_in_the_document_because_javascript_loses_large_numbers(journal: Journal) -> None:
    saved = save_in_order(journal, with_approval_in_flight(make_delegation()))
    assert saved.model_dump(mode="json")["approvals"][0]["step"]["amount"] == str(AMOUNT)


def test_a_delegation_is_found_by_the_beginning_of_its_id_if_that_is_unique(journal: Journal) -> None:
    journal.save(make_delegation("abc1"))
    journal.save(make_delegation("abd2"))
    assert journal.load("abc").id == "abc1"
    with pytest.raises(UnknownDelegationError, match="More than one"):
        journal.load("ab")


@pytest.mark.parametrize("unknown", ["zz", "", "%", "_"])
def test_an_unknown_id_is_bad_input(journal: Journal, unknown: str) -> None:
    journal.save(make_delegation())
    with pytest.raises(UnknownDelegationError):
        journal.load(unknown)


def test_a_process_that_is_behind_cannot_overwrite_what_another_one_saved(journal: Journal) -> None:
    first = save_in_order(journal, in_state("agreed"))
    journal.save(with_approval_in_flight(first))
    with pytest.raises(JournalConflictError):
        journal.save(with_approval_in_flight(first))


def test_the_same_new_delegation_is_not_saved_twice(journal: Journal) -> None:
    journal.save(make_delegation())
    with pytest.raises(JournalConflictError):
        journal.save(make_delegation())


def test_an_owner_has_at_most_one_approval_in_flight_on_a_network(journal: Journal) -> None:
    save_in_order(journal, with_approval_in_flight(make_delegation("aaaa")))
    with pytest.raises(OwnerBusyError, match="Finish delegation aaaa first"):
        save_in_order(journal, with_approval_in_flight(make_delegation("bbbb")))
    assert journal.load("bbbb").state == "agreed", "it was not saved as sent"
    save_in_order(journal, with_approval_in_flight(make_delegation("cccc", network="ethereum")))


def test_a_settled_approval_no_longer_keeps_the_owner_busy(journal: Journal) -> None:
    first = save_in_order(journal, with_approval_in_flight(make_delegation("aaaa")))
    journal.save(in_state("approved", first))
    assert save_in_order(journal, with_approval_in_flight(make_delegation("bbbb"))).state == "on_its_way"


def test_the_file_and_its_companions_are_readable_by_nobody_else(journal: Journal, path: Path) -> None:
    journal.save(make_delegation())
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_the_file_is_written_ahead_and_flushed_before_a_save_returns(journal: Journal, path: Path) -> None:
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    open_journal(path).close()
    path.chmod(0o644)
    with pytest.raises(JournalError, match="chmod 600"):
        open_journal(path)


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("this is not a database, only a text that is long enough to look at")
    path.chmod(0o600)
    with pytest.raises(JournalError, match="cannot be opened"):
        open_journal(path)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense://user:SECRET@host/db",
        "postgresql+psycopg://u:SECRET@127.0.0.1:1/db",
        "postgresql://u:SECRET@h:noport/d",
    ],
)
def test_a_database_that_cannot_be_had_is_told_in_words_and_without_its_password(url: str) -> None:
    with pytest.raises(JournalError) as caught:
        open_journal(url)
    assert "SECRET" not in str(caught.value)


def stored_journal(version: int) -> Path:
    """Return a journal of an older version.

    journal-0.sqlite: seven delegations carried against the sandbox (`delegation sandbox up`) by the toolkit as it was
    before journals had versions, its fields `approval` and `token`; three are done (linea, solana, ethereum), two were
    handed to a wallet that sends and never came back (base, solana), one was refused by the platform before its
    ownership was signed (linea), one was sent and not settled (solana). Then VACUUM INTO, so that it is one file.

    journal-1.sqlite: that one, opened by the last version of the toolkit that wrote journals of version 1, which then
    carried eleven more: three done (linea), one planned (ethereum) and one sent (base), one without gas that `failure`
    tells (base) and one that a newer one had replaced (linea), one handed to a wallet (solana), and three whose answer
    was lost: with the proof that was offered, with a new token beside it, and with a new signature (linea). The next
    one is made in the same way by the last release that writes it.
    """
    return DOCUMENTS / f"journal-{version}.sqlite"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal of version 0, to be written."""
    path = tmp_path / "old.sqlite"
    shutil.copyfile(stored_journal(0), path)
    path.chmod(0o600)
    return path


def documents(path: Path) -> dict[object, object]:
    return dict(query(path, "SELECT id, document FROM delegations"))


def in_todays_words(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document of the first format with the names of today."""
    renamed = {"approval": "approvals", "token": "delegation_token"}
    return {renamed.get(name, name): value for name, value in document.items()}


def holds(now: object, was: object) -> bool:
    """Return whether a document still says all that it said, whatever has been added since."""
    if isinstance(was, dict):
        return isinstance(now, dict) and all(name in now and holds(now[name], value) for name, value in was.items())
    if isinstance(was, list):
        return isinstance(now, list) and len(now) == len(was) and all(map(holds, now, was))
    return now == was


STATIONS = {
    "d64c431d64a5": "done",
    "ab371d9d82df": "done",
    "2528b8e69d3e": "done",
    "3e6bfb43eebd": "approval",
    "7fa50cc5c78c": "ownership",
    "b0fd39f2bab9": "approval",
    "822ec4b683b0": "approval",
}
IN_FLIGHT = {"3e6bfb43eebd", "b0fd39f2bab9", "822ec4b683b0"}
# What each version's step runs in a journal of seven: two tables, one look at the rows and a statement for each; then
# five columns, one look, two statements for each, and an index. One more is killed in the second step as soon as the
# first one is through.
STATEMENTS = (2 + 1 + 7, 5 + 1 + 2 * 7 + 1)
KILLED = sum(STATEMENTS) + 1
WRITTEN = sorted((key,) for key in STATIONS for _ in range(3))


@pytest.mark.parametrize("version", range(VERSION))
def test_a_journal_of_every_version_before_is_kept_and_opens_with_all_that_is_in_it(
    version: int, tmp_path: Path
) -> None:
    kept = stored_journal(version)
    assert kept.exists(), f"a new version of the journal needs a journal of version {version} as {kept}"
    path = tmp_path / "copy.sqlite"
    shutil.copyfile(kept, path)
    path.chmod(0o600)
    assert query(path, "PRAGMA user_version") == [(version,)]
    journal = open_journal(path)
    assert len(journal.list()) == len(documents(path)) > 0
    assert journal.unreadable() == ()
    journal.close()
    assert query(path, "PRAGMA user_version") == [(VERSION,)]


def test_documents_of_every_format_before_are_among_them() -> None:
    stored = [str(text) for version in range(VERSION) for text in documents(stored_journal(version)).values()]
    assert set(range(1, formats.NEWEST)) <= {formats.version_of(json.loads(text)) for text in stored}
    assert f"delegation/{formats.NEWEST}" == formats.FORMAT


def test_a_journal_of_the_version_before_keeps_its_stations_hashes_locks_and_pins(old: Path) -> None:
    before = {key: json.loads(str(text)) for key, text in documents(old).items()}
    journal = open_journal(old)
    listed = journal.list()
    assert {d.id: d.station for d in listed} == STATIONS
    assert {d.id for d in listed if d.in_flight} == IN_FLIGHT
    for d in listed:
        was = before[d.id]
        assert holds(json.loads(d.model_dump_json()), in_todays_words(was))
        assert [a.sent.hash if a.sent else None for a in d.approvals] == [
            sent["sent"] and sent["sent"]["hash"] for sent in was["approval"]
        ]
        assert (d.delegation_token and d.delegation_token.token) == (was["token"] and was["token"]["token"])
    assert (
        journal.get_pin("127.0.0.1:35505/international/linea/spender") == "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
    )
    base = next(d for d in listed if d.request.network == "base")
    with pytest.raises(OwnerBusyError, match=base.id):
        save_in_order(
            journal, with_approval_in_flight(make_delegation("new", owner=base.request.owner, network="base"))
        )
    assert journal.save(base).revision == base.revision + 1
    journal.close()
    assert all(json.loads(str(text))["format"] == formats.FORMAT for text in documents(old).values())


STATES_OF_VERSION_1 = {
    "fbb6327cbf8d": "done",
    "1ca67b18db6e": "superseded",
    "5bfee8ed715a": "done",
    "c015d43a1873": "approved",
    "c1908f9dd067": "done",
    "9e9ddfaf4d26": "signed",
    "e9003511ab20": "failed",
    "2e49e797214b": "agreed",
    "a30b63943d9e": "on_its_way",
    "c8621c7e2720": "submitted",
    "ec2e72e60f5c": "handed_out",
}


def test_what_version_1_said_of_an_end_and_of_a_lost_answer_is_said_in_todays_words(tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite"
    shutil.copyfile(stored_journal(1), path)
    path.chmod(0o600)
    before = {key: json.loads(str(text)) for key, text in documents(path).items()}
    journal = open_journal(path)
    read = {d.id: d for d in journal.list()}
    assert {key: d.state for key, d in read.items() if key not in STATIONS} == STATES_OF_VERSION_1
    assert {key: d.station for key, d in read.items() if key in STATIONS} == STATIONS
    for key in ("e9003511ab20", "1ca67b18db6e"):
        ended, was = read[key].ended, before[key]["failure"]
        assert ended is not None
        assert (ended.reason, ended.error) == (was["reason"], was["error"])
        assert ended.at.isoformat() == was["failed_at"].replace("Z", "+00:00")
    # The token beside a reminder is kept, and a proof that is on its way is asked about before another is made.
    assert {key: d.lost_answers for key, d in read.items() if d.lost_answers} == {"c015d43a1873": 1, "9e9ddfaf4d26": 1}
    for key in ("c015d43a1873", "9e9ddfaf4d26", "c8621c7e2720"):
        assert (read[key].submission is None) is (key != "c8621c7e2720")
        token = read[key].delegation_token
        assert token is not None
        assert token.token == before[key]["delegation_token"]["token"]
        assert read[key].approvals[-1].hash == before[key]["approvals"][-1]["settlement"]["hash"]
    assert read["2e49e797214b"].agreed_at is not None
    assert journal.save(read["a30b63943d9e"]).revision == read["a30b63943d9e"].revision + 1
    busy = make_delegation("new", owner=read["a30b63943d9e"].request.owner, network="base")
    with pytest.raises(OwnerBusyError, match="a30b63943d9e"):
        save_in_order(journal, with_approval_in_flight(busy))
    journal.close()


def run_processes(mode: str, location: str | Path) -> list[int]:
    """Return the numbers that the processes print."""
    command = [sys.executable, str(PROCESSES), mode, str(location)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return [int(word) for word in ended.stdout.split()]


def test_processes_that_open_it_at_once_migrate_it_once(old: Path) -> None:
    query(old, "CREATE TABLE written (id TEXT)")
    query(
        old,
        "CREATE TRIGGER count_writes AFTER UPDATE ON delegations BEGIN INSERT INTO written VALUES (NEW.id); END",
    )
    assert run_processes("race", old) == [7] * 6
    assert sorted(query(old, "SELECT id FROM written")) == WRITTEN


def test_processes_that_make_it_at_once_make_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.sqlite"
    assert run_processes("race", path) == [0] * 6
    assert query(path, "PRAGMA user_version") == [(VERSION,)]


def test_a_migration_killed_after_any_of_its_statements_is_completed_by_the_next_one(old: Path) -> None:
    assert run_processes("kill", old) == [KILLED]
    journal = open_journal(old)
    assert {d.id: d.station for d in journal.list()} == STATIONS
    journal.close()


def test_a_migration_that_fails_leaves_the_journal_as_it_was(old: Path) -> None:
    query(
        old,
        "CREATE TRIGGER refuse BEFORE UPDATE ON delegations WHEN NEW.id = '822ec4b683b0' "
        "BEGIN SELECT RAISE(ABORT, 'no room'); END",
    )
    before = documents(old)
    with pytest.raises(JournalError, match=r"of version 0 and could not be brought to version 1 \(no room\)") as raised:
        open_journal(old)
    assert raised.value.hint
    assert documents(old) == before
    assert query(old, "PRAGMA user_version") == [(0,)]
    query(old, "DROP TRIGGER refuse")
    journal = open_journal(old)
    assert len(journal.list()) == 7
    journal.close()


def test_a_journal_of_a_newer_version_is_read_and_never_written(journal: Journal, path: Path) -> None:
    saved = journal.save(make_delegation())
    journal.set_pin("spender", "one")
    journal.close()
    query(path, f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    newer = open_journal(path)
    assert newer.list() == (saved,)
    assert newer.load("aaaa") == saved
    assert newer.get_pin("spender") == "one"
    for write in (
        lambda: newer.save(saved),
        lambda: newer.save(make_delegation("bbbb")),
        lambda: newer.set_pin("spender", "two"),
    ):
        with pytest.raises(NewerVersionError, match=f"of version {VERSION + 1}, which a newer version") as raised:
            write()
        assert "Upgrade this toolkit" in raised.value.hint
        assert (raised.value.expected, raised.value.found) == (VERSION, VERSION + 1)
    newer.close()
    assert path.read_bytes() == before


def test_a_newer_journal_whose_tables_are_others_says_so(path: Path) -> None:
    open_journal(path).close()
    query(path, "ALTER TABLE delegations RENAME TO jobs")
    query(path, f"PRAGMA user_version = {VERSION + 1}")
    journal = open_journal(path)
    with pytest.raises(NewerVersionError, match="cannot be read by this one"):
        journal.list()
    journal.close()


def test_a_journal_that_another_process_upgrades_meanwhile_is_no_longer_written(journal: Journal, path: Path) -> None:
    saved = journal.save(make_delegation())
    query(path, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(NewerVersionError):
        journal.save(saved)
    assert journal.list() == (saved,)


DAMAGED = {
    "newer": ("replace(document, '\"delegation/3\"', '\"delegation/9\"')", "format delegation/9", "Upgrade"),
    "truncated": ("substr(document, 1, 200)", "no whole document", "without it"),
    "field": ("replace(document, '\"request\"', '\"wish\"')", "request, wish", "version of this toolkit"),
    "amount": ("replace(document, '5000.50', 'much')", "nothing can mean", "without it"),
    "not text": ("CAST(x'ff' || document AS TEXT)", "Its entry is damaged", "without it"),
    "in the text": (
        "replace(document, 'usdc', CAST(x'ff' AS TEXT))",
        "Its entry is damaged",
        "chain holds can be read",
    ),
    "of another": (
        'replace(document, \'"id":"bbbb"\', \'"id":"cccc"\')',
        "of another delegation",
        "chain holds can be read",
    ),
    "a number": ("7", "Its entry is damaged", "chain holds can be read"),
    "nothing": ("''", "no whole document", "chain holds can be read"),
}


@pytest.mark.parametrize(("damage", "problem", "advice"), DAMAGED.values(), ids=DAMAGED)
def test_a_row_that_cannot_be_read_hides_only_itself(
    journal: Journal, path: Path, damage: str, problem: str, advice: str
) -> None:
    first, second = journal.save(make_delegation("aaaa")), make_delegation("bbbb", network="base")
    save_in_order(journal, with_approval_in_flight(second))
    last = journal.save(make_delegation("cccc"))
    query(path, f"UPDATE delegations SET document = {damage} WHERE id = 'bbbb'")  # noqa: S608

    assert journal.list() == (first, last)
    (row,) = journal.unreadable()
    assert (row.id, row.created_at, row.network, row.owner) == ("bbbb", second.created_at, "base", OWNER)
    assert row.in_flight
    assert problem in row.problem
    assert advice in row.hint
    with pytest.raises(JournalError, match="Delegation bbbb cannot be read") as raised:
        journal.load("bb")
    assert problem in raised.value.message
    assert raised.value.hint == row.hint
    assert journal.save(in_state("agreed", first)).revision == 2

    with pytest.raises(OwnerBusyError, match="bbbb of the same owner on base cannot be read, and may have") as busy:
        save_in_order(journal, with_approval_in_flight(make_delegation("dddd", network="base")))
    assert problem in busy.value.hint
    assert "resume bbbb" not in busy.value.hint


@pytest.mark.parametrize(
    ("column", "value"),
    [("created_at", "x'ff'"), ("created_at", "1"), ("owner_lock", "x'00ff'"), ("owner_key", "x'00ff'")],
)
def test_a_damaged_cell_beside_a_damaged_document_hides_only_its_row(
    journal: Journal, path: Path, column: str, value: str
) -> None:
    journal.save(make_delegation("bbbb"))
    last = journal.save(make_delegation("cccc"))
    query(path, f"UPDATE delegations SET document = x'ff', {column} = {value} WHERE id = 'bbbb'")  # noqa: S608
    assert journal.list() == (last,)
    assert [row.id for row in journal.unreadable()] == ["bbbb"]


def test_an_id_that_is_no_text_names_no_row(journal: Journal, path: Path) -> None:
    journal.save(make_delegation("bbbb"))
    with pytest.raises(UnknownDelegationError):
        journal.load("\udcff")
    query(path, "UPDATE delegations SET id = x'ff'")
    assert journal.list() == ()
    assert len(journal.unreadable()) == 1


def test_a_version_that_never_was_is_refused_in_words(journal: Journal, path: Path) -> None:
    journal.close()
    query(path, "PRAGMA user_version = -1")
    with pytest.raises(JournalError, match="version -1, which there never was"):
        open_journal(path)


def test_a_row_that_cannot_be_read_is_left_as_it_is_by_a_migration_and_keeps_its_lock(old: Path) -> None:
    query(old, "UPDATE delegations SET document = substr(document, 1, 900), created_at = 'x' WHERE id = '3e6bfb43eebd'")
    before = documents(old)["3e6bfb43eebd"]
    journal = open_journal(old)
    assert {d.id for d in journal.list()} == set(STATIONS) - {"3e6bfb43eebd"}
    (row,) = journal.unreadable()
    assert (row.id, row.created_at, row.network) == ("3e6bfb43eebd", None, "base")
    assert row.owner is not None
    with pytest.raises(OwnerBusyError, match="cannot be read"):
        save_in_order(journal, with_approval_in_flight(make_delegation("new", owner=row.owner, network="base")))
    journal.close()
    assert documents(old)["3e6bfb43eebd"] == before


def test_nothing_of_a_document_is_told_of_a_row_that_cannot_be_read(old: Path) -> None:
    token = json.loads(str(documents(old)["7fa50cc5c78c"]))["token"]["token"]
    query(old, "UPDATE delegations SET document = replace(document, '\"nonce\":', '\"once\":')")
    journal = open_journal(old)
    rows = journal.unreadable()
    journal.close()
    assert "7fa50cc5c78c" in {row.id for row in rows}
    assert token not in repr(rows)


def test_postgresql_keeps_the_same_promises(database: str) -> None:
    journal = open_journal(database)
    first = save_in_order(journal, with_approval_in_flight(make_delegation("aaaa")))
    assert journal.load("aa") == first
    with pytest.raises(OwnerBusyError):
        save_in_order(journal, with_approval_in_flight(make_delegation("bbbb")))
    second = journal.save(first)
    with pytest.raises(JournalConflictError):
        journal.save(first)
    with pytest.raises(IllegalTransitionError):
        journal.save(in_state("done", second))
    assert journal.list() == (second, journal.load("bbbb"))
    journal.set_pin("spender", "one")
    journal.set_pin("spender", "two")
    assert journal.get_pin("spender") == "two"
    journal.close()


def write_old_journal(url: str) -> None:
    """Write the journal of version 0 into a database, with the statements and rows of the file."""
    with closing(psycopg_connect(url)) as connection, connection:
        for (statement,) in query(stored_journal(0), "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"):
            connection.execute(statement)
        for row in query(stored_journal(0), "SELECT id, revision, created_at, in_flight, document FROM delegations"):
            connection.execute("INSERT INTO delegations VALUES (%s, %s, %s, %s, %s)", row)


def test_in_postgresql_processes_that_open_the_version_before_migrate_it_once(database: str) -> None:
    write_old_journal(database)
    ask(database, "CREATE TABLE written (id TEXT)")
    ask(
        database,
        "CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO written VALUES (NEW.id); RETURN NEW; END $$",
    )
    ask(database, "CREATE TRIGGER t AFTER UPDATE ON delegations FOR EACH ROW EXECUTE FUNCTION count_write()")
    assert run_processes("race", database) == [7] * 6
    assert sorted(ask(database, "SELECT id FROM written")) == WRITTEN
    journal = open_journal(database)
    assert {d.id: d.station for d in journal.list()} == STATIONS
    journal.close()
    assert ask(database, "SELECT version FROM journal_version") == [(VERSION,)]


def test_in_postgresql_processes_that_make_it_at_once_make_one(database: str) -> None:
    assert run_processes("race", database) == [0] * 6
    assert ask(database, "SELECT version FROM journal_version") == [(VERSION,)]


def test_in_postgresql_a_killed_migration_is_completed_by_the_next_one(database: str) -> None:
    write_old_journal(database)
    assert run_processes("kill", database) == [KILLED]
    journal = open_journal(database)
    assert {d.id: d.station for d in journal.list()} == STATIONS
    journal.close()


def test_in_postgresql_a_migration_that_fails_leaves_the_journal_as_it_was(database: str) -> None:
    write_old_journal(database)
    ask(database, "ALTER TABLE delegations ADD CHECK (id <> '822ec4b683b0' OR document LIKE '%\"approval\":%')")
    before = ask(database, "SELECT * FROM delegations ORDER BY id")
    with pytest.raises(JournalError, match="of version 0 and could not be brought to version 1"):
        open_journal(database)
    assert ask(database, "SELECT * FROM delegations ORDER BY id") == before
    assert ask(database, "SELECT version FROM journal_version") == [(0,)]


def test_in_postgresql_a_newer_journal_is_read_and_never_written_and_a_bad_row_hides_only_itself(database: str) -> None:
    write_old_journal(database)
    open_journal(database).close()
    ask(database, "UPDATE delegations SET document = '{' WHERE id = '3e6bfb43eebd'")
    ask(database, f"UPDATE journal_version SET version = {VERSION + 1}")  # noqa: S608
    before = ask(database, "SELECT * FROM delegations ORDER BY id")
    journal = open_journal(database)
    assert len(journal.list()) == 6
    assert [row.id for row in journal.unreadable()] == ["3e6bfb43eebd"]
    with pytest.raises(NewerVersionError):
        journal.save(journal.load("7fa5"))
    with pytest.raises(NewerVersionError):
        journal.set_pin("spender", "one")
    journal.close()
    assert ask(database, "SELECT * FROM delegations ORDER BY id") == before
