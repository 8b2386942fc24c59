"""Solana bytes: addresses, token accounts, mints, and signed transactions judged by nothing but their bytes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chains.errors import ChainError, InvalidAddressError, InvalidAmountError, SignatureMismatchError, TokenRefusedError
from chains.family import parse_address, transaction_request, verify_signed
from chains.networks.solana import SOLANA, SOLANA_DEVNET
from chains.solana.addresses import (
    NEVER_A_DELEGATE,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
    get_associated_token_address,
)
from chains.solana.approve import build_approve, build_create_token_account, build_revoke
from chains.solana.fees import PRICE_CAP, PRICE_FLOOR, choose_limit, choose_price
from chains.solana.token import decode_mint, decode_token_account
from chains.solana.transactions import (
    attach_signature,
    build_instructions,
    build_message,
    check_message,
    decode_message,
    describe_error,
    parse_wire,
)
from chains.types import AllowanceIntent, ApproveOptions, SignedTransaction, SolanaFee, SolanaTransaction

WALLET = Keypair.from_seed(bytes(range(32)))
OWNER = str(WALLET.pubkey())
USDC = SOLANA.tokens[0]
SPENDER = "DYw8jCTfwHNRJhhmFcbXvVDTqWMEVFBX6ZKUmG5CNSKK"
BLOCKHASH = "9999999999999999999999999999999999999999999"
ATA = get_associated_token_address(OWNER, USDC.address, TOKEN_PROGRAM)
INTENT = AllowanceIntent(USDC, OWNER, SPENDER, 100_500_000)
FEE = SolanaFee(signature_lamports=5000, rent_lamports=0, compute_unit_limit=5000, compute_unit_price=10_000)


def make_unsigned(message: bytes) -> SolanaTransaction:
    return SolanaTransaction(OWNER, b64encode(message).decode(), BLOCKHASH, 1000, FEE)


def make_message(*instructions: Instruction, payer: str = OWNER, blockhash: str = BLOCKHASH) -> bytes:
    return build_message(payer, list(instructions), blockhash, price=10_000, limit=5000)


def make_approval(amount: int = INTENT.amount, *, create: bool = False, intent: AllowanceIntent = INTENT) -> bytes:
    return make_message(*build_instructions(intent, amount, TOKEN_PROGRAM, create=create))


def sign(message: bytes, wallet: Keypair = WALLET) -> SignedTransaction:
    return attach_signature(make_unsigned(message), bytes(wallet.sign_message(message)))


def make_token_account(
    *, delegate: tuple[int, bytes] = (0, bytes(32)), state: int = 1, delegated: int = 0, native: int = 0
) -> bytes:
    tag, key = delegate
    owner_part = bytes(Pubkey.from_string(USDC.address)) + bytes(WALLET.pubkey()) + (7).to_bytes(8, "little")
    native_part = native.to_bytes(4, "little") + bytes(8)
    return (
        owner_part
        + tag.to_bytes(4, "little")
        + key
        + bytes([state])
        + native_part
        + delegated.to_bytes(8, "little")
        + bytes(36)
    )


def make_mint(decimals: int = 6, *, initialised: int = 1) -> bytes:
    return bytes(36) + (10**12).to_bytes(8, "little") + bytes([decimals, initialised]) + bytes(36)


def test_the_chains_are_named_by_the_first_half_of_their_genesis_hash() -> None:
    for chain in (SOLANA, SOLANA_DEVNET):
        assert chain.genesis_hash is not None
        assert chain.caip2 == f"solana:{chain.genesis_hash[:32]}"
        assert [parse_address(chain, token.address) for token in chain.tokens] == [t.address for t in chain.tokens]


def test_an_associated_token_account_is_derived_with_the_program_of_its_mint() -> None:
    owner = "BLw3RweJmfbTapJRgnPRvd962YDjFYAnVHGd1p5hmZ5t"
    found = get_associated_token_address(owner, USDC.address, TOKEN_PROGRAM)
    assert found != get_associated_token_address(owner, USDC.address, TOKEN_2022_PROGRAM)
    assert not Pubkey.from_string(found).is_on_curve()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424",
        "1" * 31,
        "1" * 33,
        f" {SPENDER}",
        f"{SPENDER}\n",
        SPENDER[:-2],
        SPENDER + "1",
        SPENDER.replace("D", "0", 1),
        SPENDER.lower(),
        "z" * 44,
        "é" * 32,
        "\ud800" * 32,
        "1" * 100_000,
    ],
)
def test_a_text_that_is_not_base58_of_32_bytes_is_no_address(text: str) -> None:
    with pytest.raises(InvalidAddressError):
        parse_address(SOLANA, text)


def test_an_evm_address_is_named_as_such() -> None:
    with pytest.raises(InvalidAddressError, match="EVM"):
        parse_address(SOLANA, "0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424")


@given(st.binary(min_size=32, max_size=32))
def test_every_32_bytes_have_one_spelling(key: bytes) -> None:
    text = str(Pubkey.from_bytes(key))
    assert parse_address(SOLANA, text) == text


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_an_invalid_address(text: str) -> None:
    with suppress(InvalidAddressError):
        assert parse_address(SOLANA, text) == text


def test_the_addresses_that_are_never_a_delegate_are_addresses() -> None:
    assert {parse_address(SOLANA, address) for address in NEVER_A_DELEGATE} == NEVER_A_DELEGATE
    assert str(Pubkey.from_bytes(bytes(32))) in NEVER_A_DELEGATE


def test_an_amount_that_does_not_fit_64_bits_is_refused() -> None:
    with pytest.raises(InvalidAmountError):
        build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, 2**64)
    with pytest.raises(InvalidAmountError):
        build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, -1)


def test_a_token_account_is_read_by_its_tags_and_not_by_stale_bytes() -> None:
    stale = decode_token_account(TOKEN_PROGRAM, make_token_account(delegate=(0, bytes(Pubkey.from_string(SPENDER)))))
    assert stale.delegate is None
    held = decode_token_account(
        TOKEN_PROGRAM, make_token_account(delegate=(1, bytes(Pubkey.from_string(SPENDER))), delegated=5)
    )
    assert (held.delegate, held.allowance_of(SPENDER), held.allowance_of(OWNER)) == (SPENDER, 5, 0)
    assert (held.mint, held.owner, held.amount, held.is_frozen) == (USDC.address, OWNER, 7, False)


@pytest.mark.parametrize(
    ("program", "data"),
    [
        (SYSTEM_PROGRAM, make_token_account()),
        (TOKEN_PROGRAM, make_token_account()[:-1]),
        (TOKEN_PROGRAM, make_token_account() + b"\x02"),
        (TOKEN_PROGRAM, make_token_account(state=0)),
        (TOKEN_PROGRAM, make_token_account(state=3)),
        (TOKEN_PROGRAM, make_token_account(delegate=(2, bytes(32)))),
        (TOKEN_PROGRAM, make_token_account(native=2)),
        (TOKEN_2022_PROGRAM, make_token_account() + b"\x01"),
        (TOKEN_2022_PROGRAM, make_token_account() + b"\x02" + bytes(355 - 166)),
    ],
)
def test_bytes_that_are_not_quite_a_token_account_are_refused(program: str, data: bytes) -> None:
    with pytest.raises(ChainError, match="not a token account"):
        decode_token_account(program, data)


def test_a_token_2022_account_with_extensions_is_read() -> None:
    data = make_token_account(state=2) + b"\x02" + bytes([7, 0, 0, 0])
    assert decode_token_account(TOKEN_2022_PROGRAM, data).is_frozen


@pytest.mark.parametrize(
    ("program", "data"),
    [
        (SYSTEM_PROGRAM, make_mint()),
        (TOKEN_PROGRAM, make_mint(initialised=0)),
        (TOKEN_PROGRAM, make_mint() + b"\x00"),
        (TOKEN_PROGRAM, make_token_account()),
        (TOKEN_2022_PROGRAM, make_token_account() + b"\x02"),
        (TOKEN_2022_PROGRAM, make_mint() + bytes(83) + b"\x01" + bytes([18, 0, 64, 0])),
        (TOKEN_2022_PROGRAM, make_mint() + bytes(83) + b"\x01" + bytes([0, 0, 0, 0, 1])),
    ],
)
def test_bytes_that_are_not_quite_a_mint_are_refused(program: str, data: bytes) -> None:
    with pytest.raises(TokenRefusedError, match="not a mint"):
        decode_mint(program, data)


def test_an_extension_of_the_future_is_refused_by_its_number() -> None:
    data = make_mint() + bytes(83) + b"\x01" + bytes([99, 0, 1, 0, 5])
    assert decode_mint(TOKEN_2022_PROGRAM, data).refused_extensions == ("extension 99",)


@given(st.sampled_from([TOKEN_PROGRAM, TOKEN_2022_PROGRAM, SYSTEM_PROGRAM]), st.binary(max_size=500))
def test_no_account_bytes_raise_anything_but_our_errors(program: str, data: bytes) -> None:
    for decode in (decode_token_account, decode_mint):
        with suppress(ChainError):
            decode(program, data)


@given(st.sampled_from([165, 166, 170, 234]), st.data())
def test_no_account_of_the_right_size_raises_anything_but_our_errors(size: int, data: st.DataObject) -> None:
    content = data.draw(st.binary(min_size=size, max_size=size))
    for decode in (decode_token_account, decode_mint):
        with suppress(ChainError):
            decode(TOKEN_2022_PROGRAM, content)


def test_a_signed_approval_is_accepted_and_its_request_is_a_whole_transaction() -> None:
    for message in (make_approval(), make_approval(create=True), make_approval(0)):
        unsigned = make_unsigned(message)
        signed = sign(message)
        verify_signed(unsigned, signed)
        request = transaction_request(unsigned)
        assert (request["method"], request["address"]) == ("signTransaction", OWNER)
        whole = VersionedTransaction.from_bytes(b64decode(str(request["transaction"])))
        assert to_bytes_versioned(whole.message) == message == b64decode(str(request["message"]))
        assert str(VersionedTransaction(whole.message, [WALLET]).signatures[0]) == signed.hash


def test_every_flipped_bit_of_a_signed_transaction_is_refused() -> None:
    message = make_approval()
    signed, unsigned = sign(message), make_unsigned(message)
    raw = b64decode(signed.raw)
    for position in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(SignatureMismatchError):
            verify_signed(unsigned, SignedTransaction(b64encode(flipped).decode(), signed.hash))


def test_bytes_signed_for_another_spender_are_named_as_another_transaction() -> None:
    thief = replace(INTENT, spender=str(Keypair().pubkey()))
    with pytest.raises(SignatureMismatchError, match="another transaction than the one it was shown"):
        verify_signed(make_unsigned(make_approval()), sign(make_approval(intent=thief)))


def test_another_hash_another_key_and_appended_bytes_are_refused() -> None:
    message = make_approval()
    unsigned, signed = make_unsigned(message), sign(message)
    with pytest.raises(SignatureMismatchError, match="hash"):
        verify_signed(unsigned, replace(signed, hash=sign(make_approval(1)).hash))
    with pytest.raises(SignatureMismatchError, match="not the owner's"):
        verify_signed(unsigned, sign(message, Keypair()))
    for raw in (signed.raw + "AAAA", "", "A", "not base64", "é", b64encode(b"\x00" + message).decode()):
        with pytest.raises(SignatureMismatchError):
            verify_signed(unsigned, replace(signed, raw=raw))


@pytest.mark.parametrize(
    "message",
    [
        make_message(transfer(TransferParams(from_pubkey=WALLET.pubkey(), to_pubkey=Pubkey.default(), lamports=1))),
        make_message(build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, 1), build_revoke(TOKEN_PROGRAM, ATA, OWNER)),
        make_message(*[build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, amount) for amount in (1, 2)]),
        make_message(build_approve(SYSTEM_PROGRAM, ATA, SPENDER, OWNER, 1)),
        make_message(Instruction(Pubkey.from_string(TOKEN_PROGRAM), bytes([255, 3, 9, 4]) + bytes(8), [])),
        make_message(
            Instruction(
                Pubkey.from_string(TOKEN_PROGRAM),
                bytes([4]) + bytes(8) + b"\x00",
                [AccountMeta(Pubkey.from_string(key), key == OWNER, False) for key in (ATA, SPENDER, OWNER)],
            )
        ),
        make_message(
            build_create_token_account(TOKEN_PROGRAM, OWNER, SOLANA.tokens[1].address),
            build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, 1),
        ),
        make_message(build_create_token_account(TOKEN_PROGRAM, OWNER, USDC.address)),
        make_message(),
        make_message(set_compute_unit_price(9), build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, 1)),
        to_bytes_versioned(
            MessageV0.try_compile(
                WALLET.pubkey(),
                [set_compute_unit_limit(5000), build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, 1)],
                [],
                Hash.from_string(BLOCKHASH),
            )
        ),
        bytes(
            Message.new_with_blockhash(
                [build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, 1)], WALLET.pubkey(), Hash.from_string(BLOCKHASH)
            )
        ),
        make_approval() + b"\x00",
        b"",
    ],
    ids=[
        "a transfer",
        "an approval and its revocation",
        "two approvals",
        "a look-alike program",
        "a batch",
        "trailing bytes in the data",
        "the creation of another account",
        "no approval",
        "nothing",
        "two prices",
        "no price",
        "a legacy message",
        "trailing bytes",
        "no bytes",
    ],
)
def test_a_transaction_that_is_no_approval_of_ours_is_refused_even_if_it_was_shown_and_signed(message: bytes) -> None:
    with pytest.raises(SignatureMismatchError):
        verify_signed(make_unsigned(message), sign(message))


def test_a_second_signer_is_refused() -> None:
    other = Keypair()
    message = make_message(build_approve(TOKEN_PROGRAM, ATA, SPENDER, OWNER, 1), payer=str(other.pubkey()))
    raw = bytes([2]) + bytes(other.sign_message(message)) + bytes(WALLET.sign_message(message)) + message
    signed = SignedTransaction(b64encode(raw).decode(), str(other.sign_message(message)))
    with pytest.raises(SignatureMismatchError, match="2 signatures"):
        verify_signed(make_unsigned(message), signed)


def test_an_intent_is_compared_with_every_part_of_a_message() -> None:
    message = make_approval()
    assert check_message(message, INTENT, INTENT.amount).instructions[0].delegate == SPENDER
    for intent, amount in (
        (INTENT, 1),
        (replace(INTENT, spender=OWNER), INTENT.amount),
        (replace(INTENT, token=SOLANA.tokens[1]), INTENT.amount),
        (replace(INTENT, owner=SPENDER), INTENT.amount),
        (replace(INTENT, options=ApproveOptions(approve_checked=True)), INTENT.amount),
    ):
        with pytest.raises(SignatureMismatchError):
            check_message(message, intent, amount)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_mismatch(data: bytes) -> None:
    for read in (decode_message, parse_wire):
        with suppress(SignatureMismatchError):
            read(data)


@given(st.integers(0, len(make_approval()) - 1), st.binary(min_size=1, max_size=3))
def test_no_damaged_message_raises_anything_but_a_mismatch(position: int, patch: bytes) -> None:
    message = make_approval(create=True)
    damaged = message[:position] + patch + message[position + len(patch) :]
    with suppress(SignatureMismatchError):
        assert decode_message(damaged).instructions


def test_a_price_is_a_percentile_between_floor_and_cap() -> None:
    assert choose_price([], None) == PRICE_FLOOR
    assert choose_price([0] * 100, None) == PRICE_FLOOR
    assert choose_price(list(range(0, 101_000, 1000)), None) == 75_000
    assert choose_price([10**12], None) == PRICE_CAP
    assert choose_price([10**12], 7_000_000) == 7_000_000
    assert choose_price([], 5) == 5


def test_a_limit_is_a_fifth_above_what_was_consumed() -> None:
    assert choose_limit(1000) == 1500
    assert choose_limit(1001) == 1502


def test_an_error_of_the_network_is_put_into_words() -> None:
    message = make_approval(create=True)
    assert describe_error({"InstructionError": [2, {"Custom": 17}]}, message) == "AccountFrozen"
    assert describe_error({"InstructionError": [2, {"Custom": 18}]}, message) == "MintDecimalsMismatch"
    assert describe_error({"InstructionError": [1, {"Custom": 0}]}, message) == "the token account exists already"
    assert describe_error({"InstructionError": [2, {"Custom": 99}]}, message) == "token error 99"
    assert describe_error({"InstructionError": [9, {"Custom": 4}]}, message) == "OwnerMismatch"
    assert describe_error({"InstructionError": [2, "InvalidAccountData"]}, message) == "InvalidAccountData"
    assert describe_error("AccountNotFound", message) == "AccountNotFound"
    assert describe_error({"InsufficientFundsForRent": {"account_index": 0}}, message).startswith("{'Insuff")
