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
    Family,
    OwnershipSignature,
    SentTransaction,
    Settlement,
    SignedTransaction,
    Token,
    UnsignedTransaction,
)
from delegation.errors import InvalidRequestError
from delegation.formats import FORMAT, Format, upgrade

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


class Plan(Frozen):
    """What will be done and why it is safe, made before anything is signed.

    `before` is the state of the chain it starts from, `amount` the allowance to reach in base units, `max_cost` the
    most that the known fees can cost (wei or lamports); `listed` whether the platform already listed this wallet.
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


ApprovalState = Literal["planned", "handed_out", "on_its_way", "settled"]


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
    | `settled`    | set      | either      | bytes, hash | set        | nothing: it took effect                      |

    `sent` holds the signed bytes or, for a wallet that sends by itself, the hash. `handed_over` is set before such a
    wallet is asked. `discarded` are hashes of earlier attempts that can never take effect any more.
    """

    step: ApproveStep
    unsigned: Annotated[UnsignedTransaction, Field(discriminator="kind")] | None = None
    handed_over: bool = False
    sent: SignedTransaction | SentTransaction | None = None
    settlement: Settlement | None = None
    discarded: tuple[str, ...] = ()

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

    `accepted`: it answered success. `already_accepted`: the answer was lost and the platform's own list, or its refusal
    of the used token, shows that the proof had been taken.
    """

    attempted_at: AwareDatetime
    outcome: Literal["accepted", "already_accepted"] | None = None
    status: int | None = None
    answered_at: AwareDatetime | None = None


class Verification(Frozen):
    """What the chain and the platform's list say at the end of the line, in base units and human units."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    allowance: BaseUnits | None = None
    block: Block | None = None
    verified_at: AwareDatetime

    @classmethod
    def of(
        cls, findings: tuple[Finding, ...], *, at: datetime, allowance: int | None = None, block: Block | None = None
    ) -> Self:
        """Return the verification of these findings; raises `ValueError` for none."""
        return cls(verdict=verdict_of(findings), findings=findings, allowance=allowance, block=block, verified_at=at)


class Failure(Frozen):
    """Why a request that touched nothing was refused for good; `error` is the name of the error's class."""

    error: str
    reason: str
    failed_at: AwareDatetime


Station = Literal["plan", "approval", "ownership", "proof", "submission", "verification", "done", "failed"]


class Delegation(Frozen):
    """One delegation, from request to verification. `revision` counts the times it was saved.

    `agreed_at` is when its plan was first agreed to, or agreed to again because it was out of date.

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
    failure: Failure | None = None

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, given: Any) -> Any:
        # What is built in code holds its request as a value and is of today's shape; only documents are upgraded.
        document = isinstance(given, dict) and not isinstance(given.get("request"), DelegationRequest)
        return upgrade(given) if document else given

    @property
    def station(self) -> Station:
        """The station that has to be filled next, or how it ended: `done` or `failed`."""
        if self.failure is not None:
            return "failed"
        if self.plan is None:
            return "plan"
        if any(approval.settlement is None for approval in self.approvals):
            return "approval"
        if not (self.told or self.request.chain_only):
            if self.ownership is None:
                return "ownership"
            return "proof" if self.proof is None else "submission"
        return "verification" if self.verification is None else "done"

    @property
    def unfinished(self) -> bool:
        """Whether it can be carried on."""
        return self.station not in {"done", "failed"}

    @property
    def result(self) -> Verification:
        """The verification of a finished delegation; raises `InvalidRequestError` while there is none."""
        return filled(self.verification, "verification")

    @property
    def to_be_made(self) -> bool:
        """Whether its next transaction has still to be made: none is on its way or handed out, and not all settled."""
        if self.plan is None:
            return True
        unsettled = next((approval for approval in self.approvals if approval.settlement is None), None)
        return unsettled is not None and unsettled.state == "planned"

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
        return any(approval.under_way and approval.settlement is None for approval in self.approvals)

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
        return {"id": self.id, "station": self.station, **document}


def filled(station: _Station | None, name: str) -> _Station:
    """Return a station that must have been filled by now; raises `InvalidRequestError` if it was not."""
    if station is None:
        raise InvalidRequestError(f"This delegation has no {name} yet.", hint="Carry it on first.")
    return station
