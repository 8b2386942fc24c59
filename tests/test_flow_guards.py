"""What stops the line before anything is signed: pins, owners, other platforms and networks, and other processes."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from line_lab import UNIT, CrashError, Line, die_at, open_line

from chains import get_chain
from chains.errors import InvalidAmountError, NoGasError, SpenderRefusedError, WrongChainError
from chains.family import open_node
from delegation import Delegation, Plan, carry, preview
from delegation.errors import (
    DeclinedError,
    DelegationEndedError,
    GatewayUnreachableError,
    InvalidRequestError,
    LeasedError,
    OwnerBusyError,
    OwnerMismatchError,
    PinMismatchError,
    UnsupportedError,
)
from delegation.gateway.client import Gateway
from delegation.journal import open_journal
from delegation.pins import Asset, Pins
from delegation.plan import find_asset
from delegation.sandbox import Sandbox

DEAD = "http://127.0.0.1:9"


async def check_untouched(line: Line) -> None:
    assert not any(d.touched_chain for d in line.context.journal.list())
    assert await line.count_signed() == 0
    assert await line.proofs() == []


async def test_a_changed_spender_or_token_stops_the_line_and_both_values_are_shown(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        first = await line.carry("1")
        token, other_token = (line.known.tokens[name] for name in ("usdc", "usdt"))
        as_told = {"symbol": "usdc", "address": other_token.address, "decimals": 6}
        for changed, pinned, now in (
            ({"delegationContract": other_token.address}, line.known.delegation_contract, other_token.address),
            ({"tokens": {"usdc": as_told}}, token.address, other_token.address),
            ({"tokens": {"usdc": as_told | {"address": token.address, "decimals": 18}}}, '"decimals": 6', "18"),
        ):
            await line.platform.ask("POST", "/sandbox/config", {"network": "base", **changed})
            with pytest.raises(PinMismatchError) as caught:
                await line.carry("2")
            assert pinned in str(caught.value.expected)
            assert now in str(caught.value.found)
            assert pinned in str(caught.value)
            assert now in str(caught.value)
            await line.platform.reset()
        assert [d.station for d in line.context.journal.list()] == ["done", "failed", "failed", "failed"]
        assert line.context.journal.load(first.id) == first
        assert await line.count_signed() == 1


async def test_a_first_use_is_pinned_only_after_the_plan_was_agreed_to(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        shown: list[Plan] = []

        def decline(plan: Plan) -> None:
            assert line.context.pins.check(asset)[0].pinned is None
            shown.append(plan)
            raise DeclinedError("no")

        asset = find_asset(await line.context.gateway.get_networks(), "base", "usdc")
        with pytest.raises(DeclinedError):
            await carry(line.new("5000"), replace(line.context, agree=decline))
        assert [plan.spender for plan in shown] == [line.known.delegation_contract]
        assert [check.pinned for check in line.context.pins.check(asset)] == [None, None]
        await check_untouched(line)
        await line.carry("5000")
        assert [check.pinned == check.found for check in line.context.pins.check(asset)] == [True, True]


async def test_the_wallet_of_another_owner_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, open_line(sandbox, tmp_path, "base") as other:
        with pytest.raises(OwnerMismatchError) as caught:
            await carry(line.new("5000"), replace(line.context, wallet=other.context.wallet))
        assert (caught.value.expected, caught.value.found) == (line.owner, other.owner)
        await check_untouched(line)


async def test_a_saved_delegation_goes_on_only_at_its_own_platform_and_region(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        d = await carry(line.new("5000"), replace(line.context, wallet=None))
        base_url = line.context.gateway.base_url
        for elsewhere in (Gateway(DEAD, "key", "token"), Gateway(base_url, "key", "token", region="us")):
            async with elsewhere:
                with pytest.raises(InvalidRequestError, match="belongs to the platform at 127"):
                    await carry(d, replace(line.context, gateway=elsewhere))
        assert line.only() == d


async def test_a_request_is_never_carried_on_another_network_than_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        for doing in (preview(line.request("1", network="linea"), line.context), line.carry("1", network="linea")):
            with pytest.raises(InvalidRequestError, match="linea, and the node at hand is one of base"):
                await doing
        await check_untouched(line)


async def test_a_signed_approval_is_not_looked_for_on_another_chain(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        with pytest.raises(CrashError):
            await carry(line.new("5000"), replace(line.context, progress=die_at("waiting for")))
        signed = line.only()
        wrong = open_node(get_chain("base"), sandbox.document.networks["ethereum"].rpc_url)
        with pytest.raises(WrongChainError):
            await carry(signed, replace(line.context, node=wrong))
        with pytest.raises(WrongChainError):
            await preview(line.request("1"), replace(line.context, node=wrong))
        await wrong.aclose()
        assert line.only() == signed
        d = await carry(signed, line.context)
        assert d.station == "done"
        assert await line.count_signed() == 1


async def test_a_second_delegation_waits_until_the_first_ones_approval_has_settled(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        with pytest.raises(CrashError):
            await carry(line.new("5000"), replace(line.context, progress=die_at("waiting for")))
        first = line.only()
        with pytest.raises(OwnerBusyError) as caught:
            await line.carry("6000")
        assert caught.value.found == first.id
        assert (
            f"Delegation {first.id} of the same owner on base has an approval that has not settled"
            in caught.value.message
        )
        assert first.id in caught.value.hint
        assert await line.count_signed() == 0
        second = line.only()
        await carry(first, line.context)
        with pytest.raises(DelegationEndedError, match="has not settled"):
            await carry(second, line.context)
        assert (await line.carry("6000")).station == "done"
        assert await line.count_signed() == 2


async def test_two_processes_that_carry_the_same_delegation_approve_once_and_one_of_them_stops(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        with pytest.raises(CrashError):
            await carry(line.new("5000"), replace(line.context, progress=die_at("waiting for")))
        other = open_journal(line.journal)
        both = [carry(line.only(), replace(line.context, journal=journal)) for journal in (line.context.journal, other)]
        ends = await asyncio.gather(*both, return_exceptions=True)
        other.close()
        (done,) = [end for end in ends if isinstance(end, Delegation)]
        (stopped,) = [end for end in ends if isinstance(end, BaseException)]
        assert isinstance(stopped, LeasedError)
        assert done.id in stopped.message
        assert line.only() == done
        assert await line.count_signed() == 1
        assert await line.statuses() == [201]


async def test_a_revocation_on_chain_needs_no_platform_but_a_pin(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, Gateway(DEAD, "key", "token") as dead:
        granted = await line.carry("5000")
        assert granted.plan is not None
        context = replace(line.context, gateway=dead)
        request = line.request("0", chain_only=True)
        with pytest.raises(InvalidRequestError, match="No spender and token are pinned"):
            await preview(request, context)
        plan = granted.plan
        Pins(line.context.journal, DEAD, "international").pin(Asset("base", "sandbox", plan.token, plan.spender))
        new = line.new("0", chain_only=True).model_copy(update={"gateway": "127.0.0.1:9"})
        d = await carry(new, context)
        assert d.station == "done"
        assert d.verification is not None
        assert d.verification.verdict == "VERIFIED"
        assert {finding.rule for finding in d.verification.findings} == {"chain-effect", "canonical"}
        assert (d.delegation_token, d.proof, d.submission) == (None, None, None)
        assert await line.allowance() == 0
        assert dead.requests == 0


async def test_a_dead_platform_stops_a_grant_before_anything_is_signed(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line, Gateway(DEAD, "key", "token") as dead:
        context = replace(line.context, gateway=dead)
        with pytest.raises(GatewayUnreachableError):
            await carry(line.new("5000").model_copy(update={"gateway": "127.0.0.1:9"}), context)
        await check_untouched(line)


@pytest.mark.parametrize("spender", ["0x0000000000000000000000000000000000000000", "the owner", "the token"])
async def test_a_spender_that_must_never_be_approved_is_refused_also_if_the_platform_names_it(
    sandbox: Sandbox, tmp_path: Path, spender: str
) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        address = {"the owner": line.owner, "the token": line.known.tokens["usdc"].address}.get(spender, spender)
        await line.platform.ask("POST", "/sandbox/config", {"network": "base", "delegationContract": address})
        with pytest.raises(SpenderRefusedError):
            await line.carry("1")
        await check_untouched(line)


async def test_what_the_platform_or_the_token_cannot_do_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        for amount, changes, error in (
            ("1", {"currency": "dai"}, UnsupportedError),
            ("0.0000001", {}, InvalidAmountError),
            ("200000000000", {}, InvalidRequestError),
            ("2199023255552", {"unlimited": True}, InvalidAmountError),
        ):
            with pytest.raises(error):
                await line.carry(amount, **changes)
        await check_untouched(line)


async def test_an_owner_without_gas_is_told_before_anything_is_signed(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base", gas=False) as line:
        with pytest.raises(NoGasError):
            await line.carry("1")
        await check_untouched(line)


async def test_a_preview_shows_the_plan_and_leaves_no_trace(sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_line(sandbox, tmp_path, "base") as line:
        plan = await preview(line.request("5000"), line.context)
        assert (plan.amount, plan.listed, [step.amount for step in plan.steps]) == (5000 * UNIT, False, [5000 * UNIT])
        await check_untouched(line)
