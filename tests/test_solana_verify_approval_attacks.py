"""The attacks of `tests/ATTACKS.md` in their Solana forms, each with its required outcome.

They run on a real chain with the token programs of the main network (`batch` included). What a real chain cannot be
brought to do, a program that calls Approve, or a look-alike program that succeeds, is told by a node that lies.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from solana_lab import (
    HELD,
    MEMO,
    UNIT,
    Refusal,
    Signed,
    SolanaLab,
    approve,
    batch,
    calls,
    finding,
    give_away,
    memo,
    mention,
    new_spender,
    open_lab,
    refuted,
    revoke,
    serves,
    still_active,
    verdict,
)
from solders.hash import Hash
from solders.instruction import AccountMeta, CompiledInstruction, Instruction
from solders.keypair import Keypair
from solders.message import MessageAddressTableLookup, MessageHeader, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import AdvanceNonceAccountParams, advance_nonce_account, create_nonce_account
from solders.transaction import VersionedTransaction
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from chains.claims import NODES_WORD, Amounts
from chains.errors import ContradictionError, WrongChainError
from chains.family import get_head
from chains.networks.solana import SOLANA_DEVNET
from chains.solana.addresses import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from delegation.sandbox import Sandbox


@pytest.fixture(scope="module")
async def lab(sandbox: Sandbox) -> AsyncIterator[SolanaLab]:
    async with open_lab(sandbox) as lab:
        yield lab


async def test_a1_a_failed_transaction_with_a_perfect_instruction_is_refuted(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    await lab.freeze(wallet)
    signed = await lab.sign([approve(wallet, spender, 5)], wallet.key)
    await lab.send(signed, fails=True)
    check = await lab.check(lab.claim(signed, wallet, spender, 5))
    assert refuted(check) == ["status"]
    assert "AccountFrozen" in finding(check, "status").message
    assert finding(check, "status").found == '{"InstructionError":[0,{"Custom":17}]}'


async def test_a2_a_signature_of_another_chain_is_not_looked_up_on_this_one(lab: SolanaLab) -> None:
    with pytest.raises(WrongChainError):
        await get_head(SOLANA_DEVNET, lab.rpc, "latest")


async def test_a3_an_approval_of_another_mint_is_refuted_whatever_its_name(lab: SolanaLab) -> None:
    fake = await lab.new_token()
    wallet, spender = await lab.wallet(fake), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5))
    assert refuted(check) == ["token"]
    assert finding(check, "token").found == fake.address
    assert check.state is None
    assert check.amounts == Amounts(authorised=5)


async def test_a4_a_spender_with_the_same_first_and_last_characters_is_refuted(lab: SolanaLab) -> None:
    wallet, claimed = await lab.wallet(), new_spender()
    ends = (claimed[:20], claimed[21:])
    twin = next(
        text
        for text in (f"{ends[0]}{middle}{ends[1]}" for middle in "23456789ABCDEFGH")
        if text != claimed and len(bytes(Pubkey.from_string(text))) == 32
    )
    sent = await lab.submit([approve(wallet, twin, 5)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, claimed, 5))
    assert refuted(check) == ["spender"]
    assert (finding(check, "spender").expected, finding(check, "spender").found) == (claimed, twin)


@pytest.mark.parametrize("nested", [False, True], ids=["top-level", "batch"])
async def test_a6_an_approval_of_zero_after_the_claimed_one_wins(lab: SolanaLab, nested: bool) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    steps = [approve(wallet, spender, 5000 * UNIT), approve(wallet, spender, 0)]
    sent = await lab.submit([batch(*steps)] if nested else steps, wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5000 * UNIT))
    assert refuted(check) == ["approval", "amount"]
    assert "last effective one wins" in finding(check, "approval").message
    assert (check.state, check.amounts.authorised, check.amounts.remaining) == ("revoked", 0, 0)


async def test_a7_an_approval_is_active_until_it_is_revoked(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    taken = await lab.submit([revoke(wallet)], wallet.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "revoked")
    assert check.amounts == Amounts(5, 0, HELD, 0)
    assert f"Revoke in {taken.signature}" in finding(check, "state").message
    assert check.exhibits["since"]["raw"] == taken.raw
    # What has happened since then to this account and others does not hide it.
    other = await lab.wallet()
    await lab.submit(
        [memo(wallet.key), approve(other, spender, 9), lab.take(wallet, wallet.address, 1)], wallet.key, other.key
    )
    check = await lab.check(claim)
    assert (check.state, check.exhibits["since"]["raw"]) == ("revoked", taken.raw)


async def test_a8_an_approval_by_somebody_else_is_refuted(lab: SolanaLab) -> None:
    mine, theirs, spender = await lab.wallet(), await lab.wallet(), new_spender()
    sent = await lab.submit([approve(theirs, spender, 5)], theirs.key)
    check = await lab.check(lab.claim(sent, mine, spender, 5))
    assert refuted(check) == ["owner"]
    assert finding(check, "owner").found == theirs.address
    assert check.state is None
    # To have paid for it is not to have given it.
    sent = await lab.submit([approve(theirs, spender, 5)], mine.key, theirs.key)
    assert refuted(await lab.check(lab.claim(sent, mine, spender, 5))) == ["owner"]


async def test_a10_whole_units_in_the_place_of_base_units_are_refuted_and_shown_in_both(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5000)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5000 * UNIT))
    assert refuted(check) == ["amount"]
    said = finding(check, "amount").message
    assert "0.005 USDC (5000 base units)" in said
    assert "5000 USDC (5000000000 base units)" in said
    assert "Whole tokens were taken for base units" in said


async def test_a11_a_token_taken_to_have_other_decimals_is_refuted(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5, token=replace(lab.token, decimals=9)))
    assert refuted(check) == ["decimals"]


@pytest.mark.parametrize("form", ["top-level", "batch", "inner"])
async def test_a34_an_approval_of_another_delegate_after_the_good_one_wins(lab: SolanaLab, form: str) -> None:
    wallet, spender, thief = await lab.wallet(), new_spender(), new_spender()
    good, bad = approve(wallet, spender, 5), approve(wallet, thief, 5)
    lies: dict[str, Any] = {}
    if form == "inner":
        sent = await lab.submit([good, memo(wallet.key), mention(thief)], wallet.key)
        lies["getTransaction"] = calls(sent, 1, bad)
    else:
        sent = await lab.submit([batch(good, bad)] if form == "batch" else [good, bad], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5), **lies)
    assert refuted(check) == ["approval", "spender"]
    assert finding(check, "spender").found == thief
    assert (check.state, check.via) == ("replaced", form)
    await lab.submit([revoke(wallet)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5), **lies)
    assert (refuted(check), check.state) == (["approval", "spender"], "replaced")


async def test_a34_a_good_approval_inside_a_batch_is_found(lab: SolanaLab) -> None:
    for program, program_id in ((TOKEN_PROGRAM, TOKEN_PROGRAM_ID), (TOKEN_2022_PROGRAM, TOKEN_2022_PROGRAM_ID)):
        token = lab.token if program == TOKEN_PROGRAM else await lab.new_token(program=program_id)
        wallet, spender, other = await lab.wallet(token, program_id), new_spender(), new_spender()
        steps = [approve(wallet, other, 9, program=program), approve(wallet, spender, 5, program=program)]
        sent = await lab.submit([memo(wallet.key), batch(*steps)], wallet.key)
        check = await lab.check(lab.claim(sent, wallet, spender, 5, token=token))
        assert (verdict(check), check.state, check.via) == ("VERIFIED", "active", "batch")


async def test_a34_a_revoke_set_authority_or_close_in_the_same_transaction_cancels_the_approval(lab: SolanaLab) -> None:
    for last in ("revoke", "set_owner", "close"):
        wallet, spender = await lab.wallet(), new_spender()
        steps = [approve(wallet, spender, 5)]
        if last == "revoke":
            steps.append(revoke(wallet))
        elif last == "set_owner":
            steps.append(give_away(wallet, new_spender()))
        else:
            steps += [lab.take(wallet, wallet.address, HELD), lab.close(wallet)]
        sent = await lab.submit(steps, wallet.key)
        check = await lab.check(lab.claim(sent, wallet, spender, 5))
        assert "approval" in refuted(check)
        assert finding(check, "approval").found == last
        assert check.state == "revoked"


async def test_a34_an_inner_approval_is_the_nodes_word_whatever_the_account_says_now(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    # What the node says was called is what another transaction did, so that the account confirms it.
    await lab.submit([approve(wallet, spender, 5)], wallet.key)
    signed = await lab.submit([memo(wallet.key), mention(wallet.account, spender, TOKEN_PROGRAM)], wallet.key)
    lie = calls(signed, 0, approve(wallet, spender, 5))
    claim = lab.claim(signed, wallet, spender, 5)
    check = await lab.check(claim, getTransaction=lie)
    assert (verdict(check), check.via, check.state) == ("VERIFIED", "inner", "active")
    assert "the signature does not cover it" in finding(check, "approval").message
    for rule in ("approval", "owner", "spender", "amount"):
        assert finding(check, rule).basis == NODES_WORD
    # What became of it is no part of what the node says was done.
    await lab.submit([revoke(wallet)], wallet.key)
    check = await lab.check(claim, getTransaction=lie)
    assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", "revoked", "REFUTED")


async def test_a34_bytes_after_an_approval_are_ignored_by_the_program_and_said(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    step = approve(wallet, spender, 5)
    longer = Instruction(step.program_id, bytes(step.data) + b"\x01\x02", step.accounts)
    sent = await lab.submit([longer], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5))
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    assert "2 bytes more than the program reads" in finding(check, "approval").message


async def test_a35_the_right_data_for_another_program_is_no_approval(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), Keypair()
    data = bytes(approve(wallet, str(spender.pubkey()), 5 * UNIT).data)
    metas = [AccountMeta(key, True, False) for key in (wallet.key.pubkey(), spender.pubkey(), wallet.key.pubkey())]
    sent = await lab.submit([Instruction(MEMO, data, metas)], wallet.key, spender)
    check = await lab.check(lab.claim(sent, wallet, str(spender.pubkey()), 5 * UNIT))
    assert refuted(check) == ["approval"]
    assert finding(check, "approval").found == str(MEMO)


async def test_a35_a_look_alike_of_the_token_program_is_no_approval(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    alike = TOKEN_PROGRAM[:20] + "2" + TOKEN_PROGRAM[21:]
    assert alike != TOKEN_PROGRAM
    signed = await lab.sign([approve(wallet, spender, 5, program=alike)], wallet.key)
    slot = await lab.rpc.request("getSlot", [{"commitment": "finalized"}])
    check = await lab.check(lab.claim(signed, wallet, spender, 5), **serves(signed, slot))
    assert refuted(check) == ["approval"]
    assert (finding(check, "approval").found, check.state) == (alike, None)


async def test_a35_a_program_from_an_address_table_rejects_the_node(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    keys = [wallet.key.pubkey(), Pubkey.from_string(wallet.account), Pubkey.from_string(spender)]
    data = bytes(approve(wallet, spender, 5).data)
    table = MessageAddressTableLookup(Pubkey.new_unique(), b"", b"\x00")
    message = MessageV0(
        MessageHeader(1, 0, 1), keys, Hash.new_unique(), [CompiledInstruction(3, data, bytes([1, 2, 0]))], [table]
    )
    transaction = VersionedTransaction(message, [wallet.key])
    signed = Signed(str(transaction.signatures[0]), b64encode(bytes(transaction)).decode())
    lies = serves(signed, 1)
    served = lies["getTransaction"](None)
    served["meta"]["loadedAddresses"]["readonly"] = [TOKEN_PROGRAM]
    with pytest.raises(ContradictionError, match="program comes from an address table"):
        await lab.check(lab.claim(signed, wallet, spender, 5), **lies)


async def test_a36_an_account_given_away_since_is_state_and_refutes_no_claim(lab: SolanaLab) -> None:
    wallet, spender, heir = await lab.wallet(), new_spender(), Keypair()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    await lab.submit([give_away(wallet, str(heir.pubkey()))], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    check = await lab.check(claim)
    assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", "revoked", "REFUTED")
    assert str(heir.pubkey()) in finding(check, "state").message
    assert check.amounts == Amounts(5, 0, 0, 0)
    # An approval by the new owner on the old owner's associated account is not the old owner's.
    heirs = replace(wallet, key=heir)
    sent = await lab.submit([approve(heirs, spender, 5)], lab.payer, heir)
    assert refuted(await lab.check(lab.claim(sent, wallet, spender, 5))) == ["owner"]
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "replaced", 0)
    assert (finding(check, "allowance").found, still_active(check)) == ("0", "REFUTED")


async def test_a37_a_frozen_account_is_authorised_and_blocked(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    await lab.freeze(wallet)
    check = await lab.check(lab.claim(sent, wallet, spender, 5))
    assert (verdict(check), check.state, check.blocked) == ("VERIFIED", "active", ("frozen",))
    assert [finding(check, rule).found for rule in ("allowance", "spendable", "blocked")] == ["5", "0", "frozen"]
    assert check.amounts == Amounts(authorised=5, remaining=5, balance=HELD, spendable=0)


async def test_a38_another_service_that_took_the_only_place_is_named(lab: SolanaLab) -> None:
    wallet, spender, other = await lab.wallet(), new_spender(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    claim = lab.claim(sent, wallet, spender, 5)
    await lab.submit([approve(wallet, other, 3)], wallet.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "replaced", 0)
    assert other in finding(check, "state").message
    await lab.submit([revoke(wallet)], wallet.key)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "revoked")
    service = Keypair()
    steps = [approve(wallet, str(service.pubkey()), 3), lab.take(wallet, str(service.pubkey()), 3)]
    await lab.submit(steps, wallet.key, service)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "replaced")
    assert str(service.pubkey()) in finding(check, "state").message


@pytest.mark.parametrize(
    ("name", "initialisation", "size"),
    [
        ("PermanentDelegate", bytes([35]) + bytes(range(32)), 32),
        ("TransferHook", bytes([36, 0]) + bytes(range(64)), 64),
    ],
)
async def test_a39_a_mint_whose_issuer_can_take_tokens_anyway_is_a_warning_with_what_bars_a_spend(
    lab: SolanaLab, name: str, initialisation: bytes, size: int
) -> None:
    token = await lab.new_token(initialisation, size=166 + 4 + size, program=TOKEN_2022_PROGRAM_ID)
    wallet, spender = await lab.wallet(token, TOKEN_2022_PROGRAM_ID), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5, program=TOKEN_2022_PROGRAM)], wallet.key)
    check = await lab.check(lab.claim(sent, wallet, spender, 5, token=token))
    assert (verdict(check), check.state, check.blocked) == ("VERIFIED", "active", (name,))
    warning, barred = finding(check, "mint"), finding(check, "blocked")
    assert (warning.verdict, warning.found, barred.verdict, barred.found) == ("NOTED", name, "NOTED", name)
    assert "WARNING" in warning.message
    assert check.amounts == Amounts(5, 5, HELD, None)
    assert finding(check, "spendable").found == "unknown"


async def test_a40_an_approval_that_lands_after_the_revocation_raises_the_alarm(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    late = await lab.sign([approve(wallet, spender, 7)], wallet.key)
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    taken = await lab.submit([revoke(wallet)], wallet.key)
    granted, revoked = lab.claim(sent, wallet, spender, 5), lab.claim(taken, wallet, spender, 0)
    waiting = lab.claim(late, wallet, spender, 7, raw=late.raw)
    for claim, stands in ((granted, "REFUTED"), (revoked, "VERIFIED")):
        check = await lab.check(claim)
        assert (check.state, still_active(check)) == ("revoked", stands)
    check = await lab.check(waiting)
    assert (verdict(check), check.state) == ("UNDETERMINED", "pending")
    await lab.send(late)
    check = await lab.check(revoked)
    assert (verdict(check), check.state, check.amounts.remaining) == ("VERIFIED", "exceeds", 7)
    assert still_active(check) == "REFUTED"
    check = await lab.check(granted)
    assert (check.state, still_active(check)) == ("exceeds", "REFUTED")
    check = await lab.check(waiting)
    assert (verdict(check), check.state) == ("VERIFIED", "active")


async def test_a41_an_approval_with_a_durable_nonce_is_flagged_whenever_it_was_signed(lab: SolanaLab) -> None:
    wallet, spender, nonce = await lab.wallet(), new_spender(), Keypair()
    rent = await lab.rpc.request("getMinimumBalanceForRentExemption", [80])
    made = create_nonce_account(wallet.key.pubkey(), nonce.pubkey(), wallet.key.pubkey(), rent)
    await lab.submit(list(made), wallet.key, nonce)
    account = await lab.rpc.request("getAccountInfo", [str(nonce.pubkey()), {"encoding": "base64"}])
    stored = Hash.from_bytes(b64decode(account["value"]["data"][0])[40:72])
    advance = advance_nonce_account(
        AdvanceNonceAccountParams(nonce_pubkey=nonce.pubkey(), authorized_pubkey=wallet.key.pubkey())
    )
    signed, other = [
        await lab.sign([advance, approve(wallet, spender, amount)], wallet.key, blockhash=stored) for amount in (5, 6)
    ]
    claim, lost = (lab.claim(one, wallet, spender, 5, raw=one.raw) for one in (signed, other))
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("UNDETERMINED", "pending")
    assert "any time" in finding(check, "transaction").message
    await lab.send(signed)
    check = await lab.check(claim)
    assert (verdict(check), check.state) == ("VERIFIED", "active")
    flagged = finding(check, "durable-nonce")
    assert (flagged.verdict, flagged.found) == ("NOTED", str(nonce.pubkey()))
    assert "WARNING" in finding(check, "durable-nonce").message
    check = await lab.check(lost)
    assert (verdict(check), check.state) == ("UNDETERMINED", "dropped")


async def test_a42_a_newer_transaction_version_is_undetermined_and_says_upgrade(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    raw = b64decode(sent.raw)

    def serve(data: bytes) -> Any:
        return lambda answer: answer | {"transaction": [b64encode(data).decode(), "base64"]}

    newer = raw[:65] + b"\x81" + raw[66:]
    for lie in (lambda _: Refusal(-32015), serve(newer), serve(raw[65:66].replace(b"\x80", b"\x81") + raw)):
        check = await lab.check(lab.claim(sent, wallet, spender, 5), getTransaction=lie)
        assert (verdict(check), check.state) == ("UNDETERMINED", None)
        assert "upgrade" in finding(check, "transaction").message


async def test_a42_a_later_transaction_of_a_newer_version_leaves_the_state_open(lab: SolanaLab) -> None:
    wallet, spender = await lab.wallet(), new_spender()
    sent = await lab.submit([approve(wallet, spender, 5)], wallet.key)
    await lab.submit([revoke(wallet)], wallet.key)
    told: list[Any] = []

    def lie(answer: Any) -> Any:
        told.append(answer)
        return answer if len(told) == 1 else Refusal(-32015)

    check = await lab.check(lab.claim(sent, wallet, spender, 5), getTransaction=lie)
    assert (verdict(check), check.state, still_active(check)) == ("VERIFIED", None, "REFUTED")
    assert "upgrade" in finding(check, "state").message
