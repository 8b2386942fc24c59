"""The auditor's verbs: a claim checked by nodes, a claim checked and filed, and a statement checked alone.

    report = await verify_claim(claim, ["https://one.example", "https://two.example"])

Whoever checks a claim goes through here, so that there is one default of what it takes to believe one: `Policy()`, by
which more than half of the operators that are asked must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from chains.claims import OwnershipClaim
from delegation.audit.claims import Claim
from delegation.audit.evidence import write_evidence
from delegation.audit.nodes import ask_about_statement, ask_nodes
from delegation.audit.policy import Policy
from delegation.audit.report import Report
from delegation.audit.verdict import make_report, statement_report
from delegation.models import utc_now

_DEFAULT: Final = Policy()


async def verify_claim(
    claim: Claim, nodes: Sequence[str], policy: Policy = _DEFAULT, *, now: Callable[[], datetime] = utc_now
) -> Report:
    """Check a claim against the chain and return what was found; the verdict is VERIFIED, REFUTED or UNDETERMINED.

    `nodes` are the URLs of the nodes to ask. Nodes that do not answer make the verdict UNDETERMINED, and raise nothing.
    Raises `InvalidRequestError` if no node is named, an `InputError` for a URL or a claim that cannot be one, and
    `WrongChainError` if the nodes are of another chain; one beside others does not count.
    """
    return make_report(claim, policy, await ask_nodes(claim, nodes, policy), now=now())


async def verify_with_evidence(
    claim: Claim, nodes: Sequence[str], policy: Policy = _DEFAULT, *, now: Callable[[], datetime] = utc_now
) -> tuple[Report, bytes]:
    """Check a claim as `verify_claim` does, and return the report with its evidence file.

    `verify_evidence` comes to the same report from the file alone. There is one whatever the verdict is.
    """
    results = await ask_nodes(claim, nodes, policy)
    report = make_report(claim, policy, results, now=now())
    return report, write_evidence(claim, policy, results, report)


async def verify_statement(
    claim: OwnershipClaim, node: str | None = None, *, now: Callable[[], datetime] = utc_now
) -> Report:
    """Check an ownership statement alone and return what was found.

    Only the signatures of contract wallets need a `node`, the URL of one. Without it whatever is not the signature of
    the owner's own key is UNDETERMINED.
    Raises `WrongChainError` if it is a node of another chain, and `NodeError` if it does not answer.
    """
    return statement_report(await ask_about_statement(claim, node), now=now())
