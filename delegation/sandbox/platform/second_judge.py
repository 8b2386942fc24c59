"""The platform's second judge: this toolkit's own engine.

The first judge shares no code with the toolkit and decides. The second must agree with every yes of the first; of a no
it may think otherwise, because the platform is narrower than the chains (it takes only plain approves of the owner's
own), and its opinion is kept beside the proof.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from chains.errors import ToolkitError
from chains.types import Token
from delegation.audit import Claim, ClaimedApproval, ClaimedStatement, Report, verify_claim
from delegation.sandbox.platform.errors import JudgesDisagreeError
from delegation.sandbox.platform.proof import SubmittedProof

_MOMENT: Final = 0.3  # seconds
_MORE_ATTEMPTS: Final = 4


async def ask_second_judge(proof: SubmittedProof, *, nonce: str, now: datetime) -> Report | None:
    """Return what the toolkit's engine says of a proof, or None if its claim cannot even be put."""
    network = proof.network
    try:
        claim = Claim(
            approval=ClaimedApproval(
                network=network.name,
                chain=network.chain_id,
                transaction=proof.tx_hash,
                token=Token(proof.currency, proof.asset.address, proof.asset.decimals),
                owner=proof.address,
                spender=network.delegation_contract,
                amount=proof.amount,
                asset_from="pinned",
                spender_from="pinned",
            ),
            statement=ClaimedStatement(
                message=proof.message, signature=proof.signature, domain=None, uri=None, nonce=nonce, at=now
            ),
        )
        report = await verify_claim(claim, [network.rpc_url], now=lambda: now)
        for _ in range(_MORE_ATTEMPTS):
            if report.state != "pending" and report.verdict != "UNDETERMINED":
                break
            # anvil has the receipt, which the first judge reads, a moment before it says so of the transaction, and
            # under load it gives fields that do not belong together; what could not be checked is neither yes nor no.
            await asyncio.sleep(_MOMENT)
            report = await verify_claim(claim, [network.rpc_url], now=lambda: now)
        return report
    except ToolkitError:
        return None


def require_agreement(report: Report | None) -> None:
    """Raise `JudgesDisagreeError` unless the second judge says yes too."""
    if report is None:
        raise JudgesDisagreeError("the toolkit's engine cannot even put the claim")
    if report.verdict != "VERIFIED":
        against = [
            f"{finding.rule}: {finding.message}"
            for finding in report.findings
            if finding.about == "claim" and finding.verdict in {"REFUTED", "UNDETERMINED"}
        ]
        raise JudgesDisagreeError("; ".join(against))
