"""What the tests of the journal share: delegations that stand in each state of the table, saved as the line saves them.

The journal takes only what can follow from what is saved, so that a delegation gets to a state by way of those before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from chains.claims import Finding
from chains.types import (
    AllowanceState,
    ApproveStep,
    Block,
    EvmFee,
    EvmTransaction,
    OwnershipSignature,
    Settlement,
    SignedTransaction,
    Token,
)
from delegation.journal import Journal
from delegation.lifecycle import ENDS, TRANSITIONS, State
from delegation.models import (
    Approval,
    Delegation,
    DelegationRequest,
    DelegationToken,
    Ending,
    Plan,
    Proof,
    StatementToSign,
    Submission,
    Verification,
)

OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"
SPENDER = "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
TOKEN = Token("usdc", "0x176211869cA2b568f2A7D4EE941E073a821EE1ff", 6)
AMOUNT = 2**200  # more than any JSON number keeps
HASH = "0x" + "11" * 32
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_delegation(identity: str = "aaaa", *, owner: str = OWNER, network: str = "linea") -> Delegation:
    """Return a new delegation."""
    request = DelegationRequest(network=network, currency="usdc", amount=Decimal("5000.50"), owner=owner)
    return Delegation(id=identity, created_at=datetime.now(UTC), gateway="api.example.com", request=request)


def in_state(state: State, of: Delegation | None = None) -> Delegation:
    """Return a delegation, or this one, as it stands in a state: what stands before it in the line is filled."""
    d = make_delegation() if of is None else of
    if state in ENDS - {"done"}:
        d = _fill(d, "requested" if state == "failed" else "agreed")
        return d.model_copy(update={"ended": Ending(kind=state, reason="Because.", at=NOW)})
    return _fill(d, state)


def _fill(d: Delegation, state: State) -> Delegation:
    for reached, stations in _STATIONS.items():
        d = d.model_copy(update=stations(d))
        if reached == state:
            return d
    raise AssertionError(state)


def _approval(**changes: Any) -> dict[str, Any]:
    return {"approvals": (Approval(step=ApproveStep(AMOUNT)).model_copy(update=changes),)}


def _plan(d: Delegation) -> dict[str, Any]:
    plan = Plan(
        network=d.request.network,
        family="evm",
        environment="test",
        owner=d.request.owner,
        token=TOKEN,
        spender=SPENDER,
        amount=AMOUNT,
        before=AllowanceState(0, 0, 0, Block(1, HASH)),
        steps=(ApproveStep(AMOUNT),),
        max_cost=1,
        native_symbol="ETH",
        native_decimals=18,
        listed=False,
        warnings=(),
        made_at=NOW,
    )
    return {"plan": plan, "agreed_at": NOW} | _approval()


_UNSIGNED = EvmTransaction(59144, OWNER, TOKEN.address, 0, "0x095ea7b3", EvmFee(60_000, 2, 1))
_SENT = SignedTransaction(raw="0x02", hash=HASH)
_SETTLED = Settlement(HASH, Block(7, HASH), AMOUNT, 1, "included")
_TOKEN = DelegationToken(token="T", nonce="n", obtained_at=NOW, expires_at=NOW + timedelta(minutes=10))
_PROOF = Proof(**dict.fromkeys(Proof.model_fields, "x"))
_STATIONS: dict[State, Callable[[Delegation], dict[str, Any]]] = {
    "requested": lambda _: {},
    "agreed": _plan,
    "handed_out": lambda _: _approval(unsigned=_UNSIGNED, handed_over=True),
    "on_its_way": lambda _: _approval(unsigned=_UNSIGNED, sent=_SENT),
    "approved": lambda _: _approval(unsigned=_UNSIGNED, sent=_SENT, settlement=_SETTLED),
    "signed": lambda _: {
        "delegation_token": _TOKEN,
        "statement": StatementToSign(text="t", expires_at=NOW),
        "ownership": OwnershipSignature("t", "s", "eip191"),
    },
    "submitted": lambda _: {"proof": _PROOF, "submission": Submission(attempted_at=NOW)},
    "unverified": lambda _: {"submission": Submission(attempted_at=NOW, outcome="accepted", status=201)},
    "done": lambda _: {
        "verification": Verification.of((Finding(rule="r", verdict="VERIFIED", message="m"),), at=NOW),
    },
}


def save_in_order(journal: Journal, d: Delegation) -> Delegation:
    """Save a delegation that was never saved, by way of the states that lead to its own, and return it."""
    saved = d
    for state in path_to(d.state):
        step = d if state == d.state else in_state(state, make_delegation(d.id).model_copy(update=_roots(d)))
        saved = journal.save(step.model_copy(update={"revision": saved.revision}))
    return saved


def _roots(d: Delegation) -> dict[str, Any]:
    return {"created_at": d.created_at, "gateway": d.gateway, "request": d.request}


def path_to(state: State) -> tuple[State, ...]:
    """Return the states of a shortest way through the table, this one the last."""
    ways: list[tuple[State, ...]] = [(after,) for (before, _), after in TRANSITIONS.items() if before is None]
    for way in ways:
        if way[-1] == state:
            return way
        ways += [(*way, after) for (before, _), after in TRANSITIONS.items() if before == way[-1] and after not in way]
    raise AssertionError(f"no way leads to {state}")


def write_row(path: Path, d: Delegation) -> None:
    """Write a delegation into the row of a file as somebody does who asks no table."""
    row = (d.id, d.revision, d.created_at.isoformat(), f"{d.request.network}:{d.request.owner}", d.state)
    query(
        path,
        "INSERT INTO delegations (id, revision, created_at, owner_key, state, document) VALUES (?, ?, ?, ?, ?, ?)",
        *row,
        d.model_dump_json(),
    )


def query(path: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement as somebody else does who has the file."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection, connection:
        return connection.execute(statement, values).fetchall()
