"""Every instruction of a transaction, taken apart: top-level, inner and batched, and what it does to a delegate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.instruction import CompiledInstruction
from solders.message import Message, MessageAddressTableLookup, MessageHeader, MessageV0
from solders.pubkey import Pubkey

from chains.errors import ChainError, ContradictionError, NodeError, SignatureMismatchError
from chains.solana.addresses import ASSOCIATED_TOKEN_PROGRAM, COMPUTE_BUDGET_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from chains.solana.answers import base58_bytes
from chains.solana.verify.inclusion import has_known_version, verify_transaction
from chains.solana.verify.instructions import (
    Call,
    Holding,
    Outcome,
    TokenCall,
    find_outcomes,
    needs_no_node,
    read_holdings,
    read_token_call,
    resolve_keys,
    take_apart,
    walk,
)

SOURCE, OTHER, OWNER, SPENDER, THIEF, MINT, TREASURY, ANY_PROGRAM = (
    str(Pubkey(bytes([number]) * 32)) for number in range(1, 9)
)
APPROVE = bytes([4]) + (5).to_bytes(8, "little")
CHECKED = bytes([13]) + (5).to_bytes(8, "little") + bytes([6])


def call(data: bytes, *accounts: str, program: str = TOKEN_PROGRAM) -> Call:
    return Call(program, accounts, data)


def approve(amount: int = 5, delegate: str = SPENDER, source: str = SOURCE) -> Call:
    return call(bytes([4]) + amount.to_bytes(8, "little"), source, delegate, OWNER)


def transfer(amount: int, authority: str, to: str = TREASURY) -> Call:
    return call(bytes([3]) + amount.to_bytes(8, "little"), SOURCE, to, authority)


def batch(*parts: Call, program: str = TOKEN_PROGRAM) -> Call:
    data = b"".join(bytes([len(one.accounts), len(one.data)]) + one.data for one in parts)
    return Call(program, tuple(account for one in parts for account in one.accounts), bytes([255]) + data)


def message(*calls: Call, loaded: int = 0) -> MessageV0:
    """Return a message of these calls; its last `loaded` keys come from an address table, read-only."""
    named = list(dict.fromkeys([OWNER, *(key for one in calls for key in (*one.accounts, one.program))]))
    compiled = [
        CompiledInstruction(named.index(one.program), one.data, bytes(map(named.index, one.accounts))) for one in calls
    ]
    tables = [MessageAddressTableLookup(Pubkey.default(), b"", bytes(loaded))] if loaded else []
    keys = [Pubkey.from_string(key) for key in named[: len(named) - loaded]]
    return MessageV0(MessageHeader(1, 0, 0), keys, Hash.default(), compiled, tables)


def only(calls: list[Call]) -> Outcome:
    [outcome] = find_outcomes(calls).values()
    return outcome


def test_approve_and_approve_checked_are_read_from_their_bytes() -> None:
    assert read_token_call(approve()) == TokenCall(
        "approve", TOKEN_PROGRAM, "top-level", SOURCE, OWNER, delegate=SPENDER, amount=5
    )
    assert read_token_call(call(CHECKED, SOURCE, MINT, SPENDER, OWNER, program=TOKEN_2022_PROGRAM)) == TokenCall(
        "approve_checked",
        TOKEN_2022_PROGRAM,
        "top-level",
        SOURCE,
        OWNER,
        delegate=SPENDER,
        amount=5,
        mint=MINT,
        decimals=6,
    )


@pytest.mark.parametrize(
    ("data", "accounts", "kind"),
    [
        (bytes([5]), 2, "revoke"),
        (bytes([6, 2, 1]) + bytes(32), 2, "set_owner"),
        (bytes([9]), 3, "close"),
        (bytes([3]) + bytes(8), 3, "spend"),
        (bytes([8]) + bytes(8), 3, "spend"),
        (bytes([12]) + bytes(9), 4, "spend"),
        (bytes([15]) + bytes(9), 3, "spend"),
        (bytes([4]) + bytes(7), 3, "unknown"),
        (bytes([4]) + bytes(8), 2, "unknown"),
        (bytes([13]) + bytes(8), 4, "unknown"),
        (bytes([6, 2, 1]) + bytes(31), 2, "unknown"),
        (bytes([26, 1]), 4, "unknown"),
        (bytes([46, 1]), 4, "unknown"),
        (bytes([47]), 4, "unknown"),
        (bytes([254]), 1, "unknown"),
        (b"", 1, "unknown"),
    ],
)
def test_what_can_change_a_delegate_has_a_kind_and_what_is_not_known_is_unknown(
    data: bytes, accounts: int, kind: str
) -> None:
    names = (SOURCE, OTHER, SPENDER, OWNER)[:accounts]
    for program in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        done = read_token_call(Call(program, names, data))
        assert done is not None
        assert done.kind == kind


@pytest.mark.parametrize("data", [bytes([6, 3, 0]), bytes([6, 0, 0]), bytes([7]) + bytes(8), bytes([10]), bytes([17])])
def test_instructions_that_leave_delegates_alone_are_passed_over(data: bytes) -> None:
    assert read_token_call(call(data, SOURCE, OTHER, OWNER)) is None


def test_a35_the_data_of_an_approval_for_another_program_is_nothing() -> None:
    assert read_token_call(call(APPROVE, SOURCE, SPENDER, OWNER, program=ANY_PROGRAM)) is None


def test_bytes_that_the_program_ignores_are_counted_and_multisig_signers_kept() -> None:
    done = read_token_call(call(APPROVE + b"\1\2\3", SOURCE, SPENDER, OWNER, OTHER, THIEF))
    assert done is not None
    assert (done.surplus, done.amount, done.signers) == (3, 5, (OTHER, THIEF))


def test_a_batch_is_taken_apart_with_its_accounts_in_order() -> None:
    whole = batch(approve(), call(bytes([5]), SOURCE, OWNER))
    extra = replace(whole, accounts=(*whole.accounts, THIEF))
    for one in (whole, extra):
        first, second = take_apart(one)
        assert (first.accounts, first.data, first.via) == ((SOURCE, SPENDER, OWNER), APPROVE, "batch")
        assert (second.accounts, second.data) == ((SOURCE, OWNER), bytes([5]))
    assert [part.via for part in take_apart(replace(whole, via="inner"))] == ["inner", "inner"]
    assert list(take_apart(replace(whole, program=ANY_PROGRAM))) == [replace(whole, program=ANY_PROGRAM)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes([3]),
        bytes([3, 0]),
        bytes([3, 10]) + APPROVE,
        bytes([4, 9]) + APPROVE,
        bytes([3, 9]) + APPROVE + b"\1",
        bytes([0, 11, 255, 0, 9]) + APPROVE,
    ],
    ids=["empty", "half-a-header", "no-data", "too-short", "too-few-accounts", "rest", "nested"],
)
def test_a_batch_that_no_token_program_accepts_is_unknown_as_a_whole(data: bytes) -> None:
    whole = Call(TOKEN_PROGRAM, (SOURCE, SPENDER, OWNER), bytes([255]) + data)
    assert list(take_apart(whole)) == [whole]
    done = read_token_call(whole)
    assert done is not None
    assert done.kind == "unknown"


def test_a34_the_last_effective_instruction_on_an_account_wins() -> None:
    cases: list[tuple[list[Call], str, int]] = [
        ([approve(5), approve(7)], "approve", 7),
        ([approve(5), approve(5, THIEF)], "approve", 5),
        ([approve(5), call(bytes([5]), SOURCE, OWNER)], "revoke", 0),
        ([approve(5), call(bytes([6, 2, 1]) + bytes(32), SOURCE, OWNER)], "set_owner", 0),
        ([approve(5), call(bytes([9]), SOURCE, TREASURY, OWNER)], "close", 0),
        ([call(bytes([5]), SOURCE, OWNER), approve(5)], "approve", 5),
        (list(take_apart(batch(approve(5), approve(3)))), "approve", 3),
    ]
    for calls, kind, left in cases:
        outcome = only(calls)
        assert (outcome.last.kind, outcome.left) == (kind, left)
        assert (outcome.approval is None) is (kind != "approve")
    assert only(cases[1][0]).last.delegate == THIEF
    assert len(only(cases[0][0]).approvals) == 2


def test_accounts_are_kept_apart() -> None:
    found = find_outcomes([approve(5), approve(7, source=OTHER), call(bytes([5]), SOURCE, OWNER)])
    assert {source: outcome.left for source, outcome in found.items()} == {SOURCE: 0, OTHER: 7}


def test_only_what_the_delegate_takes_reduces_the_allowance() -> None:
    burn = call(bytes([8]) + (1).to_bytes(8, "little"), SOURCE, MINT, SPENDER)
    taken = [transfer(2, SPENDER), burn]
    kept = [transfer(2, OWNER), transfer(2, SPENDER, to=SOURCE), transfer(2, THIEF)]
    assert only([approve(5), *taken]).left == 2
    assert only([approve(5), *kept]).left == 5
    assert find_outcomes(taken + kept) == {}


def test_an_unknown_instruction_after_the_approval_is_kept_in_mind() -> None:
    unknown = call(bytes([200]), TREASURY, SOURCE)
    assert only([approve(), unknown]).unknown is not None
    assert only([unknown, approve()]).unknown is None
    assert only([approve(), unknown, approve()]).unknown is None
    assert only([approve(), call(bytes([200]), TREASURY)]).unknown is None


def test_inner_instructions_come_after_the_one_that_called_them() -> None:
    caller = Call(ANY_PROGRAM, (SOURCE, THIEF, TOKEN_PROGRAM), b"")
    built = message(approve(5), caller, approve(6))
    keys = [str(key) for key in built.account_keys]
    accounts = [keys.index(key) for key in (SOURCE, THIEF, OWNER)]
    inner = {"programIdIndex": keys.index(TOKEN_PROGRAM), "accounts": accounts, "data": "5kqpfdCnhbR"}
    calls = walk(built, {"innerInstructions": [{"index": 1, "instructions": [inner]}]})
    assert [one.via for one in calls] == ["top-level", "top-level", "inner", "top-level"]
    assert calls[2].accounts == (SOURCE, THIEF, OWNER)


def test_without_a_record_of_inner_instructions_only_programs_that_call_nothing_are_believed() -> None:
    created = Call(ASSOCIATED_TOKEN_PROGRAM, (OWNER,), b"\0")
    harmless = message(Call(COMPUTE_BUDGET_PROGRAM, (), b"\2"), created, approve())
    assert len(walk(harmless, {"innerInstructions": None})) == 3
    with pytest.raises(NodeError, match="does not record"):
        walk(message(approve(), Call(ANY_PROGRAM, (), b"")), {"innerInstructions": None})


@pytest.mark.parametrize(
    "inner",
    [
        [{"index": 1, "instructions": []}],
        [{"index": -1, "instructions": []}],
        [{"index": 0, "instructions": []}, {"index": 0, "instructions": []}],
        [{"index": 0, "instructions": [{"programIdIndex": 99, "accounts": [], "data": ""}]}],
        [{"index": 0, "instructions": [{"programIdIndex": 0, "accounts": [-1], "data": ""}]}],
    ],
)
def test_inner_instructions_that_do_not_fit_the_message_reject_the_node(inner: Any) -> None:
    with pytest.raises(ContradictionError):
        walk(message(approve()), {"innerInstructions": inner})


def test_keys_from_address_tables_follow_the_messages_own() -> None:
    built = message(Call(TOKEN_PROGRAM, (), b"\x11"), Call(TOKEN_PROGRAM, (SOURCE, SPENDER), b"\x11"), loaded=2)
    loaded = {"writable": [], "readonly": [SOURCE, SPENDER]}
    assert resolve_keys(built, {"loadedAddresses": loaded}) == [OWNER, TOKEN_PROGRAM, SOURCE, SPENDER]
    assert walk(built, {"loadedAddresses": loaded})[1].accounts == (SOURCE, SPENDER)
    for wrong in ([SOURCE], [SOURCE, SPENDER, OWNER]):
        with pytest.raises(ContradictionError, match="address tables"):
            resolve_keys(built, {"loadedAddresses": {"writable": [], "readonly": wrong}})
    for nonsense in (None, {}, {"writable": [], "readonly": ["x", SOURCE]}, {"writable": [], "readonly": [1, SOURCE]}):
        with pytest.raises(NodeError):
            resolve_keys(built, {"loadedAddresses": nonsense})


def test_a_program_can_not_come_from_an_address_table() -> None:
    built = message(call(APPROVE, SOURCE, SPENDER, OWNER), loaded=1)
    with pytest.raises(ContradictionError, match="program comes from an address table"):
        walk(built, {"loadedAddresses": {"writable": [], "readonly": [TOKEN_PROGRAM]}})


def test_a_legacy_message_has_no_tables_and_is_walked_as_well() -> None:
    compiled = CompiledInstruction(1, APPROVE, bytes([0, 0, 0]))
    keys = [Pubkey.from_string(key) for key in (OWNER, TOKEN_PROGRAM)]
    built = Message.new_with_compiled_instructions(1, 0, 1, keys, Hash.default(), [compiled])
    assert walk(built, {})[0] == call(APPROVE, OWNER, OWNER, OWNER)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1", APPROVE, bytes(range(256))])
def test_base58_is_read_as_solana_writes_it(data: bytes) -> None:
    if len(data) == 256:
        data = data[:64]
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    assert base58_bytes("1" * (len(data) - len(data.lstrip(b"\0"))) + text) == data


@pytest.mark.parametrize("text", ["0", "O", "l", "I", "é", " ", "1" * 15_000])
def test_what_is_no_base58_is_nonsense(text: str) -> None:
    with pytest.raises(NodeError):
        base58_bytes(text)


def test_base58_agrees_with_the_solana_library() -> None:
    for address in (TOKEN_PROGRAM, SOURCE, "1" * 32):
        assert base58_bytes(address) == bytes(Pubkey.from_string(address))


_PROGRAMS = st.sampled_from([TOKEN_PROGRAM, TOKEN_2022_PROGRAM, ANY_PROGRAM])
_KEYS = st.lists(st.sampled_from([SOURCE, OTHER, OWNER, SPENDER, THIEF]), max_size=6).map(tuple)
_DATA = st.binary(max_size=60) | st.tuples(
    st.sampled_from(b"\x03\x04\x05\x06\x08\x09\x0c\x0d\x0f\xff"), st.binary()
).map(lambda pair: bytes([pair[0]]) + pair[1])
_CALLS = st.lists(st.builds(Call, _PROGRAMS, _KEYS, _DATA), max_size=5)


@settings(max_examples=150, deadline=None)
@given(_CALLS)
def test_any_instructions_at_all_have_an_outcome(calls: list[Call]) -> None:
    parts = [part for one in calls for part in take_apart(one)]
    for source, outcome in find_outcomes(parts).items():
        assert outcome.source == source == outcome.last.source
        assert 0 <= outcome.left <= outcome.last.amount < 2**64
    for one in calls:
        assert b"".join(part.data for part in take_apart(one)) in (one.data, _without_headers(one))


def test_a_message_needs_no_node_unless_it_loads_keys_or_calls_what_could_approve() -> None:
    harmless = Call(COMPUTE_BUDGET_PROGRAM, (), b"\x02" + bytes(4))
    assert needs_no_node(message(harmless, approve(), batch(approve())))
    assert not needs_no_node(message(approve(), Call(ANY_PROGRAM, (SOURCE,), b"")))
    assert not needs_no_node(message(approve(), Call(TOKEN_PROGRAM, (TREASURY,), b"\x11"), loaded=1))


def balance(position: object, mint: object = MINT, decimals: object = 6) -> dict[str, Any]:
    return {"accountIndex": position, "mint": mint, "uiTokenAmount": {"decimals": decimals, "amount": "0"}}


def test_the_mint_of_an_account_in_a_transaction_is_what_the_node_recorded_of_it() -> None:
    built = message(approve())
    keys = [str(key) for key in built.account_keys]
    at = keys.index(SOURCE)
    held = Holding(MINT, 6)
    for meta, found in (
        ({}, {}),
        ({"preTokenBalances": None, "postTokenBalances": "none"}, {}),
        ({"preTokenBalances": [balance(at)]}, {SOURCE: held}),
        ({"preTokenBalances": [balance(at)], "postTokenBalances": [balance(at)]}, {SOURCE: held}),
        ({"postTokenBalances": [balance(at), balance(0, OTHER, 9)]}, {SOURCE: held, keys[0]: Holding(OTHER, 9)}),
        # Closed and opened again within the transaction: which of the two an instruction was about is not told.
        ({"preTokenBalances": [balance(at)], "postTokenBalances": [balance(at, OTHER)]}, {}),
        # What is no record is none.
        ({"postTokenBalances": [balance(99), balance(-1), balance("1"), balance(True), balance(at, 5), 7]}, {}),
        ({"postTokenBalances": [balance(at, "nobody"), balance(at, MINT, "6"), {}]}, {}),
    ):
        assert read_holdings(built, meta) == found, meta


def _without_headers(one: Call) -> bytes:
    data, out = one.data[1:], b""
    while len(data) >= 2:
        out, data = out + data[2 : 2 + data[1]], data[2 + data[1] :]
    return out


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x01" + bytes(64), b"\x01" + bytes(64) + b"\x80\x01\0\0\x01"]))
def test_no_bytes_at_all_pass_for_a_signed_transaction(data: bytes, start: bytes) -> None:
    raw = start + data
    has_known_version(raw)
    with pytest.raises(SignatureMismatchError):
        verify_transaction(raw, "1" * 64)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 12) | st.text("0123456789abcDEF", max_size=12) | st.just(SOURCE),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["index", "instructions", "programIdIndex", "accounts", "data", "writable", "readonly"]),
            inner,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_JSON, _JSON, st.integers(0, 2))
def test_whatever_a_node_says_of_an_execution_stays_inside_the_error_tree(inner: Any, loaded: Any, tables: int) -> None:
    built = message(
        Call(TOKEN_PROGRAM, (), b"\x11"), approve(), Call(TOKEN_PROGRAM, (TREASURY, THIEF), b""), loaded=tables
    )
    try:
        calls = walk(built, {"innerInstructions": inner, "loadedAddresses": loaded})
    except ChainError:
        return
    assert len(calls) >= 3
    find_outcomes(calls)
