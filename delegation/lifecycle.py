"""The life of a delegation: one table of states, and of the events that lead from each to the next.

What is not in the table is refused: by `next_state` when the line goes on, by the journal before each write, and after
each read, when `Delegation.state` finds that what is filled is no state at all. `draw` is the picture in the docs.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from delegation.errors import IllegalTransitionError

State = Literal[
    "requested",
    "agreed",
    "handed_out",
    "on_its_way",
    "approved",
    "signed",
    "submitted",
    "unverified",
    "done",
    "failed",
    "cancelled",
    "abandoned",
    "superseded",
]

MEANINGS: Final[dict[State, str]] = {
    "requested": "asked for, and nobody has agreed to a plan yet",
    "agreed": "its plan is agreed to, and its next transaction is not made yet or can never take effect",
    "handed_out": "a wallet was asked for a transaction and may have sent it",
    "on_its_way": "a transaction is signed, or a wallet said that it sent it",
    "approved": "the chain holds what was asked for, and the owner's statement is not signed yet",
    "signed": "the statement is signed, and the proof was not offered yet",
    "submitted": "the proof was offered, and the platform's answer is not known",
    "unverified": "the platform is told or left out, and the end has still to be checked",
    "done": "carried to its end and checked",
    "failed": "refused before anything was signed",
    "cancelled": "its nonce was used up by nothing",
    "abandoned": "given up by its owner once it could do no harm any more",
    "superseded": "a newer delegation has taken its place",
}
"""Each state in words."""

ENDS: Final[frozenset[State]] = frozenset({"done", "failed", "cancelled", "abandoned", "superseded"})
"""The states in which nothing is left to be done."""

IN_FLIGHT: Final[frozenset[State]] = frozenset({"handed_out", "on_its_way"})
"""The states in which the chain may hold a transaction that has not settled: the owner's next nonce is taken."""

Event = Literal[
    "ask",
    "agree",
    "hand_out",
    "send",
    "discard",
    "disown",
    "forget",
    "forget_before_asked",
    "forget_before_sent",
    "watch",
    "settle_step",
    "settle_before_asked",
    "settle_before_sent",
    "settle",
    "settle_alone",
    "settle_told",
    "settle_offered",
    "take_token",
    "prove",
    "offer",
    "renew",
    "spare",
    "accept",
    "verify",
    "tell_again",
    "stay_told",
    "lose",
    "fail",
    "cancel",
    "abandon",
    "supersede",
]
"""What happens to a delegation; the table says where each is possible."""

EVENTS: Final[dict[Event, str]] = {
    "ask": "it is saved for the first time",
    "agree": "its plan, or a newer one, is agreed to",
    "hand_out": "a wallet that sends by itself, or an app, is asked for a transaction",
    "send": "a transaction is signed, or a wallet says which one it sent",
    "discard": "what a wallet was asked for is given up",
    "disown": "the hash that a wallet gave is not that of its approval, or no node knows it",
    "forget": "what was sent can never take effect",
    "forget_before_asked": "what was sent can never take effect, and a wallet was asked for the next step already",
    "forget_before_sent": "what was sent can never take effect, and the next step is on its way already",
    "watch": "a node was asked for a hash that a wallet gave",
    "settle_step": "one step took effect and another is left",
    "settle_before_asked": "one step took effect again, and a wallet was asked for the next already",
    "settle_before_sent": "one step took effect again, and the next is on its way already",
    "settle": "the last step took effect",
    "settle_alone": "the last step took effect, and the platform is left out",
    "settle_told": "the last step took effect again, and the platform was told of that very transaction before",
    "settle_offered": "the last step took effect again, and the answer to the proof of that very transaction was lost",
    "take_token": "the platform gave a token, and a statement is made for it",
    "prove": "the owner signed the statement",
    "offer": "the proof is about to be offered",
    "renew": "the token, the statement and the proof are taken back; the approval stands",
    "spare": "the proof was not judged, and stays good",
    "accept": "the platform took the proof",
    "verify": "chain and platform were compared with what was asked for",
    "tell_again": "the platform has forgotten it",
    "stay_told": "the platform refused to be told again",
    "lose": "the block that held a step, or what used up its nonce, is not part of the chain any more",
    "fail": "it was refused before anything was signed",
    "cancel": "the transaction that does nothing used its nonce",
    "abandon": "its owner gave it up",
    "supersede": "a newer delegation settled, or replaced its transaction",
}
"""Each event in words."""

_APPROVED: Final[tuple[State, ...]] = ("approved", "signed", "submitted", "unverified")
_UNFINISHED: Final[tuple[State, ...]] = ("requested", "agreed", "handed_out", "on_its_way", *_APPROVED)

TRANSITIONS: Final[dict[tuple[State | None, Event], State]] = {
    (None, "ask"): "requested",
    ("requested", "agree"): "agreed",
    ("agreed", "agree"): "agreed",
    ("agreed", "hand_out"): "handed_out",
    ("agreed", "send"): "on_its_way",
    ("handed_out", "hand_out"): "handed_out",
    ("handed_out", "send"): "on_its_way",
    ("handed_out", "discard"): "agreed",
    ("handed_out", "cancel"): "cancelled",
    ("on_its_way", "hand_out"): "handed_out",
    ("on_its_way", "send"): "on_its_way",
    ("on_its_way", "watch"): "on_its_way",
    ("on_its_way", "disown"): "handed_out",
    ("on_its_way", "forget"): "agreed",
    ("on_its_way", "forget_before_asked"): "handed_out",
    ("on_its_way", "forget_before_sent"): "on_its_way",
    ("on_its_way", "settle_step"): "agreed",
    ("on_its_way", "settle_before_asked"): "handed_out",
    ("on_its_way", "settle_before_sent"): "on_its_way",
    ("on_its_way", "settle"): "approved",
    ("on_its_way", "settle_alone"): "unverified",
    ("on_its_way", "settle_told"): "unverified",
    ("on_its_way", "settle_offered"): "submitted",
    ("on_its_way", "cancel"): "cancelled",
    ("approved", "take_token"): "approved",
    ("signed", "take_token"): "approved",
    ("approved", "prove"): "signed",
    ("signed", "offer"): "submitted",
    ("submitted", "spare"): "signed",
    ("submitted", "accept"): "unverified",
    ("submitted", "stay_told"): "unverified",
    ("unverified", "verify"): "done",
    ("done", "verify"): "done",
    ("done", "tell_again"): "approved",
    ("unverified", "tell_again"): "approved",
    **{(state, "renew"): "approved" for state in ("approved", "signed", "submitted")},
    **{(state, "lose"): "on_its_way" for state in ("agreed", *IN_FLIGHT, *_APPROVED, "done", "cancelled")},
    **{(state, "fail"): "failed" for state in ("requested", "agreed")},
    **{(state, "abandon"): "abandoned" for state in _UNFINISHED},
    **{(state, "supersede"): "superseded" for state in (*_UNFINISHED, "done")},
}
"""The state that follows from each state and event; before it is saved for the first time it has none."""


def next_state(state: State | None, event: Event) -> State:
    """Return the state that follows; raises `IllegalTransitionError` for an event that is not possible there."""
    after = TRANSITIONS.get((state, event))
    if after is None:
        possible = sorted(one for before, one in TRANSITIONS if before == state)
        raise IllegalTransitionError(
            f"A delegation that is {state or 'not saved'} cannot {event}.", expected=possible, found=event
        )
    return after


def states_before(after: State) -> frozenset[State]:
    """Return the states from which one step leads to `after`."""
    return frozenset(before for (before, _), state in TRANSITIONS.items() if state == after and before is not None)


def can_begin_as(state: State) -> bool:
    """Return whether a delegation can be saved for the first time in this state."""
    return state in {after for (before, _), after in TRANSITIONS.items() if before is None}


def draw() -> str:
    """Return the table as a Mermaid state diagram, as the docs show it."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        arrows.setdefault((before or "[*]", after), []).append(event)
    lines = ["stateDiagram-v2"]
    lines += [f"    {state}: {state}<br/>{MEANINGS[state]}" for state in get_args(State)]
    lines += [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in arrows.items()]
    lines += [f"    {state} --> [*]" for state in get_args(State) if state in ENDS]
    return "\n".join(lines)
