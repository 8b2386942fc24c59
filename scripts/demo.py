"""The main job on the embedded sandbox: grant, audit, spend, raise, prioritize and revoke on three networks."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from chains import Token, format_amount, to_base_units
from chains.wallets import load_wallet, write_secret_file
from delegation import (
    Context,
    DelegationRequest,
    Plan,
    carry,
    describe_plan,
    new_delegation,
    open_context,
    utc_now,
    verify_evidence,
    verify_with_evidence,
)
from delegation.audit import claim_of
from delegation.gateway.models import PlatformWallet
from delegation.plan import find_asset
from delegation.sandbox import Sandbox, open_sandbox
from delegation.sandbox.profile import profile_of

TOKENS = (("linea", "usdc"), ("ethereum", "usdt"), ("solana", "usdc"))
GRANT, SPEND, RAISE = Decimal(5000), Decimal(1200), Decimal(10000)


@dataclass(frozen=True)
class Card:
    """One owner's token on one network, as it goes through its life."""

    sandbox: Sandbox
    context: Context
    owner: str
    network: str
    token: Token
    spender: str

    @property
    def title(self) -> str:
        """What this is called in the table."""
        return f"{self.network} {self.token.symbol.upper()}"

    async def delegate(self, amount: Decimal, deed: str) -> Row:
        """Carry one request to the end of the line."""
        print(f"\n--- {self.title}: {deed}")
        request = DelegationRequest(network=self.network, currency=self.token.symbol, amount=amount, owner=self.owner)
        d = await carry(new_delegation(request, self.context), self.context)
        for approval in d.approvals:
            print(f"  Approved  {format_amount(approval.step.amount, self.token.decimals)} by {approval.hash}")
        for finding in d.result.findings:
            print(f"  {finding.verdict}  {finding.message}")
        return await self.compare(amount, deed, verified=d.result.verdict == "VERIFIED")

    async def audit(self) -> Row:
        """Verify the last delegation as an auditor does, file the evidence, and verify the file with no network."""
        last = [d for d in self.context.journal.list() if d.request.network == self.network][-1]
        chain = self.context.node.chain
        claim = claim_of(last, chain, domain=self.context.terms.domain, now=utc_now())
        report, file = await verify_with_evidence(claim, [chain.rpc_url])
        again = verify_evidence(file)
        print(f"\n--- {self.title}: an auditor verifies it")
        print(f"  {report.verdict}  {report.state}, {report.finality}; {report.tier}: {report.tier_meaning}")
        print(f"  {again.verdict}  again from {len(file)} bytes of evidence, with no network")
        agrees = report.verdict == again.verdict == "VERIFIED"
        return Row(self.title, "evidence, verified offline", f"{report.verdict} ({report.tier})", "", agrees)

    async def spend(self, amount: Decimal, left: Decimal) -> Row:
        """Have the operator pull an amount, as a card payment does."""
        print(f"\n--- {self.title}: the operator spends {amount}")
        base_units = to_base_units(amount, self.token.decimals)
        print(f"  Spent by  {await self.sandbox.spend(self.network, self.token.symbol, self.owner, base_units)}")
        return await self.compare(left, f"spend {amount}")

    async def prioritize(self) -> Row:
        """Let this wallet pay first."""
        before = await self._listed()
        await self.context.gateway.set_priorities([] if before.id is None else [before.id])
        after = await self._listed()
        print(f"\n--- {self.title}: priority {before.priority} -> {after.priority}")
        return Row(self.title, f"priority {before.priority} -> {after.priority}", "", "", after.priority == 1)

    async def compare(self, expected: Decimal, event: str, *, verified: bool = True) -> Row:
        """Read the chain and the platform's list, and compare both with what they should hold."""
        state = await self.context.node.get_allowance(self.token, self.owner, self.spender)
        on_chain = format_amount(state.allowance, self.token.decimals)
        listed = (await self._listed()).allowance
        agrees = verified and Decimal(on_chain) == expected == listed
        return Row(self.title, event, on_chain, f"{listed}", agrees)

    async def _listed(self) -> PlatformWallet:
        wallets = await self.context.gateway.get_wallets()
        return next(row for row in wallets if row.is_of(self.owner, self.token.symbol, self.network))


@dataclass(frozen=True)
class Row:
    """One line of the table at the end."""

    token: str
    event: str
    chain: str
    platform: str
    agrees: bool

    def cells(self) -> tuple[str, ...]:
        """Return the line as text."""
        return self.token, self.event, self.chain, self.platform, "agree" if self.agrees else "DIFFER"


async def main() -> int:
    """Run the demo and return its exit status."""
    started = time.monotonic()
    print("Starting local Ethereum, Linea, Base and Solana, and the simulated platform ...", flush=True)
    async with open_sandbox() as sandbox, AsyncExitStack() as stack:
        print(f"Ready after {time.monotonic() - started:.1f} s.")
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cards = [await open_card(stack, sandbox, directory, network, currency) for network, currency in TOKENS]
        rows = [await card.delegate(GRANT, f"grant {GRANT}") for card in cards]
        rows += [await card.audit() for card in cards]
        rows += [await card.spend(SPEND, GRANT - SPEND) for card in cards]
        rows += [await card.delegate(RAISE, f"raise to {RAISE}") for card in cards]
        # The first one granted pays first already: going backwards, every one really moves.
        rows += [await card.prioritize() for card in reversed(cards)]
        rows += [await card.delegate(Decimal(0), "revoke") for card in cards]
    print_table(rows)
    agree = all(row.agrees for row in rows)
    print(f"\n{'Everything agreed' if agree else 'SOMETHING DIFFERED'} after {time.monotonic() - started:.1f} s.")
    return 0 if agree else 1


async def open_card(stack: AsyncExitStack, sandbox: Sandbox, directory: Path, network: str, currency: str) -> Card:
    """Return a new owner's token on one network, with a context of its own."""
    profile = profile_of(sandbox.document, journal=directory / "journal.sqlite")
    family = profile.chain(network).family
    key_file = directory / f"{network}.key"
    write_secret_file(key_file, (await sandbox.new_wallet(family)).private_key)
    wallet = load_wallet(str(key_file), family=family)
    context = await stack.enter_async_context(open_context(profile, network, wallet=wallet, agree=show_plan))
    asset = find_asset(await context.gateway.get_networks(), network, currency)
    return Card(sandbox, context, wallet.address, network, asset.token, asset.spender)


def show_plan(plan: Plan) -> None:
    """Show the plan; the demo agrees to it."""
    for label, words in describe_plan(plan):
        print(f"  {label:<9} {words}")


def print_table(rows: list[Row]) -> None:
    """Print what happened, a line an event."""
    lines = [("TOKEN", "EVENT", "CHAIN", "PLATFORM'S LIST", "THEY"), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
