"""The journal: durable, ours alone, and never overwritten by a process that is behind."""

import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from chains.types import ApproveStep, SignedTransaction
from delegation.errors import JournalConflictError, JournalError, OwnerBusyError, UnknownDelegationError
from delegation.journal import Journal, open_journal
from delegation.models import Approval, Delegation, DelegationRequest

OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"


def make_delegation(identity: str = "aaaa", *, owner: str = OWNER, network: str = "linea") -> Delegation:
    request = DelegationRequest(network=network, currency="usdc", amount=Decimal("5000.50"), owner=owner)
    return Delegation(id=identity, created_at=datetime.now(UTC), gateway="api.example.com", request=request)


def with_approval_in_flight(delegation: Delegation) -> Delegation:
    approval = Approval(step=ApproveStep(2**200), sent=SignedTransaction(raw="0x02", hash="0x" + "11" * 32))
    return delegation.model_copy(update={"approvals": (approval,)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = open_journal(path)
    yield opened
    opened.close()


def test_what_was_saved_is_loaded_again_to_the_last_base_unit(journal: Journal) -> None:
    saved = journal.save(with_approval_in_flight(make_delegation()))
    assert journal.load("aaaa") == saved
    assert saved.approvals[0].step.amount == 2**200


def test_base_units_are_text_in_the_document_because_javascript_loses_large_numbers(journal: Journal) -> None:
    saved = journal.save(with_approval_in_flight(make_delegation()))
    assert saved.model_dump(mode="json")["approvals"][0]["step"]["amount"] == str(2**200)


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
    first = journal.save(make_delegation())
    journal.save(with_approval_in_flight(first))
    with pytest.raises(JournalConflictError):
        journal.save(first)


def test_the_same_new_delegation_is_not_saved_twice(journal: Journal) -> None:
    journal.save(make_delegation())
    with pytest.raises(JournalConflictError):
        journal.save(make_delegation())


def test_an_owner_has_at_most_one_approval_in_flight_on_a_network(journal: Journal) -> None:
    journal.save(with_approval_in_flight(make_delegation("aaaa")))
    with pytest.raises(OwnerBusyError, match="Finish delegation aaaa first"):
        journal.save(with_approval_in_flight(make_delegation("bbbb")))
    journal.save(with_approval_in_flight(make_delegation("cccc", network="ethereum")))


def test_a_settled_approval_no_longer_keeps_the_owner_busy(journal: Journal) -> None:
    first = journal.save(with_approval_in_flight(make_delegation("aaaa")))
    journal.save(first.model_copy(update={"approvals": ()}))
    assert journal.save(with_approval_in_flight(make_delegation("bbbb"))).revision == 1


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


def test_a_document_of_another_version_is_refused_in_words(journal: Journal, path: Path) -> None:
    journal.save(make_delegation())
    other = sqlite3.connect(path)
    other.execute("UPDATE delegations SET document = replace(document, '\"request\"', '\"wish\"')")
    other.commit()
    other.close()
    with pytest.raises(JournalError, match="another version"):
        journal.list()


@pytest.mark.parametrize("url", ["nonsense://user:SECRET@host/db", "postgresql+psycopg://u:SECRET@127.0.0.1:1/db"])
def test_a_database_that_cannot_be_had_is_told_in_words_and_without_its_password(url: str) -> None:
    with pytest.raises(JournalError) as caught:
        open_journal(url)
    assert "SECRET" not in str(caught.value)


@pytest.fixture(scope="module")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own, on a socket in a directory of its own."""
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    runuser = shutil.which("runuser")
    if programs is None or runuser is None or os.geteuid() != 0:
        pytest.skip("PostgreSQL is not installed on this machine, or cannot be started by this user")
    directory = tmp_path_factory.mktemp("postgresql")
    for part in (directory, *directory.parents[:3]):
        part.chmod(0o755)
    shutil.chown(directory, "postgres", "postgres")

    def as_postgres(*command: str) -> None:
        subprocess.run([runuser, "-u", "postgres", "--", *command], check=True, capture_output=True, cwd=directory)

    data = str(directory / "data")
    as_postgres(str(programs / "initdb"), "-D", data, "--auth=trust", "--username=postgres")
    server = [str(programs / "pg_ctl"), "-D", data, "-w", "-l", str(directory / "log")]
    as_postgres(*server, "-o", f"-c listen_addresses='' -k {directory}", "start")
    yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
    as_postgres(*server, "-m", "immediate", "stop")


def test_postgresql_keeps_the_same_promises(postgresql_url: str) -> None:
    journal = open_journal(postgresql_url)
    first = journal.save(with_approval_in_flight(make_delegation("aaaa")))
    assert journal.load("aa") == first
    with pytest.raises(OwnerBusyError):
        journal.save(with_approval_in_flight(make_delegation("bbbb")))
    second = journal.save(first)
    with pytest.raises(JournalConflictError):
        journal.save(first)
    assert journal.list() == (second,)
    journal.set_pin("spender", "one")
    journal.set_pin("spender", "two")
    assert journal.get_pin("spender") == "two"
    journal.close()
