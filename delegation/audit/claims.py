"""Claims as documents: what is said of an approval and of the statement that belongs to it.

The ground floor checks a claim against one node (`chains.claims`); here it has a form that can be written into an
evidence file, without anything that depends on this machine or could be a secret.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import AwareDatetime

from chains import get_chain
from chains.claims import ApprovalClaim, Expectations, OwnershipClaim
from chains.errors import WrongChainError
from chains.types import BaseUnits, Block, Chain, SignedTransaction, Token
from delegation.errors import InvalidRequestError
from delegation.models import Delegation, Frozen, filled

Source: TypeAlias = Literal["pinned", "platform", "given"]
"""Where an address comes from: a pin, the platform's configuration as it is now, or the person who asks."""


class ClaimedApproval(Frozen):
    """By `transaction`, `owner` let `spender` have `amount` base units of `token` on `network`.

    `chain` is the chain id, or the genesis hash on Solana. `asset_from` and `spender_from` say where the addresses of
    token and spender come from. `raw` and `block` are what is known of the transaction from elsewhere.
    """

    network: str
    chain: str
    transaction: str
    token: Token
    owner: str
    spender: str
    amount: BaseUnits
    asset_from: Source = "given"
    spender_from: Source = "given"
    raw: str | None = None
    block: Block | None = None


class ClaimedStatement(Frozen):
    """The owner signed exactly the text `message`; None stands for an expectation that nobody has.

    `at` is the moment at which the statement had to be valid.
    """

    message: str
    signature: str
    domain: str | None
    uri: str | None
    nonce: str | None
    at: AwareDatetime


class Claim(Frozen):
    """What is to be checked: an approval, and the statement that belongs to it where there is one."""

    approval: ClaimedApproval
    statement: ClaimedStatement | None = None


def chain_identity(chain: Chain) -> str:
    """Return what tells a chain from all others: its chain id, or its genesis hash on Solana."""
    return str(chain.chain_id) if chain.family == "evm" else str(chain.genesis_hash)


def claimed_chain(approval: ClaimedApproval) -> Chain:
    """Return the chain of a claim, as data.

    Raises `UnknownNetworkError`, and `WrongChainError` if an EVM network of this name has another chain id.
    """
    chain = get_chain(approval.network)
    if chain.family == "solana":
        # A local Solana chain has a genesis hash of its own, which the claim names.
        return replace(chain, genesis_hash=approval.chain)
    if chain_identity(chain) != approval.chain:
        raise WrongChainError(
            f"The claim is about chain {approval.chain}, and {chain.title} is chain {chain.chain_id}.",
            hint="Check the network's name.",
            expected=chain_identity(chain),
            found=approval.chain,
        )
    return chain


def approval_claim(approval: ClaimedApproval) -> ApprovalClaim:
    """Return the claim as the ground floor checks it."""
    return ApprovalClaim(
        chain=claimed_chain(approval),
        transaction=approval.transaction,
        token=approval.token,
        owner=approval.owner,
        spender=approval.spender,
        amount=approval.amount,
        token_pinned=approval.asset_from == "pinned",
        raw=approval.raw,
        block=approval.block,
    )


def ownership_claim(claim: Claim) -> OwnershipClaim | None:
    """Return the claim about the statement as the ground floor checks it, or None where there is no statement."""
    said = claim.statement
    if said is None:
        return None
    expectations = Expectations(domain=said.domain, uri=said.uri, nonce=said.nonce, at=said.at)
    chain = claimed_chain(claim.approval)
    return OwnershipClaim(chain, claim.approval.owner, said.message, said.signature, expectations)


def claim_of(d: Delegation, chain: Chain, *, domain: str | None, now: datetime) -> Claim:
    """Return what a delegation of the journal claims: its last approval and its ownership statement.

    `domain` is whose statement it should be, and `now` when it must be valid if it was never submitted. Raises
    `InvalidRequestError` if nothing was approved yet.
    """
    plan = filled(d.plan, "plan")
    approval = next((approval for approval in reversed(d.approvals) if approval.hash is not None), None)
    sent = None if approval is None else approval.approving_sent
    if approval is None or sent is None:
        raise InvalidRequestError(
            f"Delegation {d.id} has no transaction yet, so there is nothing to verify.", hint="Carry it on first."
        )
    settlement = approval.settlement
    transaction = sent.hash if settlement is None else settlement.hash
    statement = None
    if d.ownership is not None:
        statement = ClaimedStatement(
            message=d.ownership.message,
            signature=d.ownership.signature,
            domain=domain,
            uri=None,
            nonce=d.delegation_token.nonce if d.delegation_token is not None else None,
            at=d.submission.attempted_at if d.submission is not None else now,
        )
    return Claim(
        approval=ClaimedApproval(
            network=chain.name,
            chain=chain_identity(chain),
            transaction=transaction,
            token=plan.token,
            owner=plan.owner,
            spender=plan.spender,
            amount=approval.step.amount,
            asset_from="pinned",
            spender_from="pinned",
            raw=sent.raw if isinstance(sent, SignedTransaction) and sent.hash == transaction else None,
            block=None if settlement is None else settlement.block,
        ),
        statement=statement,
    )
