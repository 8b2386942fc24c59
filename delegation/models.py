"""The one noun of the line: `Delegation`, a frozen value whose fields are the stations, filled from left to right.

Saved after every station it is the journal; loaded again it is the resume point; finished it is the input of an audit.
Amounts are `Decimal` in human units or integers in base units (written as JSON strings); times are aware, in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from chains.amounts import parse_amount
from chains.claims import Finding, Verdict, verdict_of
from chains.errors import InvalidAmountError
from chains.types import (
    AllowanceState,
    ApproveOptions,
    ApproveStep,
    BaseUnits,
    Block,
    EvmTransaction,
    Family,
    OwnershipSignature,
    Rival,
    SentTransaction,
    Settlement,
    SignedTransaction,
    Token,
    UnsignedTransaction,
)
from chains.types import State as AllowanceFate
from delegation.errors import InvalidRequestError
from delegation.formats import FORMAT, Format, upgrade
from delegation.lifecycle import ENDS, IN_FLIGHT, State

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

Region = Literal["international", "us"]

_Station = TypeVar("_Station")


def _read_amount(given: object) -> Decimal:
    """Return an amount from plain digits, a `Decimal` or an integer; raises `InvalidAmountError` for all else."""
    if isinstance(given, str):
        return parse_amount(given)
    if isinstance(given, Decimal) and given.is_finite() and given.adjusted() < _LONGEST_AMOUNT:
        return parse_amount(f"{given:f}")
    if isinstance(given, int) and not isinstance(given, bool):
        return parse_amount(str(given))
    raise InvalidAmountError(
        f"{given!r} is not an amount.",
        hint="Give an amount as text or as a Decimal. A float is never exact, and never taken.",
        found=str(given),
    )


Amount = Annotated[
    Decimal,
    BeforeValidator(_read_amount),
    PlainSerializer(lambda value: f"{value:f}", return_type=str, when_used="json"),
]
"""An amount in human units, zero or greater: from text only plain digits are taken, and JSON holds it as text."""

_NAME: Final = re.compile(r"[A-Za-z0-9.$_₮-]{1,24}")
_LONGEST_AMOUNT: Final = 100  # digits; 2^256 has 78
# "Maximum spending limit allowed by Baanx" in the shipping client, in human units: 2^41 - 1.
PLATFORM_MAXIMUM = Decimal(2_199_023_255_551)
# From here on the shipping client shows "full access"; such an amount has to be asked for by name.
FULL_ACCESS = Decimal(100_000_000_000)


def utc_now() -> datetime:
    """Return the time now, aware and in UTC; the default of every clock that can be passed in."""
    return datetime.now(UTC)


class _ShowsItsOwn(ModelMetaclass):
    """Lets `dir` and `help` of a model class show what it offers itself: pydantic would add hundreds of lines to each.

    Nothing is taken away: `dir` of an instance, and every use, know `model_dump` and the others as before.
    """

    def __dir__(cls) -> list[str]:  # noqa: N805 - the instances of a metaclass are classes
        pydantics = set(dir(BaseModel))
        return [name for name in super().__dir__() if not name.startswith("_") and name not in pydantics]


class Frozen(BaseModel, metaclass=_ShowsItsOwn):
    """A value we build ourselves: unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DelegationRequest(Frozen):
    """What the owner wants: `amount` (human units) of `currency` on `network`; amount 0 revokes.

    `owner` is in its canonical spelling (EIP-55 or base58). `unlimited` allows an amount of full access.
    `chain_only` revokes on chain from what is pinned and leaves the platform out, for when it cannot be reached.
    """

    network: str
    currency: str
    amount: Amount
    owner: str
    region: Region = "international"
    unlimited: bool = False
    chain_only: bool = False
    options: ApproveOptions = ApproveOptions()

    @field_validator("network", "currency")
    @classmethod
    def _lower_case(cls, value: str) -> str:
        # On the wire both are lower case. What cannot be a name is not kept: it may be a key typed at the wrong place.
        if not _NAME.fullmatch(value.strip()):
            raise InvalidRequestError(
                "This cannot be the name of a network or of a currency.", hint="For example linea and usdc."
            )
        return value.strip().lower()


class Replaced(Frozen):
    """A transaction of another delegation that waits to be mined, and whose nonce a plan takes for its own.

    `amount` is in human units. `same_allowance` is whether it is of the same token and spender; if not, what it would
    have set is cancelled with it.
    """

    delegation_id: str
    amount: Amount
    currency: str
    spender: str
    same_allowance: bool
    hash: str | None
    nonce: int


class Plan(Frozen):
    """What will be done and why it is safe, made before anything is signed.

    `before` is the state of the chain it starts from, `amount` the allowance to reach in base units, `max_cost` the
    most that the known fees can cost (wei or lamports); `listed` whether the platform already listed this wallet.
    `replaces` is the transaction in flight whose place the first step takes.
    """

    network: str
    family: Family
    environment: str
    owner: str
    token: Token
    spender: str
    amount: BaseUnits
    before: AllowanceState
    steps: tuple[ApproveStep, ...]
    max_cost: BaseUnits
    native_symbol: str
    native_decimals: int
    listed: bool
    warnings: tuple[str, ...]
    made_at: AwareDatetime
    replaces: Replaced | None = None


ApprovalState = Literal["planned", "handed_out", "on_its_way", "settled"]


def is_cancellation(unsigned: UnsignedTransaction) -> bool:
    """Return whether a transaction approves nothing and only uses up its nonce."""
    return isinstance(unsigned, EvmTransaction) and unsigned.data == "0x"


class Attempt(Frozen):
    """A transaction that was signed or asked for, and in whose place another with the same nonce was."""

    unsigned: Annotated[UnsignedTransaction, Field(discriminator="kind")]
    sent: SignedTransaction | SentTransaction | None


class Approval(Frozen):
    """One approve transaction, from its place in the plan to its place in the chain.

    | `state`      | unsigned | handed_over | sent        | settlement | what can happen next                         |
    |--------------|----------|-------------|-------------|------------|----------------------------------------------|
    | `planned`    | None     | False       | None        | None       | prepared, then signed or handed out          |
    | `handed_out` | set      | True        | None        | None       | it answers, sends by itself, or never does;  |
    |              |          |             |             |            | given up, it is `planned` again              |
    | `on_its_way` | set      | either      | bytes, hash | None       | sent again and again until it settles; if it |
    |              |          |             |             |            | never can, `planned` again and discarded;    |
    |              |          |             |             |            | if the hash was wrong, `handed_out` again    |
    | `settled`    | set      | either      | bytes, hash | set        | nothing, unless its block leaves the chain:  |
    |              |          |             |             |            | then it is `on_its_way` again                |

    `sent` holds the signed bytes or, for a wallet that sends by itself, the hash. `handed_over` is set before such a
    wallet is asked. `discarded` are hashes of earlier attempts that can never take effect any more.

    `earlier` are the transactions with the same nonce before `unsigned`, which may still take effect instead of it: the
    nonce decides which one does. Those of a delegation that this one replaced stand first.
    `last_seen_at` is when a node last knew the hash of a wallet that sends by itself, or when it was given; of one that
    is `handed_out` it is set if that hash was given up because no node had known it for its time.
    `another_nonce` is the nonce that such a wallet took in place of the one that it was asked for. `lost_to` are rivals
    that were mined first, which was foreseen: the step goes on with the next nonce. `given_up` is what a wallet was
    asked for and may still send, although the request was discarded; once another is signed, the nonce decides.
    """

    step: ApproveStep
    unsigned: Annotated[UnsignedTransaction, Field(discriminator="kind")] | None = None
    handed_over: bool = False
    sent: SignedTransaction | SentTransaction | None = None
    settlement: Settlement | None = None
    discarded: tuple[str, ...] = ()
    earlier: tuple[Attempt, ...] = ()
    last_seen_at: AwareDatetime | None = None
    another_nonce: int | None = None
    lost_to: tuple[str, ...] = ()
    given_up: Annotated[UnsignedTransaction, Field(discriminator="kind")] | None = None

    @property
    def state(self) -> ApprovalState:
        """Where this transaction stands, as in the table above."""
        if self.settlement is not None:
            return "settled"
        if self.sent is not None:
            return "on_its_way"
        return "handed_out" if self.handed_over else "planned"

    @property
    def under_way(self) -> bool:
        """Whether it was signed or a sending wallet was asked, so that the chain may hold it."""
        return self.sent is not None or self.handed_over

    @property
    def rivals(self) -> tuple[Rival, ...]:
        """What was on the nonce of `unsigned` before it, as a node is asked for it."""
        return tuple(Rival(each.unsigned, each.sent.hash if each.sent else None) for each in self.earlier)

    @property
    def live_rivals(self) -> tuple[Rival, ...]:
        """What may still take effect in place of what was sent: nothing, if that has a nonce of its own."""
        return self.rivals if self.another_nonce is None else ()

    def unseen_for(self, now: datetime) -> float:
        """Return for how many seconds no node is known to have known the hash that a wallet gave."""
        return 0.0 if self.last_seen_at is None else max(0.0, (now - self.last_seen_at).total_seconds())

    @property
    def cancelling(self) -> bool:
        """Whether `unsigned` approves nothing and only uses up its nonce."""
        return self.unsigned is not None and is_cancellation(self.unsigned)

    @property
    def approving_sent(self) -> SignedTransaction | SentTransaction | None:
        """The newest transaction that was signed or sent to approve; of a cancellation, what it was to cancel."""
        if not self.cancelling:
            return self.sent
        approving = (each.sent for each in reversed(self.earlier) if not is_cancellation(each.unsigned))
        return next((sent for sent in approving if sent is not None), None)

    @property
    def hash(self) -> str | None:
        """The hash, or base58 signature, of the transaction that took effect or is on its way."""
        if self.settlement is not None:
            return self.settlement.hash
        return self.sent.hash if self.sent is not None else None


class DelegationToken(Frozen):
    """The platform's single-use token and the nonce for the statement; both are opaque.

    `faucet` is what the platform said of the gas faucet, where it was asked.
    """

    token: str = Field(repr=False)
    nonce: str
    obtained_at: AwareDatetime
    expires_at: AwareDatetime
    faucet: str | None = None

    def expired(self, now: datetime, *, margin: timedelta = timedelta(seconds=20)) -> bool:
        """Return whether the token is dead, or so near its end that a proof would arrive too late."""
        return now + margin >= self.expires_at


class StatementToSign(Frozen):
    """The text whose signature proves ownership, and until when it may be submitted."""

    text: str
    expires_at: AwareDatetime

    def expired(self, now: datetime, *, margin: timedelta = timedelta(seconds=10)) -> bool:
        """Return whether a proof with this statement would arrive too late."""
        return now + margin >= self.expires_at


class Proof(Frozen):
    """The body of post-approval: eight fields, on the wire in camelCase, as the shipping client sends them."""

    address: str
    network: str
    currency: str
    amount: str
    tx_hash: str = Field(validation_alias=AliasChoices("tx_hash", "txHash"), serialization_alias="txHash")
    sig_hash: str = Field(validation_alias=AliasChoices("sig_hash", "sigHash"), serialization_alias="sigHash")
    sig_message: str = Field(
        validation_alias=AliasChoices("sig_message", "sigMessage"), serialization_alias="sigMessage"
    )
    token: str = Field(repr=False)

    def wire(self) -> dict[str, str]:
        """Return the body exactly as it goes over the wire."""
        return self.model_dump(by_alias=True)


class Submission(Frozen):
    """How the platform was told. `outcome` is None while an attempt is under way or its answer was lost.

    `accepted`: it answered success. `already_accepted`: the answer was lost, and the platform's own list, or its
    refusal of the used transaction, shows that this proof had been taken. `listed_before` is whether the platform
    listed this wallet right before the attempt, so that its list cannot show whether this proof was taken.
    """

    attempted_at: AwareDatetime
    listed_before: bool = True
    outcome: Literal["accepted", "already_accepted"] | None = None
    status: int | None = None
    answered_at: AwareDatetime | None = None


class Verification(Frozen):
    """What the chain and the platform's list say at the end of the line, in base units and human units.

    The verdict is about the block in which the approve took effect. `state` says what became of the allowance since,
    and `allowance` what is left of it at `block`.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    state: AllowanceFate | None = None
    allowance: BaseUnits | None = None
    block: Block | None = None
    verified_at: AwareDatetime

    @classmethod
    def of(
        cls,
        findings: tuple[Finding, ...],
        *,
        at: datetime,
        allowance: int | None = None,
        block: Block | None = None,
        state: AllowanceFate | None = None,
    ) -> Self:
        """Return the verification of these findings; raises `ValueError` for none."""
        verdict = verdict_of(findings)
        return cls(verdict=verdict, findings=findings, state=state, allowance=allowance, block=block, verified_at=at)


class Ending(Frozen):
    """How a delegation ended that was not carried to its end, and why.

    `error` is the name of the class of what refused it, `by` the id of the delegation that has taken its place.
    """

    kind: Literal["failed", "cancelled", "abandoned", "superseded"]
    reason: str
    at: AwareDatetime
    error: str | None = None
    by: str | None = None


Station = Literal[
    "plan",
    "approval",
    "ownership",
    "proof",
    "submission",
    "verification",
    "done",
    "failed",
    "cancelled",
    "abandoned",
    "superseded",
]

_STATIONS: Final[dict[State, Station]] = {
    "requested": "plan",
    "agreed": "approval",
    "handed_out": "approval",
    "on_its_way": "approval",
    "approved": "ownership",
    "signed": "proof",
    "submitted": "submission",
    "unverified": "verification",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "abandoned": "abandoned",
    "superseded": "superseded",
}


class Delegation(Frozen):
    """One delegation, from request to verification. `revision` counts the times it was saved.

    `agreed_at` is when its plan was first agreed to, or agreed to again because it was out of date. `lost_answers`
    counts the proofs of this approval that were offered without an answer. `forgotten` is how the platform was told
    before it forgot, and `stays_told` says that it refused to be told again.
    `replaced_by` is the delegation of another allowance that wants the nonce of its transaction in flight: until the
    chain has decided, that one has the owner's lock.

    A saved document of an older format is upgraded when it is read; one of a newer format raises `NewerVersionError`.
    """

    format: Format = FORMAT
    id: str
    created_at: AwareDatetime
    gateway: str
    request: DelegationRequest
    agreed_at: AwareDatetime | None = None
    revision: int = 0
    plan: Plan | None = None
    approvals: tuple[Approval, ...] = ()
    delegation_token: DelegationToken | None = None
    statement: StatementToSign | None = None
    ownership: OwnershipSignature | None = None
    proof: Proof | None = None
    submission: Submission | None = None
    verification: Verification | None = None
    lost_answers: int = 0
    forgotten: Submission | None = None
    stays_told: bool = False
    replaced_by: str | None = None
    ended: Ending | None = None

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, given: Any) -> Any:
        # What is built in code holds its request as a value and is of today's shape; only documents are upgraded.
        document = isinstance(given, dict) and not isinstance(given.get("request"), DelegationRequest)
        return upgrade(given) if document else given

    @property
    def state(self) -> State:
        """Where it stands in the table of `delegation.lifecycle`."""
        if self.ended is not None:
            return self.ended.kind
        if self.plan is None:
            return "requested"
        step = self.next_step
        if step is not None:
            state = self.approvals[step].state
            return state if state in {"handed_out", "on_its_way"} else "agreed"
        if self.told or self.request.chain_only:
            return "unverified" if self.verification is None else "done"
        if self.ownership is None:
            return "approved"
        return "signed" if self.submission is None else "submitted"

    @property
    def next_step(self) -> int | None:
        """The index of the approval to be carried on: one that is under way, else the first that is left, else None.

        What stands before a step that took effect is left behind, whatever became of it.
        """
        settled = [index for index, approval in enumerate(self.approvals) if approval.settlement is not None]
        left = range(settled[-1] + 1 if settled else 0, len(self.approvals))
        return next((index for index in left if self.approvals[index].under_way), left.start if left else None)

    @property
    def station(self) -> Station:
        """The station that has to be filled next, or how it ended."""
        return _STATIONS[self.state]

    @property
    def unfinished(self) -> bool:
        """Whether it can be carried on."""
        return self.state not in ENDS

    @property
    def result(self) -> Verification:
        """The verification of a finished delegation; raises `InvalidRequestError` while there is none."""
        return filled(self.verification, "verification")

    @property
    def to_be_made(self) -> bool:
        """Whether its next transaction has still to be made: none is on its way or handed out, and not all settled."""
        return self.state in {"requested", "agreed"}

    @property
    def approved(self) -> bool:
        """Whether its last step has taken effect."""
        return bool(self.approvals) and self.approvals[-1].settlement is not None

    @property
    def told(self) -> bool:
        """Whether the platform has taken the proof."""
        return self.submission is not None and self.submission.outcome is not None

    @property
    def begun(self) -> bool:
        """Whether a step took effect, is on its way, or may be because a sending wallet was asked."""
        return any(approval.under_way for approval in self.approvals)

    @property
    def touched_chain(self) -> bool:
        """Whether anything was ever signed or handed to a sending wallet, so that the chain may hold a part of it."""
        return self.begun or any(approval.discarded for approval in self.approvals)

    @property
    def in_flight(self) -> bool:
        """Whether an approval was signed or handed out that has not settled: the owner's next nonce is taken."""
        return self.state in IN_FLIGHT

    @property
    def borrows_lock(self) -> bool:
        """Whether a wallet was asked to replace the transaction of another delegation, which keeps the owner's lock
        until that is signed."""
        step = self.next_step
        replacing = self.plan is not None and self.plan.replaces is not None
        return self.state == "handed_out" and replacing and step == 0 and not self.approvals[0].earlier

    @property
    def contradiction(self) -> str:
        """Why what is filled can be no delegation, or "" for one that can be."""
        later = (self.ownership, self.proof, self.submission, self.verification)
        if self.plan is None:
            return "it has no plan, and what follows one" if self.approvals or any(later) else ""
        if not self.approvals:
            return "it has a plan without a step"
        if self.proof is not None and self.ownership is None:
            return "it has a proof without the signature that it holds"
        if self.submission is not None and self.proof is None:
            return "it was submitted without a proof"
        verifiable = self.told or self.request.chain_only
        if self.verification is not None and not (verifiable and self.ended is None):
            return "it was verified before the platform was told"
        return ""

    def public_document(self) -> dict[str, Any]:
        """Return this delegation as JSON for logs, people and other programs, without the secrets that are still alive.

        `model_dump` holds them, because the journal must: until the platform has taken the proof, whoever holds the
        token can submit in the owner's name.
        """
        document: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude={"delegation_token"})
        for approval, shown in zip(self.approvals, document["approvals"], strict=True):
            shown["hash"] = approval.hash
        if document["proof"] is not None and not self.told:
            document["proof"]["token"] = None
        return {"id": self.id, "station": self.station, "state": self.state, **document}


def filled(station: _Station | None, name: str) -> _Station:
    """Return a station that must have been filled by now; raises `InvalidRequestError` if it was not."""
    if station is None:
        raise InvalidRequestError(f"This delegation has no {name} yet.", hint="Carry it on first.")
    return station
