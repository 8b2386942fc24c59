"""Verify a delegation on chain, as a script: verify_delegation.py NETWORK CURRENCY TXHASH OWNER AMOUNT [PROFILE].

For example: .venv/bin/python scripts/verify_delegation.py linea usdc 0x5c50... 0xd8dA... 5000 sandbox
"""

import asyncio
import sys

from chains import NodeError, parse_amount
from delegation import (
    Claim,
    ToolkitError,
    claim_approval,
    describe_report,
    find_claimed_asset,
    load_profile,
    verify_claim,
)
from delegation.errors import GatewayError


async def verify(network: str, currency: str, transaction: str, owner: str, amount: str, profile_name: str) -> str:
    """Check the claim against the profile's node, print every rule that was checked, and return the verdict."""
    profile = load_profile(profile_name)
    chain = profile.chain(network)
    urls = [chain.rpc_url]
    asset = await find_claimed_asset(chain, currency, rpc_urls=urls, profile=profile)
    claim = Claim(approval=claim_approval(chain, asset, transaction, owner=owner, amount=parse_amount(amount)))
    report = await verify_claim(claim, urls)
    for label, words in describe_report(report):
        print(f"{label:>18}  {words}")
    return report.verdict


if len(sys.argv) not in (6, 7):
    print(__doc__, file=sys.stderr)
    sys.exit(2)
try:
    verdict = asyncio.run(verify(*[*sys.argv[1:], "default"][:6]))
except ToolkitError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(3 if isinstance(error, (NodeError, GatewayError)) else 2)
print(verdict)
sys.exit({"VERIFIED": 0, "REFUTED": 1, "UNDETERMINED": 3}[verdict])
