"""The life of a delegation: one table, held by the line and by the journal, and drawn in the docs as it is."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from journal_lab import in_state, make_delegation, query, save_in_order, write_row

from delegation.context import keep
from delegation.errors import IllegalTransitionError, JournalError
from delegation.journal import Journal, open_journal
from delegation.lifecycle import (
    ENDS,
    EVENTS,
    IN_FLIGHT,
    MEANINGS,
    TRANSITIONS,
    Event,
    State,
    draw,
    next_state,
)
from delegation.models import Ending

STATES: tuple[State, ...] = get_args(State)
ALL_EVENTS: tuple[Event, ...] = get_args(Event)
UNFINISHED = [state for state in STATES if state not in ENDS]
PAGE = Path(__file__).parents[1] / "docs" / "life.md"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = open_journal(path)
    yield opened
    opened.close()


def followers(state: State | None) -> set[State]:
    return {after for (before, _), after in TRANSITIONS.items() if before == state}


def reachable(start: State | None) -> set[State]:
    """Return every state to which events lead from one."""
    found: set[State] = set()
    todo: list[State | None] = [start]
    while todo:
        new = followers(todo.pop()) - found
        found |= new
        todo += new
    return found


def test_every_state_can_be_reached_and_has_words() -> None:
    assert reachable(None) == set(STATES) == set(MEANINGS)


def test_every_event_happens_somewhere_and_has_words() -> None:
    assert {event for _, event in TRANSITIONS} == set(ALL_EVENTS) == set(EVENTS)


def test_a_delegation_begins_as_requested_and_only_by_being_asked_for() -> None:
    assert {(event, after) for (before, event), after in TRANSITIONS.items() if before is None} == {
        ("ask", "requested")
    }
    assert [before for before, event in TRANSITIONS if event == "ask"] == [None]


@pytest.mark.parametrize("state", UNFINISHED)
def test_every_unfinished_state_can_be_given_up_and_superseded_and_leads_to_done_or_cancelled(state: State) -> None:
    assert {"abandoned", "superseded"} <= followers(state)
    assert "done" in reachable(state)
    assert state not in IN_FLIGHT or "cancelled" in followers(state)


@pytest.mark.parametrize("state", sorted(ENDS - {"done", "cancelled"}))
def test_an_intent_that_is_over_never_comes_back(state: State) -> None:
    assert followers(state) == set()


def test_what_was_cancelled_is_on_its_way_again_only_if_the_chain_takes_the_cancellation_back() -> None:
    ways = {event: after for (before, event), after in TRANSITIONS.items() if before == "cancelled"}
    assert ways == {"lose": "on_its_way"}


def test_what_is_done_is_only_looked_at_again_told_again_lost_by_the_chain_or_then_superseded() -> None:
    events = {event: after for (before, event), after in TRANSITIONS.items() if before == "done"}
    assert events == {
        "verify": "done", "tell_again": "approved", "lose": "on_its_way", "supersede": "superseded",
    }  # fmt: skip


def test_only_what_was_never_signed_can_fail_and_only_what_is_in_flight_can_be_cancelled() -> None:
    ways = {(before, after) for (before, _), after in TRANSITIONS.items()}
    assert {before for before, after in ways if after == "failed"} == {"requested", "agreed"}
    assert {before for before, after in ways if after == "cancelled"} == IN_FLIGHT


def test_the_platform_is_told_of_nothing_that_the_chain_does_not_hold() -> None:
    ways = {(before, after) for (before, _), after in TRANSITIONS.items()}
    assert {before for before, after in ways if after == "submitted"} == {"signed", "on_its_way"}
    assert {before for before, after in ways if after == "signed"} == {"approved", "submitted"}
    assert {before for before, after in ways if after == "approved"} <= {
        "on_its_way", "approved", "signed", "submitted", "unverified", "done",
    }  # fmt: skip


@pytest.mark.parametrize("state", [None, *STATES])
def test_what_is_not_in_the_table_is_refused_with_what_would_be_possible(state: State | None) -> None:
    possible = {event for before, event in TRANSITIONS if before == state}
    for event in ALL_EVENTS:
        if event in possible:
            assert next_state(state, event) == TRANSITIONS[state, event]
            continue
        with pytest.raises(IllegalTransitionError, match=f"cannot {event}") as refused:
            next_state(state, event)
        assert refused.value.expected == sorted(possible)
        assert refused.value.found == event


def read_drawing(text: str) -> tuple[set[tuple[str | None, str, str]], set[str], dict[str, str]]:
    """Return the arrows of a state diagram with their events, the states that end in it, and the words of each."""
    arrows: set[tuple[str | None, str, str]] = set()
    ends, words = set(), {}
    first, *lines = text.splitlines()
    assert first == "stateDiagram-v2"
    for line in lines:
        arrow = re.fullmatch(r"    (\S+) --> (\S+)(?:: (.+))?", line)
        if arrow is None:
            name, _, said = line.strip().partition(": ")
            words[name] = said
        elif arrow[2] == "[*]":
            ends.add(arrow[1])
        else:
            before = None if arrow[1] == "[*]" else arrow[1]
            arrows |= {(before, event, arrow[2]) for event in arrow[3].split(", ")}
    return arrows, ends, words


def test_the_drawing_names_every_arrow_every_end_and_every_state() -> None:
    arrows, ends, words = read_drawing(draw())
    assert arrows == {(before, event, after) for (before, event), after in TRANSITIONS.items()}
    assert ends == ENDS
    assert words == {state: f"{state}<br/>{meaning}" for state, meaning in MEANINGS.items()}


def test_the_drawing_holds_no_sign_that_ends_a_statement_in_mermaid() -> None:
    assert not re.search(r";|:.*: ", draw())


def test_the_docs_show_the_drawing_as_the_code_draws_it() -> None:
    (shown,) = re.findall(r"```mermaid\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown == draw()


def test_the_docs_say_of_every_state_and_every_event_what_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [*STATES, *ALL_EVENTS]
    for event, words in EVENTS.items():
        assert f"| `{event}` | {words} |" in text


@pytest.mark.parametrize("state", STATES)
def test_what_is_filled_says_in_which_state_it_is_and_contradicts_nothing(state: State) -> None:
    d = in_state(state)
    assert (d.state, d.contradiction) == (state, "")
    assert d.in_flight is (state in IN_FLIGHT)
    assert d.unfinished is (state not in ENDS)


def test_the_journal_saves_what_the_table_has_and_nothing_else(journal: Journal, path: Path) -> None:
    for number, (before, after) in enumerate(itertools.product(STATES, STATES)):
        identity = f"d{number:03}"
        d = make_delegation(identity, owner=f"0x{number:040x}").model_copy(update={"revision": 1})
        write_row(path, in_state(before, d))
        wanted = in_state(after, d)
        if after in followers(before):
            assert journal.save(wanted).state == journal.load(identity).state == after
            continue
        with pytest.raises(IllegalTransitionError, match=f"is {before}, and cannot be {after} next") as refused:
            journal.save(wanted)
        assert "fault of this toolkit" in refused.value.hint
        assert journal.load(identity) == in_state(before, d), "what is saved stands"


@pytest.mark.parametrize("state", STATES)
def test_a_delegation_is_saved_for_the_first_time_as_requested(journal: Journal, state: State) -> None:
    if state == "requested":
        assert journal.save(in_state(state)).revision == 1
        return
    with pytest.raises(IllegalTransitionError, match="never saved before"):
        journal.save(in_state(state))
    assert journal.list() == ()


def test_the_line_saves_only_what_an_event_leads_to(journal: Journal) -> None:
    saved = save_in_order(journal, in_state("agreed"))
    with pytest.raises(IllegalTransitionError, match="cannot settle"):
        keep(journal, saved, "settle", approvals=in_state("approved").approvals)
    with pytest.raises(IllegalTransitionError, match="after send it would be agreed") as refused:
        keep(journal, saved, "send")
    assert (refused.value.expected, refused.value.found) == ("on_its_way", "agreed")
    assert journal.load(saved.id) == saved
    assert keep(journal, saved, "send", approvals=in_state("on_its_way").approvals).state == "on_its_way"


CONTRADICTIONS: dict[str, tuple[State, dict[str, Any]]] = {
    "no plan": ("on_its_way", {"plan": None}),
    "without a step": ("agreed", {"approvals": []}),
    "proof without the signature": ("submitted", {"ownership": None}),
    "submitted without a proof": ("submitted", {"proof": None}),
    "verified before the platform was told": ("done", {"submission": None}),
}


@pytest.mark.parametrize(("problem", "spoiled"), CONTRADICTIONS.items(), ids=list(CONTRADICTIONS))
def test_a_row_whose_stations_contradict_each_other_hides_only_itself(
    journal: Journal, path: Path, problem: str, spoiled: tuple[State, dict[str, Any]]
) -> None:
    state, changes = spoiled
    first = journal.save(make_delegation("aaaa"))
    bad = save_in_order(journal, in_state(state, make_delegation("bbbb", network="base")))
    last = journal.save(make_delegation("cccc"))
    document = json.loads(bad.model_dump_json()) | changes
    query(path, "UPDATE delegations SET document = ? WHERE id = 'bbbb'", json.dumps(document))

    assert journal.list() == (first, last)
    (row,) = journal.unreadable()
    assert (row.id, row.in_flight) == ("bbbb", state in IN_FLIGHT)
    assert problem in row.problem
    with pytest.raises(JournalError, match="bbbb cannot be read"):
        journal.load("bbbb")


@pytest.mark.parametrize(("problem", "spoiled"), CONTRADICTIONS.items(), ids=list(CONTRADICTIONS))
def test_what_contradicts_itself_is_not_saved(
    journal: Journal, problem: str, spoiled: tuple[State, dict[str, Any]]
) -> None:
    state, changes = spoiled
    saved = save_in_order(journal, in_state(state))
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    with pytest.raises(IllegalTransitionError, match=problem):
        journal.save(saved.model_copy(update=changes))
    assert journal.load(saved.id) == saved


def test_what_has_ended_was_not_verified(journal: Journal) -> None:
    done = save_in_order(journal, in_state("done"))
    ended = Ending(kind="abandoned", reason="Because.", at=done.created_at)
    with pytest.raises(IllegalTransitionError):
        journal.save(done.model_copy(update={"ended": ended}))
