"""Claims of Solana approvals checked at a real node: what is established, and what became of the approval since.

Every check here is made a second time offline, from its transcript, and must come to the same result.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solana_lab import (
    HELD,
    MEMO,
    UNIT,
    LyingRpc,
    Refusal,
    SolanaLab,
    approve,
    calls,
    finding,
    memo,
    mention,
    new_spender,
    open_lab,
    refuted,
    revoke,
    serves,
    verdict,
)
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token.constants import TOKEN_PROGRAM_ID

from chains.claims import Amounts
from chains.errors import ChainError, ContradictionError, InputError, NodeError, NodeUnreachableError, WrongChainError
from chains.family import check_approval, get_head
from chains.solana.addresses import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from chains.solana.chain import SOLANA
from chains.solana.token import build_approve, build_approve_checked
from chains.transcript import RecordingRpc, ReplayRpc, run_offline
from chains.types import Block, Token
from delegation.sandbox import Sandbox


@pytest.fixture(scope="module")
async def lab(sandbox: Sandbox) -> AsyncIterator[SolanaLab]:
    async with open_lab(sandbox) as lab:
        yield lab


async def test_an_approval_is_verified_from_its_signed_bytes_and_the_account_as_it_is_now(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5 * UNIT)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5 * UNIT))
    assert verdict(check) == "VERIFIED"
    assert [one.rule for one in check.findings] == [
        *("transaction", "signatures", "status", "approval", "token", "mint", "decimals"),
        *("owner", "spender", "amount", "state"),
    ]
    assert (check.method, check.via, check.state, check.blocked) == ("instruction", "top-level", "active", ())
    assert check.amounts == Amounts(5 * UNIT, 5 * UNIT, HELD, 5 * UNIT)
    assert check.included is not None
    assert check.head is not None
    assert check.head.number >= check.included.number
    assert check.facts == {
        "transaction": sent.signature,
        "slot": str(check.included.number),
        "status": "ok",
        "source": wallet.account,
        "delegate": spender,
        "allowance": str(5 * UNIT),
        "balance": str(HELD),
        "owner": wallet.address,
        "mint": lab.token.address,
    }
    assert check.exhibits["transaction"]["raw"] == sent.raw
    held = check.exhibits["accounts"]
    assert held["slot"] == check.head.number
    assert b64decode(held["found"][wallet.account]["data"])[121:129] == (5 * UNIT).to_bytes(8, "little")


async def test_a_signature_is_said_to_prove_that_it_was_signed_and_not_that_it_landed(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 1)], lab.payer, wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 1))
    assert verdict(check) == "VERIFIED"
    said = finding(check, "signatures").message
    assert "SIGNED" in said
    assert "not prove that it landed" in said
    assert str(lab.payer.pubkey()) in said
    assert wallet.address in said
    assert check.proved is False


async def test_a_transaction_becomes_final(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 1)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 1)
    assert (await lab.check(claim)).finality == "confirmed"
    for _ in range(200):
        check = await lab.check(claim, at="finalized")
        if check.finality == "finalized":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it never became final")


async def test_approve_checked_in_a_legacy_transaction_of_another_payer_is_verified(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    step = build_approve_checked(TOKEN_PROGRAM, wallet.account, lab.token.address, spender, wallet.address, 7, 6)
    sent = await lab.submit([step], lab.payer, wallet.key, legacy=True)
    check = await lab.check(lab.claim(sent, wallet, spender, 7))
    assert verdict(check) == "VERIFIED"
    assert finding(check, "approval").found == "approve_checked"


async def test_a12_unlimited_is_a_threshold_and_what_is_left_of_it_is_no_mismatch(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 2**64 - 1)], wallet.key)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 2**63)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    await lab.spend(wallet, spender, 5)
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "reduced", 2**64 - 6)
    assert refuted(await lab.check(replace(claim, amount=2**63 - 1))) == ["amount"]


async def test_spending_reduces_an_approval_and_a_spent_out_one_is_not_called_revoked(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 10)], wallet.key)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 10)
    first = await lab.spend(wallet, spender, 3)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "reduced")
    assert check.amounts == Amounts(10, 7, HELD - 3, 7)
    assert first.signature in finding(check, "state").message
    assert check.exhibits["since"]["raw"] == first.raw
    # The owner's own payments are none of the allowance.
    await lab.submit([lab.take(wallet, wallet.address, 4)], wallet.key)
    last = await lab.spend(wallet, spender, 7)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "reduced")
    assert check.amounts == Amounts(10, 0, HELD - 14, 0)
    assert f"all of it, last in {last.signature}" in finding(check, "state").message


async def test_an_approval_of_less_and_then_of_more_replaces_and_exceeds_the_claim(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 10)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 10)
    less = await lab.submit([approve(wallet, spender, 4)], wallet.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "replaced", 4)
    assert less.signature in finding(check, "state").message
    await lab.submit([approve(wallet, spender, 11)], wallet.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "exceeds", 11)
    zero = await lab.submit([approve(wallet, spender, 0)], wallet.key)
    check = await lab.check(claim)
    # Rule 36: a delegate with nothing left is not an absent one.
    assert (check.state, check.facts["delegate"], check.facts["allowance"]) == ("revoked", spender, "0")
    assert "still named" in finding(check, "state").message
    check = await lab.check(lab.claim(zero, wallet, spender, 0))
    assert (verdict(check), check.state) == ("VERIFIED", "active")


async def test_a_claim_of_amount_zero_is_a_revocation(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    granted = await lab.submit([approve(wallet, spender, 10)], wallet.key)
    taken = await lab.submit([approve(wallet, spender, 0), revoke(wallet)], wallet.key)
    check = await lab.check(lab.claim(taken, wallet, spender, 0))
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    assert finding(check, "approval").found == "revoke"
    assert refuted(await lab.check(lab.claim(granted, wallet, spender, 0))) == ["amount"]
    assert refuted(await lab.check(lab.claim(taken, wallet, spender, 10))) == ["approval", "spender", "amount"]


async def test_a_closed_account_took_its_delegate_along(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 10)], wallet.key)
    await lab.submit([lab.take(wallet, wallet.address, HELD), lab.close(wallet)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 10))
    assert (verdict(check), check.state) == ("VERIFIED", "revoked")
    assert check.amounts == Amounts(10, 0, 0, 0)
    assert "closed" in finding(check, "state").message


async def test_spending_in_the_same_transaction_is_seen(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    steps = [approve(wallet, str(spender.pubkey()), 10), lab.take(wallet, str(spender.pubkey()), 4)]
    sent = await lab.submit(steps, wallet.key, spender)
    check = await lab.check(lab.claim(sent, wallet, str(spender.pubkey()), 10))
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "reduced", 6)


async def test_a_multisig_owner_is_verified_by_the_members_that_signed(lab: SolanaLab) -> None:
    members = [Keypair() for _ in range(3)]
    multisig = Keypair()
    rent = await lab.rpc.request("getMinimumBalanceForRentExemption", [355])
    space = CreateAccountParams(
        from_pubkey=lab.payer.pubkey(), to_pubkey=multisig.pubkey(), lamports=rent, space=355, owner=TOKEN_PROGRAM_ID
    )
    metas = [AccountMeta(key, False, False) for key in (multisig.pubkey(), *(one.pubkey() for one in members))]
    metas[0] = AccountMeta(multisig.pubkey(), False, True)
    made = Instruction(TOKEN_PROGRAM_ID, bytes([19, 2]), metas)  # InitializeMultisig2, two of three
    await lab.submit([create_account(space), made], lab.payer, multisig)
    wallet, spender = await lab.wallet(owner=multisig.pubkey()), new_spender()
    plain = build_approve(TOKEN_PROGRAM, wallet.account, spender, str(multisig.pubkey()), 9)
    signing = [AccountMeta(one.pubkey(), True, False) for one in members[:2]]
    accounts = [*plain.accounts[:2], AccountMeta(multisig.pubkey(), False, False), *signing]
    step = Instruction(plain.program_id, bytes(plain.data), accounts)
    sent = await lab.submit([step], lab.payer, *members[:2])
    claim = lab.claim(sent, wallet, spender, 9, owner=str(multisig.pubkey()))
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    assert "multisig, and 2 of its 3 members" in finding(check, "owner").message

    def three_needed(answer: Any) -> Any:
        for account in answer["value"]:
            data = bytearray(b64decode(account["data"][0]))
            if len(data) == 355:
                data[0] = 3
                account["data"][0] = b64encode(data).decode()
        return answer

    with pytest.raises(ContradictionError, match="not there"):
        await lab.check(claim, getMultipleAccounts=three_needed)
    check = await lab.check(claim, getMultipleAccounts=lambda _: Refusal(-32000))
    assert finding(check, "owner").verdict == "UNDETERMINED"


async def test_an_account_that_is_not_the_associated_one_is_judged_by_its_own_bytes(lab: SolanaLab) -> None:
    owner, account, spender = await lab.wallet(), Keypair(), new_spender()
    rent = await lab.rpc.request("getMinimumBalanceForRentExemption", [165])
    space = CreateAccountParams(
        from_pubkey=lab.payer.pubkey(), to_pubkey=account.pubkey(), lamports=rent, space=165, owner=TOKEN_PROGRAM_ID
    )
    metas = [
        AccountMeta(account.pubkey(), False, True),
        AccountMeta(Pubkey.from_string(lab.token.address), False, False),
    ]
    made = Instruction(TOKEN_PROGRAM_ID, bytes([18]) + bytes(owner.key.pubkey()), metas)  # InitializeAccount3
    wallet = replace(owner, account=str(account.pubkey()))
    sent = await lab.submit([create_account(space), made, approve(wallet, spender, 3)], lab.payer, account, owner.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 3))
    assert (verdict(check), check.state, check.facts["source"]) == ("VERIFIED", "active", wallet.account)
    assert check.amounts == Amounts(3, 3, 0, 0)
    # Once it is closed, nothing tells which token it was of.
    await lab.submit([lab.close(wallet)], owner.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 3))
    assert (verdict(check), finding(check, "token").verdict, check.state) == ("UNDETERMINED", "UNDETERMINED", "revoked")


async def test_of_several_accounts_in_one_transaction_the_claimed_one_is_judged(lab: SolanaLab) -> None:
    other = await lab.new_token()
    wallet, spender = await lab.wallet(), new_spender()
    stranger = await lab.wallet(other)
    sent = await lab.submit([approve(wallet, spender, 3), approve(stranger, spender, 4)], wallet.key, stranger.key)
    for first, claim in (
        (wallet, lab.claim(sent, wallet, spender, 3)),
        (stranger, lab.claim(sent, stranger, spender, 4, token=other)),
    ):
        check = await lab.check(claim)
        assert (verdict(check), check.facts["source"]) == ("VERIFIED", first.account)


async def test_keys_from_an_address_table_are_resolved_and_said_to_be_the_nodes_word(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    program = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")
    slot = await lab.rpc.request("getSlot", [{"commitment": "finalized"}])
    table, bump = Pubkey.find_program_address([bytes(lab.payer.pubkey()), slot.to_bytes(8, "little")], program)
    keys = [Pubkey.from_string(one) for one in (spender, wallet.account)]
    metas = [
        AccountMeta(table, False, True),
        AccountMeta(lab.payer.pubkey(), True, False),
        AccountMeta(lab.payer.pubkey(), True, True),
        AccountMeta(Pubkey.from_string("11111111111111111111111111111111"), False, False),
    ]
    created = Instruction(program, bytes(4) + slot.to_bytes(8, "little") + bytes([bump]), metas)
    listed = (2).to_bytes(4, "little") + len(keys).to_bytes(8, "little") + b"".join(map(bytes, keys))
    await lab.submit([created, Instruction(program, listed, metas)], lab.payer)
    await asyncio.sleep(0.2)
    sent = await lab.submit(
        [approve(wallet, spender, 3)], wallet.key, tables=[AddressLookupTableAccount(key=table, addresses=keys)]
    )
    claim = lab.claim(sent, wallet, spender, 3)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    assert "address tables" in finding(check, "approval").message

    def without(answer: Any) -> Any:
        answer["meta"]["loadedAddresses"] = None
        return answer

    def fewer(answer: Any) -> Any:
        answer["meta"]["loadedAddresses"]["readonly"] = []
        return answer

    check = await lab.check(claim, getTransaction=without)
    assert (verdict(check), finding(check, "approval").verdict) == ("UNDETERMINED", "UNDETERMINED")
    with pytest.raises(ContradictionError, match="address tables"):
        await lab.check(claim, getTransaction=fewer)


async def test_an_approval_that_a_program_gave_for_its_own_address_is_labelled_as_the_nodes_word(
    lab: SolanaLab,
) -> None:
    vault, _bump = Pubkey.find_program_address([b"vault"], MEMO)
    wallet, spender = await lab.wallet(owner=vault), new_spender()
    step = build_approve(TOKEN_PROGRAM, wallet.account, spender, str(vault), 5)
    named = mention(wallet.account, spender, str(vault), TOKEN_PROGRAM)
    sent = await lab.submit([memo(lab.payer), named], lab.payer)
    claim = lab.claim(sent, wallet, spender, 5, owner=str(vault))
    check = await lab.check(claim, getTransaction=calls(sent, 0, step))
    assert finding(check, "owner").verdict == "VERIFIED"
    assert "no signature shows it" in finding(check, "owner").message
    assert (verdict(check), finding(check, "approval").verdict) == ("UNDETERMINED", "UNDETERMINED")


async def test_a_transaction_that_approves_nothing_is_refuted(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([lab.take(wallet, wallet.address, 1), mention(wallet.account)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    check = await lab.check(claim)
    assert (refuted(check), check.method, check.state) == (["approval"], None, None)
    empty = await lab.sign([], wallet.key)
    check = await lab.check(replace(claim, transaction=empty.signature), **serves(empty, 1))
    assert refuted(check) == ["approval"]
    # An instruction that a newer token program may know leaves it open.
    newer = Instruction(TOKEN_PROGRAM_ID, bytes([200]), [AccountMeta(Pubkey.from_string(wallet.account), False, True)])
    check = await lab.check(claim, getTransaction=calls(sent, 1, newer))
    assert verdict(check) == "UNDETERMINED"
    assert "upgrade" in finding(check, "approval").message
    sent = await lab.submit([approve(wallet, spender, 5), mention(spender)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5), getTransaction=calls(sent, 1, newer))
    assert (verdict(check), finding(check, "approval").verdict) == ("UNDETERMINED", "UNDETERMINED")


async def test_what_is_no_mint_or_of_the_other_program_is_refuted_as_the_token(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    for address in (wallet.account, new_spender()):
        check = await lab.check(replace(claim, token=Token("USDC", address, 6)))
        assert refuted(check) == ["token", "mint"]

    def moved(answer: Any) -> Any:
        answer["value"][0]["owner"] = TOKEN_2022_PROGRAM
        return answer

    assert refuted(await lab.check(claim, getMultipleAccounts=moved)) == ["token"]


# What a node that does not know, does not say, or lies can and cannot do.


async def test_another_genesis_hash_is_another_chain(lab: SolanaLab) -> None:
    with pytest.raises(WrongChainError):
        await get_head(SOLANA, lab.rpc, "latest")


async def test_the_head_is_a_confirmed_or_final_slot_or_a_slot_not_before_a_number(lab: SolanaLab) -> None:
    latest = await get_head(lab.chain, lab.rpc, "latest")
    final = await get_head(lab.chain, lab.rpc, "finalized")
    assert final.number < latest.number <= (await get_head(lab.chain, lab.rpc, "safe")).number
    assert latest.hash == final.hash == ""
    assert await get_head(lab.chain, lab.rpc, str(final.number)) == final
    with pytest.raises(NodeError, match="behind"):
        await get_head(lab.chain, lab.rpc, str(latest.number + 1_000_000))
    for nonsense in ("", "newest", "-1", "0x10", "1.5", "٣", "9" * 30, str(2**64)):
        with pytest.raises(InputError):
            await get_head(lab.chain, lab.rpc, nonsense)


async def test_what_cannot_be_a_claim_is_refused_without_asking(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key)
    claim = lab.claim(signed, wallet, spender, 1)
    asked = lab.rpc.calls
    for wrong in (
        replace(claim, transaction="0x" + "ab" * 32),
        replace(claim, transaction=claim.transaction[:-8]),
        replace(claim, transaction="1" * 5000),
        replace(claim, transaction=wallet.address),
        replace(claim, owner="nobody"),
        replace(claim, spender=""),
        replace(claim, token=Token("USDC", "0x" + "11" * 20, 6)),
        replace(claim, token=replace(lab.token, decimals=10**9)),
        replace(claim, amount=2**64),
        replace(claim, amount=-1),
    ):
        with pytest.raises(InputError):
            await check_approval(wrong, lab.rpc, Block(0, ""))
    assert lab.rpc.calls == asked


async def test_a_transaction_that_is_not_there_is_undetermined_and_never_refuted(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key)
    claim = lab.claim(signed, wallet, spender, 1)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("UNDETERMINED", None)
    assert "no failure" in finding(check, "transaction").message
    check = await lab.check(replace(claim, raw=signed.raw))
    assert (verdict(check), check.state) == ("UNDETERMINED", "pending")
    assert "still land" in finding(check, "transaction").message
    for other in ("!", "AAAA", (await lab.sign([approve(wallet, spender, 2)], wallet.key)).raw):
        check = await lab.check(replace(claim, raw=other))
        assert (verdict(check), check.state) == ("UNDETERMINED", None)
    elsewhere = await lab.submit([revoke(wallet)], wallet.key)
    held = (await lab.rpc.request("getSignatureStatuses", [[elsewhere.signature]]))["value"][0]["slot"]
    check = await lab.check(replace(claim, raw=signed.raw, block=Block(held, "")))
    assert (verdict(check), check.state) == ("UNDETERMINED", "reorganised")
    check = await lab.check(replace(claim, raw=signed.raw, block=Block(10**9, "")))
    assert (verdict(check), check.state) == ("UNDETERMINED", None)
    assert "behind" in finding(check, "transaction").message


async def test_what_cannot_be_asked_of_a_missing_transaction_is_said(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key)
    claim = lab.claim(signed, wallet, spender, 1, raw=signed.raw, block=Block(1, ""))
    raw = b64decode(signed.raw)
    newer = b64encode(raw[:65] + b"\x81" + raw[66:]).decode()
    for asked, lies, words in (
        (claim, {"getSignatureStatuses": lambda _: Refusal(-32000)}, "could not be found out"),
        (claim, {"getBlock": lambda _: Refusal(-32009)}, "cannot be had"),
        (claim, {"getBlock": lambda _: None}, "cannot be had"),
        (replace(claim, block=None), {"isBlockhashValid": lambda _: {"value": 1}}, "form"),
        (replace(claim, raw=newer), {}, "upgrade"),
    ):
        check = await lab.check(asked, **lies)
        assert verdict(check) == "UNDETERMINED"
        assert words in finding(check, "transaction").message


async def test_a_transaction_whose_blockhash_is_not_valid_any_more_was_dropped(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    signed = await lab.sign([approve(wallet, spender, 1)], wallet.key, blockhash=Hash.new_unique())
    check = await lab.check(lab.claim(signed, wallet, spender, 1, raw=signed.raw))
    assert (verdict(check), check.state) == ("UNDETERMINED", "dropped")
    assert "not proved" in finding(check, "transaction").message


async def test_a_transaction_that_only_one_node_has_executed_is_pending(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 1)], wallet.key)

    def processed(answer: Any) -> Any:
        answer["value"][0]["confirmationStatus"] = "processed"
        return answer

    check = await lab.check(
        lab.claim(sent, wallet, spender, 1), getTransaction=lambda _: None, getSignatureStatuses=processed
    )
    assert (verdict(check), check.state, check.finality) == ("UNDETERMINED", "pending", "processed")


@pytest.fixture(scope="module")
async def spent(lab: SolanaLab) -> tuple[Any, list[Any]]:
    """A claim of an approval that was spent out, whose check asks every question there is, and its transcript."""
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 10)], wallet.key)
    await lab.spend(wallet, spender, 10)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 10)
    recorder = RecordingRpc(LyingRpc(lab.rpc, {}))
    head = await get_head(lab.chain, recorder, "latest")
    await check_approval(claim, recorder, head)
    return (claim, head), recorder.exchanges


@pytest.mark.parametrize(
    ("method", "rule", "outcome"),
    [
        ("getTransaction", "transaction", "UNDETERMINED"),
        ("getSignatureStatuses", "state", "VERIFIED"),
        ("getMultipleAccounts", "mint", "UNDETERMINED"),
        ("getSignaturesForAddress", "state", "UNDETERMINED"),
    ],
)
async def test_a_question_that_is_refused_or_answered_with_nonsense_refutes_nothing(
    lab: SolanaLab, spent: Any, method: str, rule: str, outcome: str
) -> None:
    (claim, _head), _ = spent
    for lie in (Refusal(-32000), Refusal(-32016), "nonsense", [], {"value": [1, 2]}, {"context": {"slot": -1}}):
        check = await lab.check(claim, **{method: lambda _, lie=lie: lie})
        assert finding(check, rule).verdict == outcome
        assert verdict(check) == outcome
    if method == "getSignaturesForAddress":
        assert check.state is None
        assert check.amounts.remaining == 0


async def test_a_history_that_does_not_explain_the_account_is_said_not_to(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent
    failures = [{"signature": claim.transaction, "err": "AccountInUse"}] * 25
    for listed, words in (([], "do not explain"), (failures, "do not reach back")):
        check = await lab.check(claim, getSignaturesForAddress=lambda _, listed=listed: listed)
        assert (verdict(check), check.state) == ("UNDETERMINED", None)
        assert words in finding(check, "state").message
    wallet, spender = await lab.wallet(), Keypair()
    sent = await lab.submit([approve(wallet, str(spender.pubkey()), 10)], wallet.key)
    newest = await lab.spend(wallet, spender, 3)
    claim = lab.claim(sent, wallet, str(spender.pubkey()), 10)
    check = await lab.check(claim, getSignaturesForAddress=lambda _: [])
    # Less is left than was approved, so the claim stands: what is unknown is only how it came.
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "reduced", 7)
    assert "is not known" in finding(check, "state").message
    newer = Instruction(TOKEN_PROGRAM_ID, bytes([200]), [AccountMeta(Pubkey.from_string(wallet.account), False, True)])
    for lie in (calls(newest, 0, newer), None):
        told: list[Any] = []

        def failed(answer: Any, told: list[Any] = told) -> Any:
            told.append(answer)
            return answer if len(told) == 1 else answer | {"meta": answer["meta"] | {"err": "AccountInUse"}}

        check = await lab.check(claim, getTransaction=lie or failed)
        assert (check.state, check.amounts.remaining) == ("reduced", 7)
        assert "could not be read" in finding(check, "state").message


async def test_account_bytes_that_are_none_are_not_taken_for_an_account(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent

    def cut(answer: Any) -> Any:
        data = b64decode(answer["value"][2]["data"][0])
        answer["value"][2]["data"][0] = b64encode(data[:-1]).decode()
        return answer

    check = await lab.check(claim, getMultipleAccounts=cut)
    assert (verdict(check), check.state) == ("UNDETERMINED", None)
    assert finding(check, "state").verdict == "UNDETERMINED"


async def test_a_node_that_is_behind_the_transaction_cannot_say_what_became_of_it(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent

    def old(answer: Any) -> Any:
        answer["context"]["slot"] = 1
        return answer

    check = await lab.check(claim, getMultipleAccounts=old)
    assert (verdict(check), check.state) == ("UNDETERMINED", None)
    assert "behind" in finding(check, "state").message


async def test_a_node_that_does_not_say_whether_it_succeeded_leaves_it_open(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent
    check = await lab.check(claim, getTransaction=lambda answer: answer | {"meta": None})
    assert (verdict(check), finding(check, "status").verdict) == ("UNDETERMINED", "UNDETERMINED")


async def test_a14_bytes_that_the_owner_never_signed_reject_the_node(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent
    for position in (0, 1, 40, 70, 100, -1):

        def flipped(answer: Any, position: int = position) -> Any:
            raw = bytearray(b64decode(answer["transaction"][0]))
            raw[position] ^= 1
            return answer | {"transaction": [b64encode(raw).decode(), "base64"]}

        with pytest.raises(ContradictionError, match="never signed"):
            await lab.check(claim, getTransaction=flipped)

    def longer(answer: Any) -> Any:
        raw = b64decode(answer["transaction"][0]) + b"\0"
        return answer | {"transaction": [b64encode(raw).decode(), "base64"]}

    with pytest.raises(ContradictionError, match="never signed"):
        await lab.check(claim, getTransaction=longer)


async def test_a_node_that_contradicts_itself_about_slot_or_status_is_rejected(lab: SolanaLab, spent: Any) -> None:
    (claim, _head), _ = spent

    def elsewhere(answer: Any) -> Any:
        answer["value"][0]["slot"] += 1
        return answer

    def failed(answer: Any) -> Any:
        answer["value"][0]["err"] = "AccountInUse"
        return answer

    for lie in (elsewhere, failed):
        with pytest.raises(ContradictionError, match="two slots, or that it failed"):
            await lab.check(claim, getSignatureStatuses=lie)


async def test_a_transcript_that_ends_early_is_a_node_that_did_not_answer(spent: Any) -> None:
    (claim, head), exchanges = spent
    asked = [one for one in exchanges if one.method not in ("getGenesisHash", "getSlot")]
    for kept in range(len(asked)):
        with pytest.raises(NodeUnreachableError):
            run_offline(check_approval(claim, ReplayRpc(asked[:kept]), head))
    assert run_offline(check_approval(claim, ReplayRpc(asked), head)).state == "reduced"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.decimals(allow_nan=False).map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_answer_at_all_brings_a_check_down(spent: Any, data: st.DataObject) -> None:
    (claim, head), exchanges = spent
    asked = [one for one in exchanges if one.method not in ("getGenesisHash", "getSlot")]
    told = [(one.method, json.loads(str(one.body))["result"]) for one in asked]
    lied = data.draw(st.integers(0, len(told) - 1))
    queue: dict[str, list[Any]] = {}
    for index, (method, answer) in enumerate(told):
        queue.setdefault(method, []).append(_with_a_lie(answer, data) if index == lied else answer)
    rpc = LyingRpc(None, {name: lambda _, left=queue[name]: left.pop(0) if left else None for name in queue})
    try:
        check = run_offline(check_approval(claim, rpc, head))
    except ChainError:
        return
    assert verdict(check) in ("VERIFIED", "REFUTED", "UNDETERMINED")


def _with_a_lie(value: Any, data: st.DataObject) -> Any:
    """Return an answer with something else in one place of it."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        return value | {key: _with_a_lie(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        index = data.draw(st.integers(0, len(value) - 1))
        return [*value[:index], _with_a_lie(value[index], data), *value[index + 1 :]]
    return data.draw(_JSON)
