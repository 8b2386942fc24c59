"""The keys of one life, and the owner's wallets: one that signs, one that signs and sends by itself, and another app.

What is signed for a delegation is noted in `Ledger`, so that what the chain holds can be told apart afterwards.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from coincurve import PrivateKey
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0, to_bytes_versioned
from solders.signature import Signature

from chains.errors import RpcError, WalletRefusedError
from chains.evm.addresses import keccak256, to_checksum_address
from chains.evm.codec.erc20 import encode_approve
from chains.evm.codec.rlp import encode, integer_bytes
from chains.evm.codec.signatures import message_digest
from chains.solana.addresses import TOKEN_PROGRAM
from chains.solana.approve import build_approve
from chains.solana.transactions import build_message, decode_message, read_message
from chains.types import (
    EvmTransaction,
    Family,
    SentTransaction,
    SignedTransaction,
    SolanaTransaction,
    UnsignedTransaction,
)

from .evm_chain import GWEI, EvmChain, Transaction, read_transaction
from .faults import Process
from .solana_chain import SolanaChain, account_of, blockhash_of

CARRIED: ContextVar[str] = ContextVar("CARRIED", default="")
"""The id of the delegation that this task carries."""


class LostAnswerError(Exception):
    """The wallet did what it was asked, and its answer never came."""


async def ask_person(rng: Any, process: Process, refuses: float, slow: float) -> None:
    """Wait for a person to say yes: mostly seconds, with the chance `slow` longer than the platform's token lives."""
    drawn = rng.random()
    await asyncio.sleep(650.0 if drawn < slow else 0.2 + 4 * drawn**2)
    process.step()
    if rng.random() < refuses:
        raise WalletRefusedError("The wallet refused: its user said no.", hint="Nothing was signed.")


class EvmKey:
    """A key of the EVM networks that signs as fast as the library allows."""

    def __init__(self, number: int) -> None:
        self._key = PrivateKey(number.to_bytes(32))
        self.secret = number.to_bytes(32).hex()
        self.address = to_checksum_address(keccak256(self._key.public_key.format(compressed=False)[1:])[12:])

    def sign_transaction(
        self, chain_id: int, nonce: int, to: str, data: bytes, *, tip: int, max_fee: int, gas: int
    ) -> str:
        """Return the signed EIP-1559 transaction as 0x hex."""
        numbers = [integer_bytes(number) for number in (chain_id, nonce, tip, max_fee, gas)]
        fields: list[Any] = [*numbers, bytes.fromhex(to[2:]), b"", data, []]
        signature = self._key.sign_recoverable(keccak256(b"\x02" + encode(fields)), hasher=None)
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
        signed = [*fields, integer_bytes(signature[64]), integer_bytes(r), integer_bytes(s)]
        return "0x02" + encode(signed).hex()

    def sign_text(self, text: str) -> str:
        """Return the EIP-191 signature of a text."""
        signature = self._key.sign_recoverable(message_digest(text), hasher=None)
        return "0x" + signature[:64].hex() + f"{27 + signature[64]:02x}"


EVM_KEYS: Final = (EvmKey(0xA11CE), EvmKey(0xB0B))
OPERATOR: Final = EvmKey(0x0FE7A7)
SOLANA_KEYS: Final = (Keypair.from_seed(bytes([7] * 32)), Keypair.from_seed(bytes([8] * 32)))


@dataclass
class Owner:
    """One owner: a key on each family, and the kind of wallet that signs with it."""

    evm: EvmKey
    solana: Keypair
    wallet: Literal["signs", "sends", "sends with its own nonce"]
    loses: float
    refuses: float


@dataclass(frozen=True, slots=True)
class Made:
    """A transaction that was signed for a delegation; `slot` is its nonce (EVM) or blockhash (Solana)."""

    hash: str
    delegation: str
    amount: int
    slot: Any


@dataclass
class Ledger:
    """What was signed for whom; `violations` are told at once where a wallet sees one."""

    made: dict[str, Made] = field(default_factory=dict)

    def note(self, hash_: str, amount: int, slot: Any, delegation: str = "") -> None:
        """Note a transaction as signed for a delegation, by default the one that this task carries."""
        self.made[hash_] = Made(hash_, delegation or CARRIED.get(), amount, slot)


def sign_spend(chain: EvmChain, data: bytes) -> Transaction:
    """Return a transaction of the platform's operator, who spends what was allowed."""
    nonce = chain.next_nonce(OPERATOR.address.lower())
    raw = OPERATOR.sign_transaction(
        chain.chain.chain_id or 0, nonce, chain.spender, data, tip=20 * GWEI, max_fee=500 * GWEI, gas=100_000
    )
    return read_transaction(raw)


@dataclass
class EvmWallet:
    """The owner's wallet as one process asks it.

    With `sends` it broadcasts by itself, over a node of its own: it then ignores the nonce it is asked for if
    `own_nonce`, and loses its answer with the chance `loses`. `refuses` is the chance that its person says no.
    `ask_saved` is asked before it does anything that could reach the chain.
    """

    key: EvmKey
    chain: EvmChain
    process: Process
    ledger: Ledger
    rng: Any
    ask_saved: Callable[[str], None]
    sends: bool = False
    own_nonce: bool = False
    loses: float = 0.0
    refuses: float = 0.0
    slow: float = 0.0
    family: Family = "evm"

    @property
    def address(self) -> str:
        return self.key.address

    async def authorise(self, transaction: UnsignedTransaction) -> SignedTransaction | SentTransaction:
        assert isinstance(transaction, EvmTransaction)
        if self.sends:
            self.ask_saved(self.address)
        await ask_person(self.rng, self.process, self.refuses, self.slow)
        nonce = transaction.nonce
        if self.sends and self.own_nonce:
            nonce = self.chain.next_nonce(self.address.lower())
        fee, data = transaction.fee, bytes.fromhex(transaction.data[2:])
        raw = self.key.sign_transaction(
            transaction.chain_id,
            nonce,
            transaction.to,
            data,
            tip=fee.max_priority_fee_per_gas,
            max_fee=fee.max_fee_per_gas,
            gas=fee.gas_limit,
        )
        hash_ = "0x" + keccak256(bytes.fromhex(raw[2:])).hex()
        self.ledger.note(hash_, int.from_bytes(data[36:]), nonce)
        if not self.sends:
            self.process.step()
            return SignedTransaction(raw=raw, hash=hash_)
        try:
            self.chain.accept(raw)
        except RpcError as error:
            raise WalletRefusedError(f"The wallet's node refused: {error.message}", hint="Nothing was sent.") from error
        self.process.step()
        if self.rng.random() < self.loses:
            raise LostAnswerError
        return SentTransaction(hash_)

    async def sign_message(self, message: str) -> str:
        await ask_person(self.rng, self.process, self.refuses, self.slow)
        return self.key.sign_text(message)


@dataclass
class SolanaWallet:
    """The owner's Solana wallet as one process asks it; with `own_nonce` it puts in a blockhash of its own."""

    key: Keypair
    chain: SolanaChain
    process: Process
    ledger: Ledger
    rng: Any
    ask_saved: Callable[[str], None]
    sends: bool = False
    own_nonce: bool = False
    loses: float = 0.0
    refuses: float = 0.0
    slow: float = 0.0
    family: Family = "solana"

    @property
    def address(self) -> str:
        return str(self.key.pubkey())

    async def authorise(self, transaction: UnsignedTransaction) -> SignedTransaction | SentTransaction:
        assert isinstance(transaction, SolanaTransaction)
        if self.sends:
            self.ask_saved(self.address)
        await ask_person(self.rng, self.process, self.refuses, self.slow)
        message = b64decode(transaction.message)
        if self.sends and self.own_nonce:
            message = _with_blockhash(message, blockhash_of(self.chain.slot - 2))
        signature = self.key.sign_message(message)
        done = decode_message(message)
        last = done.instructions[-1]
        self.ledger.note(str(signature), 0 if last.kind == "revoke" else last.amount, done.blockhash)
        raw = b64encode(b"\1" + bytes(signature) + message).decode()
        if not self.sends:
            self.process.step()
            return SignedTransaction(raw=raw, hash=str(signature))
        self.chain.accept(raw)
        self.process.step()
        if self.rng.random() < self.loses:
            raise LostAnswerError
        return SentTransaction(str(signature))

    async def sign_message(self, message: str) -> str:
        await ask_person(self.rng, self.process, self.refuses, self.slow)
        return str(self.key.sign_message(message.encode()))


def _with_blockhash(message: bytes, blockhash: str) -> bytes:
    given = read_message(message)
    assert isinstance(given, MessageV0)
    changed = MessageV0(given.header, given.account_keys, Hash.from_string(blockhash), given.instructions, [])
    return to_bytes_versioned(changed)


def approve_elsewhere(key: Keypair, chain: SolanaChain, mint: str, amount: int) -> str:
    """Approve an amount in another app of the same owner; returns the signature."""
    owner, blockhash = str(key.pubkey()), blockhash_of(chain.slot - 2)
    approve = build_approve(TOKEN_PROGRAM, account_of(owner, mint), chain.spender, owner, amount)
    message = build_message(owner, [approve], blockhash, price=500 + amount % 7, limit=9_000)
    return chain.accept(b64encode(b"\1" + bytes(key.sign_message(message)) + message).decode())


def sign_request(owner: Owner, request: dict[str, Any]) -> str:
    """Return what an app elsewhere makes of what it is handed: signed bytes, or the signature of a text."""
    match request["method"]:
        case "eth_sendTransaction":
            (asked,) = request["params"]
            chain_id, nonce, tip, max_fee, gas = (
                int(asked[name], 16) for name in ("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas")
            )
            data = bytes.fromhex(asked["data"][2:])
            return owner.evm.sign_transaction(chain_id, nonce, asked["to"], data, tip=tip, max_fee=max_fee, gas=gas)
        case "personal_sign":
            return owner.evm.sign_text(bytes.fromhex(request["params"][0][2:]).decode())
        case "signTransaction":
            message = b64decode(request["transaction"])[65:]
            return b64encode(b"\1" + bytes(owner.solana.sign_message(message)) + message).decode()
    return str(owner.solana.sign_message(b64decode(request["message_base64"])))


def read_signed(raw: str) -> tuple[str, int, Any]:
    """Return hash, amount and nonce (Solana: blockhash) of signed bytes."""
    if raw.startswith("0x"):
        transaction = read_transaction(raw)
        return transaction.hash, int.from_bytes(transaction.data[36:]), transaction.nonce
    data = b64decode(raw)
    done = decode_message(data[65:])
    last = done.instructions[-1]
    return str(Signature.from_bytes(data[1:65])), 0 if last.kind == "revoke" else last.amount, done.blockhash


def act_elsewhere(
    key: EvmKey, chain: EvmChain, token: str, amount: int | None, *, rival: bool, bump: int
) -> str | None:
    """Do something in another app of the same owner: approve `amount`, or move nothing if None; returns the hash.

    A `rival` takes the nonce of what waits in the mempool, with fees `bump` percent higher; else the next free nonce.
    """
    chain.advance()
    sender = key.address.lower()
    nonce, tip, max_fee = chain.next_nonce(sender), 2 * GWEI, 100 * GWEI
    if rival:
        nonce = chain.head.state.nonces.get(sender, 0)
        there = chain.pool.get(sender, {}).get(nonce)
        if there is None:
            return None
        tip, max_fee = there.tip * (100 + bump) // 100 + 1, there.max_fee * (100 + bump) // 100 + 1
    to, data = (sender, b"") if amount is None else (token, encode_approve(chain.spender, amount))
    return chain.accept(
        key.sign_transaction(chain.chain.chain_id or 0, nonce, to, data, tip=tip, max_fee=max_fee, gas=60_000)
    )
