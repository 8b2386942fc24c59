"""`list`, `show`, `resume` and `verify` beside what cannot be read, and in journals of other versions."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command_line import Result

from chains.wallets import write_secret_file
from delegation.cli import main
from delegation.migrations import VERSION

OLD = Path(__file__).parent / "documents" / "journal-0.sqlite"
# The one of them that stopped at ownership, one that is done, and its transaction.
STOPPED, DONE, TRANSACTION = (
    "7fa50cc5c78c",
    "d64c431d64a5",
    "0x14ae738bcc42757dadccaa2572f9e9c8ad078e992655364cbcba3e7b680b8296",
)
IN_FLIGHT = ("3e6bfb43eebd", "b0fd39f2bab9", "822ec4b683b0")
CUT = "substr(document, 1, 900)"
NEWER = """replace(document, '{"id"', '{"format":"delegation/9","id"')"""


class Home:
    """A home with one profile, whose platform nobody serves, and a journal of the version before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = directory / "journal.sqlite"
        shutil.copyfile(OLD, self.journal)
        self.journal.chmod(0o600)
        (directory / "profiles").mkdir()
        gateway = {"base_url": "http://127.0.0.1:1", "client_key": "key", "access_token": "token"}
        networks = {name: {"rpc_url": "http://127.0.0.1:1"} for name in ("linea", "ethereum", "base", "solana")}
        content = {"gateway": gateway, "networks": networks, "journal": str(self.journal)}
        write_secret_file(directory / "profiles" / "old.json", json.dumps(content))

    def change(self, statement: str) -> None:
        with closing(sqlite3.connect(self.journal)) as connection, connection:
            connection.execute(statement)

    def spoil(self, document: str, *ids: str) -> None:
        names = ", ".join(f"'{identity}'" for identity in ids)
        self.change(f"UPDATE delegations SET document = {document} WHERE id IN ({names})")  # noqa: S608

    def call(self, *arguments: str) -> Result:
        """Run a command."""
        runner = CliRunner(env={"DELEGATION_HOME": str(self.directory)})
        ended = runner.invoke(main, ["--profile", "old", *arguments], catch_exceptions=False)
        return Result(ended.exit_code, ended.stdout, ended.stderr)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def test_a_journal_of_the_version_before_is_listed_whole(home: Home) -> None:
    listed = home.call("--json", "list")
    assert listed.status == 0
    assert len(listed.document["delegations"]) == 7
    assert listed.document["unreadable"] == []
    shown = home.call("--json", "show", DONE)
    assert shown.document["approvals"][-1]["hash"] == TRANSACTION
    assert shown.document["station"] == "done"


@pytest.mark.parametrize(
    ("damage", "problem", "advice"),
    [(CUT, "Its entry is damaged", "kept as it is"), (NEWER, "delegation/9", "Upgrade this toolkit")],
    ids=["damaged", "newer"],
)
def test_list_shows_a_row_for_what_cannot_be_read_and_says_what_to_do(
    home: Home, damage: str, problem: str, advice: str
) -> None:
    home.spoil(damage, STOPPED, "3e6bfb43eebd")
    listed = home.call("list")
    assert listed.status == 0
    rows = {line.removeprefix("*").split()[0]: line for line in listed.out.splitlines()[1:] if line}
    assert len(rows) == 7
    assert rows[STOPPED].endswith("unreadable")
    assert "2026-11-25 04:23  base" in rows["3e6bfb43eebd"]
    assert "VERIFIED" in rows[DONE]
    assert problem in listed.err
    assert advice in listed.err
    document = home.call("--json", "list").document
    assert len(document["delegations"]) == 5
    handed_out, stopped = document["unreadable"]
    assert (handed_out["id"], handed_out["network"], handed_out["in_flight"]) == ("3e6bfb43eebd", "base", True)
    assert (stopped["id"], stopped["network"], stopped["in_flight"]) == (STOPPED, None, False)
    assert problem in stopped["problem"]
    assert advice in stopped["hint"]


@pytest.mark.parametrize("verb", ["show", "resume", "verify"])
def test_what_cannot_be_read_is_named_where_it_is_asked_for(home: Home, verb: str) -> None:
    home.spoil(NEWER, STOPPED)
    result = home.call("--json", verb, STOPPED[:6])
    assert result.status == (3 if verb == "verify" else 1)  # verify: it could not be checked
    error = result.document["error"]
    assert f"Delegation {STOPPED} cannot be read." in error["message"]
    assert "delegation/9" in error["message"]
    assert "Upgrade this toolkit" in error["hint"]


def test_resume_without_an_id_goes_on_with_what_can_be_read_and_mentions_the_rest(home: Home) -> None:
    home.spoil(CUT, *IN_FLIGHT)
    resumed = home.call("--json", "resume", "--yes")
    assert f"Delegation {STOPPED} (8 USDC on linea" in resumed.err, "it went on with the only one"
    assert f"Cannot be read: {', '.join(IN_FLIGHT)}. Its entry is damaged" in resumed.err
    assert resumed.document["id"] == STOPPED
    assert resumed.status == 4, "nobody serves the node"

    home.spoil(CUT, STOPPED)
    nothing = home.call("--json", "resume")
    assert nothing.status == 0
    assert "every other delegation of the journal is finished" in nothing.err
    assert set(ids(nothing.document["unreadable"])) == {STOPPED, *IN_FLIGHT}


def test_verify_finds_a_transaction_of_the_journal_beside_what_cannot_be_read(home: Home) -> None:
    home.spoil(CUT, STOPPED)
    found = home.call("verify", TRANSACTION)
    assert found.status == 3
    assert "The claim is not whole" not in found.err
    home.spoil(CUT, DONE)
    lost = home.call("verify", TRANSACTION)
    assert lost.status == 2
    assert f"may be of a delegation of the journal that cannot be read: {DONE}, {STOPPED}" in lost.err


def test_a_newer_journal_is_listed_and_shown(home: Home) -> None:
    home.call("list")
    home.change(f"PRAGMA user_version = {VERSION + 1}")
    assert len(home.call("--json", "list").document["delegations"]) == 7
    assert home.call("--json", "show", DONE).status == 0
    assert home.call("list").status == 0
