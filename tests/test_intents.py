"""Requests that touched nothing: over when their owner has moved on, and asked for again when the chain has."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, Clock, CrashError, Line, die_at, open_line
from relay import relay

from chains.errors import NodeError, NoGasError, TransactionExpiredError
from chains.family import open_node
from chains.types import SolanaTransaction
from delegation import Delegation, carry
from delegation.context import keep
from delegation.databases import SqliteDatabase
from delegation.errors import DelegationEndedError, OutdatedPlanError
from delegation.intents import OutdatedPlan
from delegation.journal import Journal
from delegation.leases import Lease
from delegation.sandbox import Sandbox

DEAD = "http://127.0.0.1:9"
ALLOWANCES = [("linea", "usdc"), ("ethereum", "usdt"), ("solana", "usdc")]


async def planned(line: Line, amount: str) -> Delegation:
    """Return a delegation that died when its plan was agreed to and nothing was signed."""
    with pytest.raises(CrashError):
        await carry(line.new(amount), replace(line.context, progress=die_at("preparing")))
    return line.context.journal.list()[-1]


async def resume_all(line: Line) -> None:
    """Carry every delegation of the journal on, as a loop of `resume --yes` does."""
    for d in line.context.journal.list():
        try:
            await carry(d, line.context)
        except (DelegationEndedError, OutdatedPlanError):
            continue


@pytest.mark.parametrize(("network", "currency"), ALLOWANCES)
@pytest.mark.parametrize("platform", ["up", "down"])
async def test_after_a_revocation_no_older_request_comes_back(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str, platform: str
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line:
        old = await planned(line, "900")
        await line.carry("500")
        if platform == "up":
            await line.carry("0")
        else:
            with pytest.raises(CrashError):
                await carry(line.new("0"), replace(line.context, progress=die_at("taking a token")))
        newest = line.context.journal.list()[-1]
        assert newest.told is (platform == "up")
        with pytest.raises(DelegationEndedError) as ended:
            await carry(old, line.context)
        assert ended.value.found == newest.id
        assert newest.id in ended.value.message
        await resume_all(line)
        assert await line.allowance() == 0
        assert line.context.journal.load(old.id).state == "superseded"


@pytest.mark.parametrize(("network", "currency"), ALLOWANCES)
async def test_what_another_program_did_since_the_plan_is_asked_about_with_both_values(
    sandbox: Sandbox, tmp_path: Path, network: str, currency: str
) -> None:
    async with open_line(sandbox, tmp_path, network, currency) as line:
        await line.carry("500")
        old = await planned(line, "900")
        async with open_line(sandbox, tmp_path / "elsewhere", network, currency, key=line.key) as elsewhere:
            await elsewhere.carry("0")
        with pytest.raises(OutdatedPlanError) as stopped:
            await carry(old, line.context)
        assert (stopped.value.expected, stopped.value.found) == (500 * UNIT, 0)
        assert "500" in stopped.value.message
        await resume_all(line)
        assert await line.allowance() == 0
        assert line.context.journal.load(old.id).unfinished, "its owner may still want it"

        asked: list[OutdatedPlan] = []
        done = await carry(old, replace(line.context, agree_again=asked.append))
        assert [(one.left_at, one.now.before.allowance) for one in asked] == [(500 * UNIT, 0)]
        assert done.station == "done"


async def test_an_older_delegation_that_settled_after_the_plan_was_made_counts_as_newer(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        first = await planned(line, "500")
        second = await planned(line, "900")
        await carry(first, line.context)
        with pytest.raises(DelegationEndedError) as ended:
            await carry(second, line.context)
        assert ended.value.found == first.id


@pytest.mark.parametrize("moved", [timedelta(hours=24, minutes=1), timedelta(hours=-1)], ids=["a day old", "future"])
async def test_a_plan_older_than_a_day_or_of_a_wrong_clock_is_asked_about(
    sandbox: Sandbox, tmp_path: Path, moved: timedelta
) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:
        old = await planned(line, "900")
        clock.ahead = moved
        with pytest.raises(OutdatedPlanError):
            await carry(old, line.context)
        clock.ahead = timedelta()
        assert (await carry(old, line.context)).station == "done"


async def test_a_delegation_of_another_token_or_network_takes_no_place(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        old = await planned(line, "900")
        other = await line.carry("7", currency="usdt")
        assert other.station == "done"
        assert (await carry(old, line.context)).station == "done"


async def test_a_request_whose_amount_the_plan_refuses_is_over_with_its_reason(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base", gas=False) as line:
        with pytest.raises(NoGasError) as refused:
            await line.carry("5")
        failed = line.only()
        assert failed.ended is not None
        assert (failed.station, failed.ended.error, failed.ended.reason) == (
            "failed",
            "NoGasError",
            refused.value.message,
        )
        with pytest.raises(DelegationEndedError):
            await carry(failed, line.context)


async def test_a_request_that_could_not_be_asked_about_stays_resumable(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        dead = open_node(line.context.node.chain, DEAD)
        with pytest.raises(NodeError):
            await carry(line.new("5"), replace(line.context, node=dead))
        await dead.aclose()
        kept = line.only()
        assert (kept.station, kept.unfinished) == ("plan", True)
        assert kept.request.amount == Decimal(5)
        assert (await carry(kept, line.context)).station == "done"


async def test_a_planned_request_stays_resumable_after_a_node_failed(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        old = await planned(line, "5")
        dead = open_node(line.context.node.chain, DEAD)
        with pytest.raises(NodeError):
            await carry(old, replace(line.context, node=dead))
        await dead.aclose()
        assert line.only() == old


async def test_the_second_of_two_steps_is_not_made_once_a_newer_delegation_has_settled(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line:
        await line.carry("500")
        with pytest.raises(CrashError):
            await carry(line.new("900"), replace(line.context, progress=die_at("approval 2 of 2: preparing")))
        old = line.only()
        assert [approval.state for approval in old.approvals] == ["settled", "planned"]
        await line.carry("5")
        await line.carry("0")
        await resume_all(line)
        await resume_all(line)
        assert await line.allowance() == 0
        assert line.context.journal.load(old.id).state == "superseded"


class LateJournal(Journal):
    """The journal at `path`, in which something happens just before the owner's lock is taken."""

    def __init__(self, path: Path, happens: Callable[[Journal], object]) -> None:
        super().__init__(SqliteDatabase(path))
        self._happens = happens

    def lock_owner(self, delegation: Delegation, lease: Lease) -> None:
        self._happens(self)
        super().lock_owner(delegation, lease)


async def test_what_another_process_settled_while_the_owner_was_being_locked_is_newer(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        old, newer = await planned(line, "900"), await planned(line, "7")
        async with open_line(sandbox, tmp_path / "elsewhere", "base", key=line.key) as elsewhere:
            (approval,) = (await elsewhere.carry("7")).approvals

        def settle_newer(journal: Journal) -> None:
            sent = keep(journal, newer, "send", approvals=(approval.model_copy(update={"settlement": None}),))
            keep(journal, sent, "settle", approvals=(approval,))

        journal = LateJournal(line.journal, settle_newer)
        asked = replace(line.context, journal=journal, agree_again=lambda outdated: None)
        with pytest.raises(DelegationEndedError) as ended:
            await carry(old, asked)
        journal.close()
        assert ended.value.found == newer.id
        assert line.context.journal.load(old.id).state == "superseded"
        assert await line.allowance() == 7 * UNIT


async def test_what_was_signed_and_has_expired_is_not_signed_anew_without_asking(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:

        def lose(asked: dict[str, Any]) -> dict[str, Any]:
            return asked | {"method": "getHealth", "params": []} if asked["method"] == "sendTransaction" else asked

        def say_nothing(method: str, _: Any, answer: Any) -> Any:
            return answer | {"result": ""} if method == "sendTransaction" else answer

        # Signed and saved; the node that it is sent to loses it, and it is said to have lived for long enough.
        with pytest.raises(CrashError):
            await carry(line.new("900"), replace(line.context, progress=die_at("waiting for")))
        signed = line.only()
        unsigned = signed.approvals[0].unsigned
        assert isinstance(unsigned, SolanaTransaction)
        past = signed.approvals[0].model_copy(update={"unsigned": replace(unsigned, last_valid_block_height=1)})
        line.context.keep(signed, "watch", approvals=(past,))
        async with relay(line.known.rpc_url, say_nothing, before=lose) as url:
            node = open_node(line.context.node.chain, url)
            with pytest.raises(TransactionExpiredError):
                await carry(line.only(), replace(line.context, node=node))
            await node.aclose()
        assert line.only().approvals[0].discarded == (signed.approvals[0].hash,)
        await resume_all(line)
        assert await line.allowance() == 0


async def test_a_plan_that_is_only_shown_again_gets_no_younger(sandbox: Sandbox, tmp_path: Path) -> None:
    clock = Clock()
    async with open_line(sandbox, tmp_path, "base", now=clock) as line:
        old = await planned(line, "900")
        for hours in (10, 20):
            clock.ahead = timedelta(hours=hours)
            with pytest.raises(CrashError):
                await carry(line.only(), replace(line.context, progress=die_at("preparing")))
        clock.ahead = timedelta(hours=25)
        with pytest.raises(OutdatedPlanError, match="More than a day has passed"):
            await carry(line.only(), line.context)
        assert (line.only().agreed_at, line.only().id) == (old.agreed_at, old.id)


@pytest.mark.parametrize(
    ("created_at", "asked"), [("9999-01-01T00:00:00+00:00", True), ("2020-01-01T00:00:00+00:00", False)]
)
async def test_an_entry_that_cannot_be_read_and_may_be_newer_is_neither_a_yes_nor_a_no(
    sandbox: Sandbox, tmp_path: Path, created_at: str, asked: bool
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        old = await planned(line, "900")
        with closing(sqlite3.connect(line.journal)) as database, database:
            row = ("damaged", 1, created_at, "{")
            database.execute("INSERT INTO delegations (id, revision, created_at, document) VALUES (?, ?, ?, ?)", row)
        if asked:
            with pytest.raises(OutdatedPlanError, match="cannot be read may hold a newer request"):
                await carry(old, line.context)
            assert await line.count_signed() == 0
        else:
            assert (await carry(old, line.context)).station == "done"


async def test_between_two_steps_it_is_asked_what_became_of_the_first(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line:
        await line.carry("500")
        with pytest.raises(CrashError):
            await carry(line.new("900"), replace(line.context, progress=die_at("approval 2 of 2: preparing")))
        half = line.only()
        async with open_line(sandbox, tmp_path / "elsewhere", "ethereum", "usdt", key=line.key) as elsewhere:
            await elsewhere.carry("7")
        with pytest.raises(OutdatedPlanError) as stopped:
            await carry(half, line.context)
        assert (stopped.value.expected, stopped.value.found) == (0, 7 * UNIT)
        assert line.only().unfinished
        done = await carry(half, replace(line.context, agree_again=lambda outdated: None))
        assert (done.station, len(done.approvals)) == ("done", 3)
        assert await line.allowance() == 900 * UNIT
