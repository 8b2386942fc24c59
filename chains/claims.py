"""What is claimed of a chain, and what checking it established: claims in, findings out.

A verdict is VERIFIED, REFUTED or UNDETERMINED: "could not check" is never "no" and never "yes" (rule 16). Each finding
says what it rests on, its `Basis`, as far as the answers of one node tell; how many operators say the same is for
whoever asked several. Rules that are cited by number are in `chains/RULES.md`, attacks in `tests/ATTACKS.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from chains.amounts import format_amount, is_unlimited
from chains.types import BaseUnits, Block, Chain, Token
from chains.types import State as State

Verdict: TypeAlias = Literal["VERIFIED", "REFUTED", "UNDETERMINED"]

FindingVerdict: TypeAlias = Literal["VERIFIED", "REFUTED", "UNDETERMINED", "NOTED"]
"""What one finding says. NOTED stands outside the verdict: worth knowing, and neither a yes nor a no."""

About: TypeAlias = Literal["claim", "present"]
"""What a finding is about: the claim at its own block, or what is so now."""

Method: TypeAlias = Literal["direct", "logs", "instruction"]
"""How the approval was made: `direct` is the owner's own transaction that calls `approve` and nothing else; `logs` is
any other way, established from the token's log and the state after it; `instruction` is an SPL Token instruction."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a finding rests on: the word of whoever answered, or proofs under the hashes of `blocks`, or nobody.

    | basis | what it takes to be wrong |
    |---|---|
    | `NEEDS_NOBODY` | a broken signature scheme: the bytes themselves show it |
    | `proved_under(block)` | that the block is none of the chain |
    | `NODES_WORD` | that the node lies or errs |

    What rests on several things rests on the weakest of them: `one & other`.
    """

    word: bool = False
    blocks: tuple[str, ...] = ()

    def __and__(self, other: Basis) -> Basis:
        return Basis(self.word or other.word, tuple(dict.fromkeys(self.blocks + other.blocks)))


NEEDS_NOBODY: Final = Basis()
NODES_WORD: Final = Basis(word=True)


def proved_under(*blocks: Block) -> Basis:
    """Return the basis of what Merkle proofs show under the hashes of these blocks."""
    return Basis(blocks=tuple(block.hash for block in blocks))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked, named by its rule: what was expected, what was found, and what follows.

    `found` holds the raw value that was read, so that it can be compared with what other nodes say, and `message` only
    what follows from it: two honest nodes say the same words. Why something could not be read, in a node's own words,
    belongs into an UNDETERMINED or NOTED finding.
    """

    rule: str
    verdict: FindingVerdict
    message: str
    expected: str | None = None
    found: str | None = None
    basis: Basis = NODES_WORD
    about: About = "claim"


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return what findings amount to: one REFUTED refutes, else one UNDETERMINED leaves it open; NOTED does nothing.

    Raises `ValueError` where nothing was checked: that is not VERIFIED.
    """
    verdicts = {finding.verdict for finding in findings} - {"NOTED"}
    if not verdicts:
        raise ValueError("a verdict needs at least one finding")
    if "REFUTED" in verdicts:
        return "REFUTED"
    return "UNDETERMINED" if "UNDETERMINED" in verdicts else "VERIFIED"


@dataclass(frozen=True, slots=True)
class ApprovalClaim:
    """What is said of an approval: by `transaction`, `owner` let `spender` have `amount` base units of `token`.

    `transaction` is a hash (0x and lower-case hex) or a base58 signature; addresses are in their canonical spelling. An
    `amount` from the family's unlimited threshold on claims "unlimited". `token_pinned` says that whoever asks has the
    token with its decimals pinned, so that nobody needs to be asked for them. `raw` are the signed bytes (0x hex or
    base64) where they are known, and `block` the block that is said to have held the transaction: with these it can be
    told what became of a transaction that the chain does not hold.
    """

    chain: Chain
    transaction: str
    token: Token
    owner: str
    spender: str
    amount: BaseUnits
    token_pinned: bool = False
    raw: str | None = None
    block: Block | None = None


def show_amount(claim: ApprovalClaim, amount: int) -> str:
    """Return base units of the claim's token in human units and as they are; what counts as unlimited says so."""
    unlimited = is_unlimited(claim.chain.family, amount)
    human = "unlimited" if unlimited else f"{format_amount(amount, claim.token.decimals)} {claim.token.symbol}"
    return f"{human} ({amount} base units)"


def satisfies(claim: ApprovalClaim, approved: int) -> bool:
    """Return whether an approved amount, in base units, is what was claimed; all unlimited amounts are alike."""
    family = claim.chain.family
    return approved == claim.amount or (is_unlimited(family, claim.amount) and is_unlimited(family, approved))


def check_amount(claim: ApprovalClaim, approved: int, basis: Basis = NODES_WORD) -> Finding:
    """Return the finding on an approved amount, in base units; whole tokens taken for base units are called that."""
    expected, found = str(claim.amount), str(approved)
    if satisfies(claim, approved):
        message = f"The approval is for {show_amount(claim, approved)}, as claimed."
        return Finding("amount", "VERIFIED", message, expected, found, basis)
    message = f"Claimed is {show_amount(claim, claim.amount)}; approved is {show_amount(claim, approved)}."
    scale = 10**claim.token.decimals
    if claim.amount == approved * scale or approved == claim.amount * scale:
        message += f" They differ by exactly the token's {claim.token.decimals} decimals."
        message += " Whole tokens were taken for base units."
    return Finding("amount", "REFUTED", message, expected, found, basis)


@dataclass(frozen=True, slots=True)
class Amounts:
    """Four different amounts in base units, None where unknown: what was approved, what is left of it, what the owner
    has, and what the spender could take now (0 while frozen or paused)."""

    authorised: BaseUnits | None = None
    remaining: BaseUnits | None = None
    balance: BaseUnits | None = None
    spendable: BaseUnits | None = None


@dataclass(frozen=True, slots=True)
class ApprovalCheck:
    """What one node's answers say of an `ApprovalClaim`.

    `via` names what carried an indirect approval, for example `safe`, `erc4337`, `eip7702`, `permit` or `batch`.
    `included` is the block of the transaction, `head` the block (slot) whose state is "now". `blocked` are the reasons
    why an allowance cannot be spent at present. `exhibits` are the evidence as JSON: they must follow from the answers
    alone, so that they can be derived again offline.
    """

    findings: tuple[Finding, ...]
    method: Method | None = None
    via: str | None = None
    state: State | None = None
    amounts: Amounts = Amounts()
    blocked: tuple[str, ...] = ()
    included: Block | None = None
    head: Block | None = None
    finality: str | None = None
    exhibits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expectations:
    """What an ownership statement must say besides owner and chain; there are no defaults (rule 26).

    None means that nobody knows what to expect, so that it is not checked, and a result says so. Where `uri` is None
    and `domain` is not, the statement's URI must be of that domain. `at` is the moment at which the statement must be
    valid; `skew` how far the signer's clock may be ahead of ours.
    """

    domain: str | None
    uri: str | None
    nonce: str | None
    at: datetime
    skew: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class OwnershipClaim:
    """What is said of a statement: `owner` signed exactly the text `message`, an ownership statement for `chain`."""

    chain: Chain
    owner: str
    message: str
    signature: str
    expectations: Expectations


@dataclass(frozen=True, slots=True)
class OwnershipCheck:
    """What was established of an `OwnershipClaim`.

    `method` is `eoa-ecdsa`, `erc1271`, `erc6492`, `ed25519-raw`, `ed25519-offchain-v0`, `ed25519-offchain-v0-legacy` or
    `ed25519-offchain-v1`; None where no signature fits. `normalised` names the departure from the canonical form that
    was put right (`v-0-or-1`, `eip2098`). `block` is where a contract was asked, `delegate` the code that an EIP-7702
    account runs, `not_checked` what no expectation was given for.
    """

    findings: tuple[Finding, ...]
    method: str | None = None
    normalised: str | None = None
    block: Block | None = None
    delegate: str | None = None
    not_checked: tuple[str, ...] = ()
