"""Granting, raising, lowering, renewing and revoking: the chain holds the amount and the platform's list agrees."""

import asyncio
import base64
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, Line, open_line
from solders.message import from_bytes_versioned

from delegation import awaiting, carry, describe_plan
from delegation.models import PLATFORM_MAXIMUM, Delegation
from delegation.sandbox import Sandbox

LINEA_SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
EIGHT_FIELDS = {"address", "network", "currency", "amount", "txHash", "sigHash", "sigMessage", "token"}
# A grant, a raise, a lowering, the same once more, and a revocation; and how many approve transactions each takes.
AMOUNTS = ("5000", "10000", "2500.5", "2500.5", "0")
NETWORKS = (
    ("linea", "usdc", (1, 1, 1, 1, 1)),
    ("ethereum", "usdt", (1, 2, 2, 2, 1)),
    ("base", "usdc", (1, 1, 1, 1, 1)),
    ("solana", "usdc", (1, 1, 1, 1, 1)),
)


async def test_on_every_network_an_allowance_is_granted_raised_lowered_renewed_and_revoked_and_everybody_agrees(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with asyncio.TaskGroup() as at_once:
        for network, currency, steps in NETWORKS:
            at_once.create_task(change_allowances(sandbox, tmp_path, network, currency, steps))


async def change_allowances(
    sandbox: Sandbox, directory: Path, network: str, currency: str, steps: tuple[int, ...]
) -> None:
    async with open_line(sandbox, directory, network, currency) as line:
        hashes: set[str | None] = set()
        for number, amount in enumerate(AMOUNTS, start=1):
            d = await line.carry(amount)
            assert d.station == "done"
            assert d.verification is not None
            assert d.verification.verdict == "VERIFIED", d.verification
            assert line.context.journal.load(d.id) == d
            assert len(d.approvals) == steps[number - 1]
            hashes |= {approval.hash for approval in d.approvals}
            assert await line.count_signed() == sum(steps[:number]) == len(hashes)
            assert f"{await line.listed():f}" == amount
            assert await line.allowance() == d.verification.allowance == int(Decimal(amount) * UNIT)
            assert await line.statuses() == [201] * number
            check_proof(line, d, amount)


def check_proof(line: Line, d: Delegation, amount: str) -> None:
    assert d.proof is not None
    wire = d.proof.wire()
    assert set(wire) == EIGHT_FIELDS
    assert wire["address"] == line.owner
    assert (wire["network"], wire["currency"], wire["amount"]) == (line.network, line.currency, amount)
    assert wire["txHash"] == d.approvals[-1].hash
    assert d.ownership is not None
    assert (wire["sigHash"], wire["sigMessage"]) == (d.ownership.signature, d.ownership.message)
    assert d.delegation_token is not None
    assert wire["token"] == d.delegation_token.token
    assert d.delegation_token.nonce in wire["sigMessage"]


async def test_a_token_that_refuses_to_change_an_allowance_shows_two_steps_and_only_then(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "ethereum", "usdt") as line:
        first = await line.carry("100")
        second = await line.carry("5000.25")
        plans = [d.plan for d in (first, second) if d.plan is not None]
        assert [[step.amount for step in plan.steps] for plan in plans] == [[100 * UNIT], [0, 5_000_250_000]]
        assert [approval.settlement.allowance for approval in second.approvals if approval.settlement] == [
            0,
            5_000_250_000,
        ]
        words = dict(describe_plan(plans[1]))
        assert words["Step 1"].startswith("approve 0 USDT, fee at most")
        assert words["Step 2"].startswith("approve 5000.25 USDT")
        assert words["Replaces"].startswith("100 USDT")
        assert "Step" in dict(describe_plan(plans[0]))


async def test_the_statement_is_signed_after_the_approval_has_taken_effect(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        await line.carry("1")
        stations = list(dict.fromkeys(line.heard))
        assert stations == ["plan", "approval", "ownership", "submission", "verification"]


async def test_an_amount_is_written_as_plain_digits_whatever_its_spelling(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        d = await line.carry("0007.2500")
        assert d.proof is not None
        assert d.proof.amount == "7.25"


@pytest.mark.parametrize(
    ("amount", "last_word"),
    [
        ("5000", "000000000000000000000000000000000000000000000000000000012a05f200"),
        (str(PLATFORM_MAXIMUM), "0000000000000000000000000000000000000000000000001e847ffffff0bdc0"),
    ],
)
async def test_what_an_evm_wallet_is_asked_to_sign_is_the_calldata_of_the_shipping_client(
    sandbox: Sandbox, tmp_path: Path, amount: str, last_word: str
) -> None:
    async with open_line(sandbox, tmp_path, "linea") as line:
        await line.rpc.request("anvil_setCode", [LINEA_SPENDER, "0x00"])
        await line.platform.ask("POST", "/sandbox/config", {"network": "linea", "delegationContract": LINEA_SPENDER})
        request = await asked(line, amount)
        (transaction,) = request["params"]
        selector_and_spender = "0x095ea7b30000000000000000000000009dd23a4a0845f10d65d293776b792af1131c7b30"
        assert transaction["data"] == selector_and_spender + last_word
        assert transaction["to"] == line.known.tokens["usdc"].address
        assert (transaction["from"], transaction["value"], transaction["chainId"]) == (line.owner, "0x0", "0xe708")


@pytest.mark.parametrize(
    ("amount", "data"), [("100.50", "042082fd0500000000"), (str(PLATFORM_MAXIMUM), "04c0bdf0ffff7f841e")]
)
async def test_what_a_solana_wallet_is_asked_to_sign_is_the_approve_of_the_shipping_client(
    sandbox: Sandbox, tmp_path: Path, amount: str, data: str
) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        request = await asked(line, amount)
        message = from_bytes_versioned(base64.b64decode(request["message"]))
        price, approve, limit = message.instructions
        assert bytes(approve.data).hex() == data
        assert [str(message.account_keys[index]) for index in approve.accounts[1:]] == [
            line.known.delegation_contract,
            line.owner,
        ]
        assert (bytes(price.data)[0], bytes(limit.data)[0]) == (3, 2)


async def asked(line: Line, amount: str) -> dict[str, Any]:
    """Return what a wallet is asked to sign for an amount; nothing is signed."""
    d = await carry(line.new(amount, unlimited=True), replace(line.context, wallet=None))
    request = awaiting(d)
    assert request is not None
    assert request.kind == "transaction"
    return request.request
