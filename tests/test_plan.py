"""From a request to a plan: what is refused beforehand, and the words in which a plan is shown."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from line_lab import UNIT, open_line

from chains.errors import InvalidAddressError, InvalidAmountError, NoGasError, UnknownNetworkError
from chains.types import AllowanceState, ApproveOptions, ApproveStep, Block, EvmFee, Token
from delegation import DelegationRequest, Plan, carry, describe_plan, preview
from delegation.errors import InvalidRequestError, UnsupportedError
from delegation.faucet import fill_up
from delegation.gateway.models import ExternalWallet, PlatformConfig, PlatformNetwork, PlatformToken
from delegation.models import FULL_ACCESS, PLATFORM_MAXIMUM
from delegation.plan import check_request, find_asset, find_row, intent_of
from delegation.sandbox import Sandbox

OWNER = "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424"
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
USDC = "0x176211869cA2b568f2A7D4EE941E073a821EE1ff"
SOLANA_OWNER = "DYw8jCTfwHNRJhhmFcbXvVDTqWMEVFBX6ZKUmG5CNSKK"


def request(amount: Any = "5000", **changes: Any) -> DelegationRequest:
    return DelegationRequest(**{"network": "linea", "currency": "usdc", "amount": amount, "owner": OWNER} | changes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"network": "dogecoin"}, UnknownNetworkError),
        ({"owner": OWNER.lower()}, InvalidRequestError),
        ({"owner": OWNER.replace("Cf", "cF")}, InvalidAddressError),
        ({"owner": SOLANA_OWNER}, InvalidAddressError),
        ({"network": "solana"}, InvalidAddressError),
        ({"amount": PLATFORM_MAXIMUM + 1, "unlimited": True}, InvalidAmountError),
        ({"amount": FULL_ACCESS}, InvalidRequestError),
        ({"amount": PLATFORM_MAXIMUM}, InvalidRequestError),
        ({"chain_only": True}, InvalidRequestError),
    ],
)
def test_a_request_that_no_plan_can_be_made_of_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_request(request(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount": "0"},
        {"amount": FULL_ACCESS - Decimal("0.000001")},
        {"amount": FULL_ACCESS, "unlimited": True},
        {"amount": PLATFORM_MAXIMUM, "unlimited": True},
        {"amount": "0", "chain_only": True},
        {"network": "SOLANA", "owner": SOLANA_OWNER},
    ],
)
def test_a_request_that_can_be_meant_is_taken(changes: dict[str, Any]) -> None:
    check_request(request(**changes))


CONFIG = PlatformConfig(
    networks=(
        PlatformNetwork(
            network="linea",
            environment="production",
            chain_id="59144",
            delegation_contract=SPENDER.lower(),
            tokens={"usdc": PlatformToken(symbol="usdc", decimals=6, address=USDC.lower())},
        ),
    )
)


def test_token_and_spender_are_the_platforms_in_their_canonical_spelling() -> None:
    asset = find_asset(CONFIG, "linea", "usdc")
    assert (asset.spender, asset.token) == (SPENDER, Token("usdc", USDC, 6))


@pytest.mark.parametrize(("network", "currency"), [("base", "usdc"), ("linea", "usdt")])
def test_what_the_platform_does_not_offer_is_said_with_what_it_offers(network: str, currency: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        find_asset(CONFIG, network, currency)
    assert ("linea" if network == "base" else "usdc") in caught.value.hint


def test_the_row_of_a_wallet_is_found_whatever_its_spelling_and_no_other() -> None:
    rows = [
        {"address": OWNER.lower(), "currency": "USDC", "network": "linea"},
        {"address": OWNER, "currency": "usdt", "network": "linea"},
        {"address": OWNER, "currency": "usdc", "network": "base"},
        {"address": SPENDER, "currency": "usdc", "network": "linea"},
    ]
    listed = tuple(ExternalWallet(**row) for row in rows)
    assert find_row(listed, request()) == listed[0]
    assert find_row(listed[1:], request()) is None


FEE = EvmFee(gas_limit=60_000, max_fee_per_gas=100_000_000, max_priority_fee_per_gas=70_000_000)
PLAN = Plan(
    network="linea",
    family="evm",
    environment="production",
    owner=OWNER,
    token=Token("usdt", USDC, 6),
    spender=SPENDER,
    amount=10_000 * UNIT,
    before=AllowanceState(3_800_500_000, 7 * UNIT, 10**18, Block(123, "0x")),
    steps=(ApproveStep(0, FEE), ApproveStep(10_000 * UNIT)),
    max_cost=FEE.max_cost,
    native_symbol="ETH",
    native_decimals=18,
    listed=True,
    warnings=("The wallet holds 7 USDT, less than the allowance.",),
    made_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_a_plan_is_shown_in_words_that_a_person_can_check() -> None:
    assert describe_plan(PLAN) == [
        ("Allow", "10000 USDT on Linea"),
        ("Spender", f"{SPENDER}  (the platform, environment: production)"),
        ("Owner", OWNER),
        ("Token", f"{USDC}  (6 decimals)"),
        ("Replaces", "3800.5 USDT  (at block 123)"),
        ("Balance", "7 USDT"),
        ("Step 1", "approve 0 USDT, fee at most 0.000006 ETH"),
        ("Step 2", "approve 10000 USDT, fee estimated when its turn comes"),
        ("Warning", "The wallet holds 7 USDT, less than the allowance."),
    ]
    revoke = PLAN.model_copy(update={"amount": 0, "steps": (ApproveStep(0, FEE),), "warnings": ()})
    words = dict(describe_plan(revoke))
    assert words["Revoke"] == "0 USDT on Linea"
    assert words["Step"] == "approve 0 USDT, fee at most 0.000006 ETH"


def test_what_the_chain_shall_hold_is_taken_from_the_plan() -> None:
    options = ApproveOptions(max_fee_cap=7)
    intent = intent_of(request(options=options), PLAN)
    assert (intent.token, intent.owner, intent.spender) == (PLAN.token, OWNER, SPENDER)
    assert (intent.amount, intent.options) == (PLAN.amount, options)


async def test_an_owner_without_gas_is_helped_by_the_faucet_once(sandbox: Sandbox, tmp_path: Path) -> None:
    async with (
        open_line(sandbox, tmp_path, "linea", gas=False) as line,
        open_line(sandbox, tmp_path, "base", gas=False) as second,
    ):
        await line.platform.ask("DELETE", "/sandbox/faucet")
        with pytest.raises(NoGasError) as missing:
            await preview(line.request("5000"), line.context)
        await fill_up(line.request("5000"), line.context, missing.value)
        d = await line.carry("5000")
        assert d.station == "done"
        with pytest.raises(NoGasError, match="faucet did not help") as refused:
            await fill_up(second.request("5000"), second.context, missing.value)
        assert second.owner in refused.value.hint
        assert await second.count_signed() == 0
        await line.platform.ask("DELETE", "/sandbox/faucet")


async def test_the_cap_on_the_fee_and_the_checked_approve_are_asked_for_by_name(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "solana") as line:
        options = ApproveOptions(approve_checked=True, max_fee_cap=10_000)
        d = await carry(line.new("1", options=options), replace(line.context, wallet=None))
        unsigned = d.approvals[0].unsigned
        assert unsigned is not None
        assert unsigned.fee.kind == "solana"
        assert unsigned.fee.compute_unit_price <= 10_000
