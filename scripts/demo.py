"""The main job on the embedded sandbox: grant, spend, raise, prioritize and revoke on three networks."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from chains import format_amount, to_base_units
from chains.wallets import load_wallet, write_secret_file
from delegation import Delegation, DelegationRequest, Doors, Plan, carry, describe_plan, new_delegation, open_doors
from delegation.plan import find_asset, find_row
from delegation.sandbox import Sandbox, open_sandbox
from delegation.sandbox.profile import profile_of

JOBS = (("linea", "usdc"), ("ethereum", "usdt"), ("solana", "usdc"))
GRANT, SPEND, RAISE = Decimal(5000), Decimal(1200), Decimal(10000)
Row = tuple[str, str, str, str, str]


async def main() -> int:
    """Run the demo and return its exit status."""
    started = time.monotonic()
    print("Starting local Ethereum, Linea, Base and Solana, and the simulated platform ...", flush=True)
    rows: list[Row] = []
    async with open_sandbox() as sandbox:
        print(f"Ready after {time.monotonic() - started:.1f} s.")
        with tempfile.TemporaryDirectory() as directory:
            for network, currency in JOBS:
                rows += await run_job(sandbox, Path(directory), network, currency)
    print_table(rows)
    failed = [row for row in rows if row[-1] != "VERIFIED"]
    print(f"\n{'FAILED' if failed else 'Everything agreed'} after {time.monotonic() - started:.1f} s.")
    return 1 if failed else 0


async def run_job(sandbox: Sandbox, directory: Path, network: str, currency: str) -> list[Row]:
    """Take one token on one network through its whole life, and return a row for each event."""
    print(f"\n=== {currency.upper()} on {network} ===")
    profile = profile_of(sandbox.document, journal=directory / "journal.sqlite")
    family = profile.chain(network).family
    key_file = directory / f"{network}.key"
    write_secret_file(key_file, (await sandbox.new_wallet(family)).private_key)
    wallet = load_wallet(str(key_file), family=family)
    async with open_doors(profile, network, wallet=wallet, agree=show_plan) as doors:
        rows = [await delegate(doors, currency, GRANT, "grant")]
        decimals = find_asset(await doors.gateway.get_networks(), network, currency).token.decimals
        await sandbox.spend(network, currency, wallet.address, to_base_units(SPEND, decimals))
        rows.append(await compare(doors, currency, GRANT - SPEND, f"the operator spends {SPEND}"))
        rows.append(await delegate(doors, currency, RAISE, "raise"))
        rows.append(await prioritize(doors, currency))
        rows.append(await delegate(doors, currency, Decimal(0), "revoke"))
        rows.append(await compare(doors, currency, Decimal(0), "the end"))
    return [(f"{network} {currency.upper()}", *row) for row in rows]


async def delegate(doors: Doors, currency: str, amount: Decimal, deed: str) -> tuple[str, str, str, str]:
    """Carry one request to the end of the line."""
    print(f"\n{deed} {amount}")
    request = DelegationRequest(
        network=doors.node.chain.name, currency=currency, amount=amount, owner=doors.wallet.address
    )
    d: Delegation = await carry(new_delegation(request, doors), doors)
    for approval in d.approval:
        print(f"  approved {format_amount(approval.step.amount, d.plan.token.decimals)}: {approval.hash}")
    for finding in d.verification.findings:
        print(f"  {finding.verdict}  {finding.message}")
    _, chain_says, list_says, verdict = await compare(doors, currency, amount, deed)
    return f"{deed} {amount}", chain_says, list_says, d.verification.verdict if verdict == "VERIFIED" else verdict


async def compare(doors: Doors, currency: str, expected: Decimal, event: str) -> tuple[str, str, str, str]:
    """Read the chain and the platform's list, and compare both with what they should hold."""
    asset = find_asset(await doors.gateway.get_networks(), doors.node.chain.name, currency)
    state = await doors.node.get_allowance(asset.token, doors.wallet.address, asset.spender)
    on_chain = Decimal(format_amount(state.allowance, asset.token.decimals))
    request = DelegationRequest(network=asset.network, currency=currency, amount=Decimal(0), owner=doors.wallet.address)
    row = find_row(await doors.gateway.get_external_wallets(), request)
    listed = row.allowance if row is not None else None
    verdict = "VERIFIED" if on_chain == expected == listed else "REFUTED"
    return event, f"{on_chain}", f"{listed}", verdict


async def prioritize(doors: Doors, currency: str) -> tuple[str, str, str, str]:
    """Let this wallet pay first, and check that the platform's list says so."""

    def mine(wallets):
        return next(w for w in wallets if w.is_of(doors.wallet.address, currency, doors.node.chain.name))

    before = mine(await doors.gateway.get_wallets())
    await doors.gateway.set_priorities([before.id])
    after = mine(await doors.gateway.get_wallets())
    print(f"\npriority {before.priority} -> {after.priority}")
    return f"priority {before.priority} -> {after.priority}", "", "", "VERIFIED" if after.priority == 1 else "REFUTED"


def show_plan(plan: Plan) -> None:
    """Show the plan; the demo agrees to it."""
    for label, words in describe_plan(plan):
        print(f"  {label:<9} {words}")


def print_table(rows: list[Row]) -> None:
    """Print what happened, a line an event."""
    header = ("TOKEN", "EVENT", "CHAIN", "PLATFORM'S LIST", "VERDICT")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    print()
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
