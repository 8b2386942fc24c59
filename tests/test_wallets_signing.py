"""Wallets sign exactly what they are shown, check it from the bytes, and refuse what must never be signed."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from chains import get_chain
from chains.errors import (
    InvalidStatementError,
    KeyFileError,
    SignatureMismatchError,
    SigningError,
    WalletRefusedError,
)
from chains.evm.transactions import build_approve
from chains.family import message_request, transaction_request, verify_signed
from chains.solana.addresses import TOKEN_PROGRAM
from chains.solana.transactions import build_instructions, build_message
from chains.types import AllowanceIntent, EvmFee, EvmTransaction, SentTransaction, SolanaFee, SolanaTransaction
from chains.wallets import EvmKeyWallet, SendingWallet, SolanaKeyWallet

EVM_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
EVM_ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
OTHER_EVM = EvmKeyWallet("0x" + "11" * 32)
SOLANA_KEY = bytes(Keypair.from_seed(bytes(range(32))))
SOLANA_ADDRESS = str(Keypair.from_seed(bytes(range(32))).pubkey())
SPENDER = "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

TEXT = "metamask.app.link wants you to sign in with your Ethereum account:\n" + EVM_ADDRESS


@pytest.fixture(name="evm")
def _evm() -> EvmKeyWallet:
    return EvmKeyWallet(EVM_KEY)


@pytest.fixture(name="solana")
def _solana() -> SolanaKeyWallet:
    return SolanaKeyWallet(SOLANA_KEY)


@pytest.fixture(name="evm_approve")
def _evm_approve() -> EvmTransaction:
    usdc = get_chain("linea").tokens[0]
    fee = EvmFee(gas_limit=60_000, max_fee_per_gas=200_000_000, max_priority_fee_per_gas=50_000_000)
    return build_approve(59144, usdc.address, EVM_ADDRESS, SPENDER, 5_000_000_000, 7, fee)


def solana_message(owner: str, amount: int) -> bytes:
    intent = AllowanceIntent(
        token=get_chain("solana").tokens[0], owner=owner, spender=str(Keypair().pubkey()), amount=amount
    )
    instructions = build_instructions(intent, amount, TOKEN_PROGRAM, create=False)
    return build_message(owner, instructions, str(Hash.hash(b"a block")), price=1_000, limit=40_000)


@pytest.fixture(name="solana_approve")
def _solana_approve() -> SolanaTransaction:
    return SolanaTransaction(
        sender=SOLANA_ADDRESS,
        message=base64.b64encode(solana_message(SOLANA_ADDRESS, 5_000_000_000)).decode(),
        blockhash=str(Hash.hash(b"a block")),
        last_valid_block_height=1_000,
        fee=SolanaFee(signature_lamports=5_000, rent_lamports=0, compute_unit_limit=40_000, compute_unit_price=1_000),
    )


# A key in memory, on EVM networks


async def test_an_evm_wallet_signs_the_transaction_that_was_shown(
    evm: EvmKeyWallet, evm_approve: EvmTransaction
) -> None:
    signed = await evm.authorise(evm_approve)

    assert Account.recover_transaction(signed.raw) == EVM_ADDRESS
    made = Account.from_key(EVM_KEY).sign_transaction(
        {
            "type": 2,
            "chainId": 59144,
            "nonce": 7,
            "to": evm_approve.to,
            "value": 0,
            "data": evm_approve.data,
            "gas": 60_000,
            "maxFeePerGas": 200_000_000,
            "maxPriorityFeePerGas": 50_000_000,
        }
    )
    assert signed.raw == "0x" + made.raw_transaction.hex()
    assert signed.hash == "0x" + made.hash.hex()


async def test_signing_the_same_transaction_again_gives_the_same_bytes(
    evm: EvmKeyWallet, evm_approve: EvmTransaction
) -> None:
    assert await evm.authorise(evm_approve) == await evm.authorise(evm_approve)


async def test_an_evm_wallet_signs_a_text_as_eip_191(evm: EvmKeyWallet) -> None:
    signature = await evm.sign_message(TEXT)

    assert Account.recover_message(encode_defunct(text=TEXT), signature=signature) == EVM_ADDRESS
    assert len(signature) == 132
    assert signature[-2:] in {"1b", "1c"}


async def test_a_text_that_looks_like_hex_is_signed_as_text(evm: EvmKeyWallet) -> None:
    signature = await evm.sign_message("0x68656c6c6f")

    assert Account.recover_message(encode_defunct(text="0x68656c6c6f"), signature=signature) == EVM_ADDRESS


async def test_an_evm_wallet_refuses_the_transaction_of_another_owner(evm_approve: EvmTransaction) -> None:
    with pytest.raises(WalletRefusedError, match=EVM_ADDRESS):
        await OTHER_EVM.authorise(evm_approve)


async def test_an_evm_wallet_refuses_a_solana_transaction(evm: EvmKeyWallet, solana_approve: SolanaTransaction) -> None:
    with pytest.raises(WalletRefusedError, match="EVM"):
        await evm.authorise(solana_approve)


async def test_an_evm_transaction_above_the_fee_cap_does_not_leave_the_wallet(
    evm: EvmKeyWallet, evm_approve: EvmTransaction
) -> None:
    greedy = replace(evm_approve.fee, max_fee_per_gas=10**12)
    with pytest.raises(SignatureMismatchError, match="max fee"):
        await evm.authorise(replace(evm_approve, fee=greedy))


@pytest.mark.parametrize("change", [{"nonce": -1}, {"to": "0x1234"}, {"data": "0xnothex"}])
async def test_a_malformed_transaction_is_an_error_of_its_own(
    evm: EvmKeyWallet, evm_approve: EvmTransaction, change: dict[str, object]
) -> None:
    with pytest.raises(SigningError):
        await evm.authorise(replace(evm_approve, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "key", ["", "00" * 32, "ff" * 32, f"{CURVE_ORDER:064x}", "11" * 31, "0x" + "11" * 33, "zz" * 32, b"\1" * 31, b""]
)
def test_what_is_no_secp256k1_key_makes_no_wallet(key: bytes | str) -> None:
    with pytest.raises(KeyFileError, match="not a private key"):
        EvmKeyWallet(key)


def test_the_smallest_and_the_largest_key_make_wallets() -> None:
    assert EvmKeyWallet(f"{1:064x}").address == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
    assert EvmKeyWallet(f"{CURVE_ORDER - 1:064x}").address == "0x80C0dbf239224071c59dD8970ab9d542E3414aB2"


# A key in memory, on Solana


async def test_a_solana_wallet_signs_the_transaction_that_was_shown(
    solana: SolanaKeyWallet, solana_approve: SolanaTransaction
) -> None:
    signed = await solana.authorise(solana_approve)

    transaction = VersionedTransaction.from_bytes(base64.b64decode(signed.raw))
    assert transaction.verify_with_results() == [True]
    assert str(transaction.signatures[0]) == signed.hash
    assert base64.b64decode(signed.raw).endswith(base64.b64decode(solana_approve.message))
    verify_signed(solana_approve, signed)


async def test_a_solana_wallet_signs_a_text_as_raw_ed25519(solana: SolanaKeyWallet) -> None:
    text = TEXT.replace("Ethereum", "Solana")
    signature = await solana.sign_message(text)

    assert Signature.from_string(signature).verify(Pubkey.from_string(SOLANA_ADDRESS), text.encode())


async def test_a_solana_wallet_refuses_the_transaction_of_another_owner(solana_approve: SolanaTransaction) -> None:
    with pytest.raises(WalletRefusedError, match=SOLANA_ADDRESS):
        await SolanaKeyWallet(bytes(Keypair())).authorise(solana_approve)


async def test_a_solana_wallet_refuses_an_evm_transaction(solana: SolanaKeyWallet, evm_approve: EvmTransaction) -> None:
    with pytest.raises(WalletRefusedError, match="Solana"):
        await solana.authorise(evm_approve)


async def test_a_solana_wallet_does_not_give_away_a_transaction_with_another_payer(
    solana: SolanaKeyWallet, solana_approve: SolanaTransaction
) -> None:
    foreign = base64.b64encode(solana_message(str(Keypair().pubkey()), 1)).decode()
    with pytest.raises(SignatureMismatchError):
        await solana.authorise(replace(solana_approve, message=foreign))


async def test_a_transaction_that_is_not_base64_is_an_error_of_its_own(
    solana: SolanaKeyWallet, solana_approve: SolanaTransaction
) -> None:
    with pytest.raises(SigningError, match="base64"):
        await solana.authorise(replace(solana_approve, message="!"))


def readable_transaction_message() -> str:
    """Return a legacy transaction message all of whose bytes are ASCII."""
    program, payer = Pubkey(b"p" * 32), Pubkey(b"a" * 32)
    instruction = Instruction(program, b"approve", [AccountMeta(payer, is_signer=True, is_writable=True)])
    return bytes(Message.new_with_blockhash([instruction], payer, Hash(b"h" * 32))).decode("ascii")


async def test_a32_a_text_that_is_a_transaction_is_never_signed(solana: SolanaKeyWallet) -> None:
    text = readable_transaction_message()
    assert Message.from_bytes(text.encode()).account_keys[0] == Pubkey(b"a" * 32)
    with pytest.raises(InvalidStatementError):
        await solana.sign_message(text)


@pytest.mark.parametrize("text", ["", "\x00", "\x80abc", "ÿsolana offchain", "a\x1bb"])
async def test_a32_a_message_that_cannot_be_read_is_never_signed(solana: SolanaKeyWallet, text: str) -> None:
    with pytest.raises(InvalidStatementError):
        await solana.sign_message(text)


async def test_a_message_that_is_not_unicode_text_is_refused(evm: EvmKeyWallet, solana: SolanaKeyWallet) -> None:
    for wallet in (evm, solana):
        with pytest.raises(InvalidStatementError):
            await wallet.sign_message("statement \ud800")


def test_two_halves_that_do_not_belong_together_make_no_wallet() -> None:
    with pytest.raises(KeyFileError, match="not a Solana key"):
        SolanaKeyWallet(SOLANA_KEY[:32] + bytes(Keypair())[32:])


@pytest.mark.parametrize("key", ["", "0OIl", "1" * 64, SOLANA_ADDRESS, b"", b"\1" * 64, b"\1" * 32])
def test_what_is_no_solana_key_makes_no_wallet(key: bytes | str) -> None:
    with pytest.raises(KeyFileError, match="not a Solana key"):
        SolanaKeyWallet(key)


# A wallet that signs and sends


class Asked:
    """A wallet elsewhere: answers each request with a fixed text, or raises a fixed error."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.requests: list[dict[str, object]] = []

    async def __call__(self, request: dict[str, object]) -> str:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_a_sending_wallet_is_asked_exactly_the_request_and_its_hash_is_returned(
    evm_approve: EvmTransaction,
) -> None:
    ask = Asked("0x" + "aB" * 32)
    wallet = SendingWallet(EVM_ADDRESS, "evm", ask)

    assert wallet.sends
    assert await wallet.authorise(evm_approve) == SentTransaction("0x" + "ab" * 32)
    assert ask.requests == [transaction_request(evm_approve)]


async def test_a_sending_wallet_may_name_its_address_in_lower_case(evm_approve: EvmTransaction) -> None:
    wallet = SendingWallet(EVM_ADDRESS.lower(), "evm", Asked("0x" + "ab" * 32))

    assert wallet.address == EVM_ADDRESS
    assert await wallet.authorise(evm_approve) == SentTransaction("0x" + "ab" * 32)


async def test_a_sending_solana_wallet_returns_the_signature(solana_approve: SolanaTransaction) -> None:
    signature = str(Keypair().sign_message(b"sent"))
    ask = Asked(signature)

    assert await SendingWallet(SOLANA_ADDRESS, "solana", ask).authorise(solana_approve) == SentTransaction(signature)
    assert ask.requests == [transaction_request(solana_approve)]


@pytest.mark.parametrize(
    "answer",
    ["", "0x" + "ab" * 31, "ab" * 32, "0x" + "ab" * 64, "0xe12f8a" * 20, "0x" + "zz" * 32, "0x" + "ab" * 32 + "\n"],
)
async def test_a49_what_is_no_transaction_hash_is_explained(evm_approve: EvmTransaction, answer: str) -> None:
    with pytest.raises(SignatureMismatchError, match=r"bundle.*may have sent") as refused:
        await SendingWallet(EVM_ADDRESS, "evm", Asked(answer)).authorise(evm_approve)
    assert "Look in the wallet" in refused.value.hint


@pytest.mark.parametrize("answer", ["", "0x" + "ab" * 32, SOLANA_ADDRESS, "0OIl"])
async def test_what_is_no_solana_signature_is_explained(solana_approve: SolanaTransaction, answer: str) -> None:
    with pytest.raises(SignatureMismatchError, match="not the hash"):
        await SendingWallet(SOLANA_ADDRESS, "solana", Asked(answer)).authorise(solana_approve)


class ProviderError(Exception):
    """An EIP-1193 ProviderRpcError."""

    def __init__(self, code: int) -> None:
        super().__init__(f"provider error {code}")
        self.code = code


async def test_the_users_no_is_a_refusal(evm_approve: EvmTransaction) -> None:
    for no in (ProviderError(4001), WalletRefusedError("no")):
        wallet = SendingWallet(EVM_ADDRESS, "evm", Asked(no))
        with pytest.raises(WalletRefusedError):
            await wallet.authorise(evm_approve)
        with pytest.raises(WalletRefusedError):
            await wallet.sign_message(TEXT)


async def test_another_error_of_the_wallet_reaches_the_caller_unchanged(evm_approve: EvmTransaction) -> None:
    broken = ProviderError(-32603)
    with pytest.raises(ProviderError) as raised:
        await SendingWallet(EVM_ADDRESS, "evm", Asked(broken)).authorise(evm_approve)
    assert raised.value is broken


async def test_a_sending_wallet_is_not_asked_for_the_transaction_of_another_owner(
    evm_approve: EvmTransaction, solana_approve: SolanaTransaction
) -> None:
    ask = Asked("0x" + "ab" * 32)
    with pytest.raises(WalletRefusedError):
        await SendingWallet(OTHER_EVM.address, "evm", ask).authorise(evm_approve)
    with pytest.raises(WalletRefusedError):
        await SendingWallet(EVM_ADDRESS, "evm", ask).authorise(solana_approve)
    assert ask.requests == []


async def test_a_sending_wallet_is_asked_for_the_signature_of_a_text(
    evm: EvmKeyWallet, solana: SolanaKeyWallet
) -> None:
    for family, wallet in (("evm", evm), ("solana", solana)):
        signature = await wallet.sign_message(TEXT)
        ask = Asked(signature)
        assert await SendingWallet(wallet.address, wallet.family, ask).sign_message(TEXT) == signature
        assert ask.requests == [message_request(wallet.family, wallet.address, TEXT)]
        assert wallet.family == family


async def test_the_signature_of_another_text_or_of_another_key_is_refused(evm: EvmKeyWallet) -> None:
    for foreign in (await evm.sign_message(TEXT + "."), await OTHER_EVM.sign_message(TEXT)):
        with pytest.raises(SignatureMismatchError):
            await SendingWallet(EVM_ADDRESS, "evm", Asked(foreign)).sign_message(TEXT)


async def test_a22_every_other_spelling_of_a_signature_is_refused(evm: EvmKeyWallet) -> None:
    good = await evm.sign_message(TEXT)
    r, s, v = good[2:66], int(good[66:130], 16), int(good[130:], 16)
    twin = f"0x{r}{CURVE_ORDER - s:064x}{55 - v:02x}"
    compact = f"0x{r}{s | ((v - 27) << 255):064x}"
    spellings = {
        "high s": twin,
        "v + 8": f"{good[:130]}{v + 8:02x}",
        "v of 0 or 1": f"{good[:130]}{v - 27:02x}",
        "EIP-2098": compact,
        "66 bytes": good + "00",
        "no 0x": good[2:],
        "0X": "0X" + good[2:],
    }
    for spelling in spellings.values():
        with pytest.raises(SignatureMismatchError):
            await SendingWallet(EVM_ADDRESS, "evm", Asked(spelling)).sign_message(TEXT)


async def test_a32_a_sending_wallet_is_not_asked_to_sign_a_transaction_as_a_text() -> None:
    ask = Asked("never")
    with pytest.raises(InvalidStatementError):
        await SendingWallet(SOLANA_ADDRESS, "solana", ask).sign_message(readable_transaction_message())
    assert ask.requests == []
