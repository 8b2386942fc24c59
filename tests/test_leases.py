"""Leases: one process carries a delegation, one question is asked of an owner, and nothing is held by who is gone."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
from journal_lab import OWNER, in_state, make_delegation, query, save_in_order
from line_lab import Line, TamperedWallet, open_line
from postgresql_lab import ask

from chains.types import SignedTransaction
from delegation import Delegation, carry, databases, leases
from delegation.abandonment import abandon
from delegation.databases import SqliteDatabase
from delegation.errors import JournalConflictError, LeasedError, OwnerBusyError
from delegation.journal import Journal, open_journal
from delegation.leases import LEASE, ThreadHeart, is_gone, name_holder
from delegation.lifecycle import IN_FLIGHT, State
from delegation.sandbox import Sandbox

BEFORE = LEASE - timedelta(seconds=1)
AFTER = LEASE + timedelta(seconds=1)


@dataclass
class Time:
    """A clock that stands still until it is moved."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Pulse:
    """A heart that beats when it is told to: a process that lives, or one that is killed and does not."""

    beats: list[Callable[[], None]] = field(default_factory=list)

    def start(self, beat: Callable[[], None]) -> Callable[[], None]:
        self.beats.append(beat)
        return lambda: self.beats.remove(beat)

    def beat(self) -> None:
        for one in tuple(self.beats):
            one()


@dataclass
class Machine:
    """A machine of its own, with the journal that all share open on it; whether its process lives cannot be seen."""

    name: str
    path: Path
    clock: Time
    heart: Pulse = field(default_factory=Pulse)

    def __post_init__(self) -> None:
        numbers = iter(range(100))
        self.journal = Journal(
            SqliteDatabase(self.path),
            now=self.clock,
            heart=self.heart,
            name=lambda: f"process 7 on {self.name}, {next(numbers)}",
        )


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def machines(tmp_path: Path, clock: Time) -> Iterator[tuple[Machine, Machine]]:
    path = tmp_path / "journal.sqlite"
    one, other = Machine("one", path, clock), Machine("other", path, clock)
    yield one, other
    one.journal.close()
    other.journal.close()


def row_of(path: Path, identity: str) -> tuple[Any, ...]:
    """Return who holds a delegation, and whether it has its owner's lock."""
    ((holder, lock),) = query(path, "SELECT holder, owner_lock FROM delegations WHERE id = ?", identity)
    return holder, lock is not None


def test_one_process_carries_a_delegation_and_another_is_told_who_has_it(
    machines: tuple[Machine, Machine], clock: Time
) -> None:
    one, other = machines
    d = one.journal.save(make_delegation())
    lease = one.journal.lease(d)
    clock.now += BEFORE
    with pytest.raises(LeasedError, match="is being carried by process 7 on one; nothing was done here") as refused:
        other.journal.lease(d)
    assert "its right ends at 00:01:00 UTC" in refused.value.hint
    lease.release()
    other.journal.lease(d).release()


def test_the_lease_of_a_killed_process_is_free_after_its_time(machines: tuple[Machine, Machine], clock: Time) -> None:
    one, other = machines
    d = one.journal.save(make_delegation())
    one.journal.lease(d)
    clock.now += AFTER
    taken = other.journal.lease(d)
    assert row_of(one.path, d.id)[0] == taken.holder
    with pytest.raises(LeasedError, match="on other"):
        one.journal.lease(d)


def test_a_lease_is_renewed_while_its_process_lives_and_not_after_it_was_given_back(
    machines: tuple[Machine, Machine], clock: Time
) -> None:
    one, other = machines
    d = one.journal.save(make_delegation())
    lease = one.journal.lease(d)
    for _ in range(5):
        clock.now += BEFORE
        one.heart.beat()
    with pytest.raises(LeasedError):
        other.journal.lease(d)
    lease.release()
    assert one.heart.beats == []
    assert row_of(one.path, d.id) == (None, False)


def test_a_lease_that_was_taken_over_is_neither_renewed_nor_given_back(
    machines: tuple[Machine, Machine], clock: Time
) -> None:
    one, other = machines
    d = one.journal.save(make_delegation())
    lost = one.journal.lease(d)
    clock.now += AFTER
    taken = other.journal.lease(d)
    assert not one.journal.renew_lease(lost)
    lost.release()
    assert row_of(one.path, d.id)[0] == taken.holder
    assert other.journal.renew_lease(taken)


@pytest.mark.parametrize("how", ["by force", "after its time"])
def test_a_lease_that_was_taken_over_makes_the_next_save_of_its_holder_fail(
    machines: tuple[Machine, Machine], clock: Time, how: str
) -> None:
    one, other = machines
    d = one.journal.save(make_delegation())
    one.journal.lease(d)
    clock.now += AFTER if how == "after its time" else timedelta()
    taken = other.journal.lease(d, force=how == "by force")
    with pytest.raises(JournalConflictError):
        one.journal.save(in_state("agreed", d))
    assert other.journal.load(d.id) == d
    assert other.journal.save(in_state("agreed", d)).state == "agreed"
    taken.release()


def test_a_lease_that_ran_out_and_that_nobody_took_still_saves(machines: tuple[Machine, Machine], clock: Time) -> None:
    one, _ = machines
    d = one.journal.save(make_delegation())
    one.journal.lease(d)
    clock.now += 10 * LEASE
    assert one.journal.save(in_state("agreed", d)).state == "agreed"


def test_a_living_process_renews_its_lease_also_while_a_question_blocks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", timedelta(seconds=0.02))
    clock, path = Time(), tmp_path / "journal.sqlite"
    journal = Journal(SqliteDatabase(path), now=clock, heart=ThreadHeart())
    d = journal.save(make_delegation())
    lease = journal.lease(d)
    clock.now += 5 * LEASE
    time.sleep(0.5)  # a terminal that waits for a person blocks the whole thread, like this
    ((until,),) = query(path, "SELECT leased_until FROM delegations")
    assert datetime.fromisoformat(until) == clock.now + LEASE
    lease.release()
    journal.close()


def test_a_heart_beats_for_all_leases_of_a_process_and_rests_when_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "BEAT", timedelta(seconds=0.01))
    heart, beats = ThreadHeart(), [0, 0]

    def beat(number: int) -> Callable[[], None]:
        def count() -> None:
            beats[number] += 1

        return count

    stops = [heart.start(beat(number)) for number in (0, 1)]
    wait_until(lambda: min(beats) >= 3)
    stops[0]()
    time.sleep(0.05)
    first = beats[0]
    wait_until(lambda: beats[1] >= first + 3)
    assert beats[0] == first
    stops[1]()
    wait_until(lambda: heart._thread is None)
    stop = heart.start(beat(0))
    wait_until(lambda: beats[0] > first)
    stop()


def wait_until(reached: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.005)


HOLD = """
import sys, time
from delegation.journal import open_journal
journal = open_journal(sys.argv[1])
d = journal.list()[0]
lease = journal.lease(d)
journal.lock_owner(d, lease)
print("held", flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_of_this_machine_held_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = open_journal(path)
    d = journal.save(make_delegation("aaaa"))
    other = journal.save(make_delegation("bbbb"))
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        lease = journal.lease(other)
        with pytest.raises(LeasedError, match=f"process {process.pid} on"):
            journal.lease(d)
        with pytest.raises(OwnerBusyError, match="Delegation aaaa of the same owner on linea is being asked about"):
            journal.lock_owner(other, lease)
        process.send_signal(signal.SIGKILL)
        process.wait()
    journal.lock_owner(other, lease)
    lease.release()
    journal.lease(d).release()
    assert row_of(path, "aaaa") == (None, False)
    journal.close()


def test_whether_a_process_is_gone_is_only_said_of_this_machine_and_this_start_of_it() -> None:
    mine = name_holder()
    assert not is_gone(mine)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = mine.replace(f"process {os.getpid()} ", f"process {child.pid} ")
    assert is_gone(dead)
    assert not is_gone(dead.replace(" on ", " on x"))
    assert not is_gone("somebody")
    assert not is_gone("")


def test_a_lease_of_a_process_that_is_gone_is_taken_by_one_of_those_who_see_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    one, other = open_journal(path), open_journal(path)
    d = one.save(make_delegation())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = name_holder().replace(f"process {os.getpid()} ", f"process {child.pid} ")
    query(path, "UPDATE delegations SET holder = ?, leased_until = '9998'", gone)
    seen = other._find_gone(d)
    assert seen == gone
    lease = one.lease(d)
    # The other has seen the same, and comes a moment later.
    late = replace(lease, journal=other, holder="late")
    assert not other._take(late, force=False, of=seen)
    assert row_of(path, d.id)[0] == lease.holder
    lease.release()
    one.close()
    other.close()


@pytest.mark.parametrize("state", ["requested", "agreed"])
def test_of_an_owner_one_delegation_is_asked_about_at_a_time_on_a_network(
    machines: tuple[Machine, Machine], state: State
) -> None:
    one, other = machines
    first = save_in_order(one.journal, in_state(state, make_delegation("aaaa")))
    second = save_in_order(other.journal, in_state(state, make_delegation("bbbb")))
    elsewhere = save_in_order(other.journal, in_state(state, make_delegation("cccc", network="base")))
    held, wanted = one.journal.lease(first), other.journal.lease(second)
    one.journal.lock_owner(first, held)
    one.journal.lock_owner(first, held)  # what it holds it can take again
    with pytest.raises(OwnerBusyError, match=r"aaaa .* is being asked about by another process") as refused:
        other.journal.lock_owner(second, wanted)
    assert "Answer the question about delegation aaaa first, or abandon it" in refused.value.hint
    other.journal.lock_owner(elsewhere, other.journal.lease(elsewhere))
    one.journal.save(in_state("agreed", first))
    with pytest.raises(OwnerBusyError):
        other.journal.lock_owner(second, wanted)
    held.release()
    other.journal.lock_owner(second, wanted)


def test_a_killed_process_that_was_asking_frees_the_owner_after_its_time_and_takes_nothing_back(
    machines: tuple[Machine, Machine], clock: Time
) -> None:
    one, other = machines
    first = save_in_order(one.journal, in_state("agreed", make_delegation("aaaa")))
    second = other.journal.save(make_delegation("bbbb"))
    held = one.journal.lease(first)
    one.journal.lock_owner(first, held)
    clock.now += AFTER
    wanted = other.journal.lease(second)
    other.journal.lock_owner(second, wanted)
    assert row_of(one.path, "aaaa") == (None, False)
    # It was not killed after all: suspended, and its person answers now.
    with pytest.raises(JournalConflictError):
        one.journal.save(in_state("on_its_way", first))
    with pytest.raises(JournalConflictError):
        one.journal.lock_owner(first, held)


@pytest.mark.parametrize("state", sorted(IN_FLIGHT))
def test_what_is_in_flight_keeps_the_owner_also_when_nobody_carries_it(
    machines: tuple[Machine, Machine], clock: Time, state: State
) -> None:
    one, other = machines
    first = save_in_order(one.journal, in_state(state, make_delegation("aaaa")))
    one.journal.lease(first).release()
    assert row_of(one.path, "aaaa") == (None, True)
    one.journal.lease(first)
    clock.now += 10 * LEASE
    second = other.journal.save(make_delegation("bbbb"))
    with pytest.raises(OwnerBusyError, match=r"aaaa .* has an approval that has not settled"):
        other.journal.lock_owner(second, other.journal.lease(second))


@pytest.fixture
async def line(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Line]:
    async with open_line(sandbox, tmp_path, "base") as opened:
        yield opened


@dataclass
class Question:
    """A request whose owner is being asked to sign, and has not answered yet."""

    line: Line
    task: asyncio.Task[Delegation]
    answered: asyncio.Event

    @property
    def delegation(self) -> Delegation:
        return self.line.context.journal.list()[0]

    async def answer(self) -> Delegation:
        self.answered.set()
        return await self.task


@pytest.fixture
async def question(line: Line) -> AsyncIterator[Question]:
    """A person who looks at a device, in a process of its own: with a journal of its own."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def wait(signed: SignedTransaction) -> SignedTransaction:
        asked.set()
        await answered.wait()
        return signed

    journal = open_journal(line.journal)
    asking = replace(line.context, journal=journal, wallet=TamperedWallet(line.key, after=wait))
    task = asyncio.create_task(carry(line.new("900"), asking))
    await asyncio.wait_for(asked.wait(), 30)
    yield Question(line, task, answered)
    task.cancel()
    with suppress(asyncio.CancelledError, JournalConflictError):
        await task
    journal.close()


async def test_while_a_person_is_asked_another_request_of_the_owner_is_refused_before_its_plan_is_shown(
    line: Line, question: Question
) -> None:
    shown: list[object] = []
    with pytest.raises(OwnerBusyError, match=f"{question.delegation.id} .* is being asked about") as refused:
        await carry(line.new("5"), replace(line.context, agree=shown.append))
    assert shown == []
    assert refused.value.found == question.delegation.id
    assert line.only().state == "failed"
    with pytest.raises(LeasedError):
        await carry(question.delegation, line.context)
    assert (await question.answer()).state == "done"
    assert await line.count_signed() == 1


async def test_what_is_abandoned_frees_the_owner_and_its_answer_is_not_used(line: Line, question: Question) -> None:
    await abandon(question.delegation, line.context)
    assert (await line.carry("5")).state == "done"
    with pytest.raises(JournalConflictError):
        await question.answer()
    assert (await line.count_signed(), await line.allowance()) == (1, 5 * 10**6)


async def test_a_revocation_does_not_wait_for_an_answer(line: Line, question: Question) -> None:
    revoked = await line.carry("0")
    assert revoked.state == "done"
    assert question.delegation.state == "superseded"
    with pytest.raises(JournalConflictError):
        await question.answer()
    assert (await line.count_signed(), await line.allowance()) == (1, 0)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
async def test_a_question_that_is_broken_off_holds_nothing(line: Line, stop: type[BaseException]) -> None:
    def break_off(_: object) -> None:
        assert row_of(line.journal, line.only().id)[1], "the owner's lock is held while a person is asked"
        raise stop

    with pytest.raises(stop):
        await carry(line.new("900"), replace(line.context, agree=break_off))
    assert row_of(line.journal, line.only().id) == (None, False)
    assert (await line.carry("5")).state == "done"


async def test_a_task_that_is_cancelled_holds_nothing(line: Line, question: Question) -> None:
    question.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question.task
    assert row_of(line.journal, question.delegation.id) == (None, False)
    assert (await line.carry("5")).state == "done"


class FastClock(datetime):
    """The clock of a machine that is an hour ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time() + 3600, tz)


def test_with_machines_whose_clocks_differ_that_of_postgresql_counts(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(database)
    d = journal.save(make_delegation())
    held = journal.lease(d)
    monkeypatch.setattr(databases, "datetime", FastClock)
    ahead = Journal(databases.SqlAlchemyDatabase(database), name=lambda: "process 7 on another, 1")
    with pytest.raises(LeasedError):
        ahead.lease(d)
    held.release()
    taken = ahead.lease(d)
    monkeypatch.undo()
    with pytest.raises(LeasedError):
        journal.lease(d)
    ((left,),) = ask(database, "SELECT extract(epoch FROM leased_until::timestamptz - now()) FROM delegations")
    assert 0 < left <= LEASE.total_seconds()
    ask(database, "UPDATE delegations SET leased_until = to_char(now() AT TIME ZONE 'UTC' - interval '1 s', "
        "'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')")  # fmt: skip
    journal.lease(d).release()
    assert not ahead.renew_lease(taken)
    ahead.close()
    journal.close()


def test_in_postgresql_of_an_owner_one_is_asked_about_and_a_lost_lease_saves_nothing(database: str) -> None:
    one, other = open_journal(database), open_journal(database)
    first, second = one.save(make_delegation("aaaa")), one.save(make_delegation("bbbb", owner=OWNER))
    held, wanted = one.lease(first), other.lease(second)
    one.lock_owner(first, held)
    with pytest.raises(OwnerBusyError):
        other.lock_owner(second, wanted)
    forced = other.lease(first, force=True)
    with pytest.raises(JournalConflictError):
        one.save(in_state("agreed", first))
    forced.release()
    other.lock_owner(second, wanted)
    one.close()
    other.close()
