"""The nouns of the ground floor: chains, tokens, allowances, transactions, and the two doors Node and Wallet.

Everything here is a frozen value without behaviour of its own, and at the end stand the protocols of the two doors.
Amounts are integers in base units, fees are wei or lamports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Family = Literal["evm", "solana"]
"""A kind of network: those of one family share addresses, signatures and the way to ask a node."""

State: TypeAlias = Literal["active", "reduced", "replaced", "revoked", "exceeds", "pending", "dropped", "reorganised"]
"""What has become of an approval: `active` as it was made; `reduced` by spending, down to nothing as well; `replaced`
by another approval or, of its nonce, by another transaction; `revoked`; `exceeds`: the chain now allows more than was
claimed; `pending`: not in a block yet; `dropped`: no block has it and its nonce is free; `reorganised`: the block that
held it is not part of the chain any more."""


class _JsonString:
    """Tells pydantic, where it is used, to write an integer as a JSON string: JavaScript loses integers above 2^53."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.int_schema(ge=0, serialization=core_schema.to_string_ser_schema(when_used="json"))


BaseUnits: TypeAlias = Annotated[int, _JsonString()]
"""An integer number of a token's, or of the native coin's, smallest units."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token on one network: `address` is the contract (EIP-55) or the SPL mint (base58)."""

    symbol: str
    address: str
    decimals: int


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """How an EVM network's fees are found, and the bounds in wei per gas that no fee may leave.

    The maximum fee still pays after the base fee has risen by `base_fee_rise`, a fraction and the most of one block,
    for `rising_blocks` blocks on end; only what the base fee comes to is paid. The tip is what the network asks for and
    `tip_headroom` per cent more, which is paid, for networks on which the tip is what moves.
    """

    method: Literal["linea_estimateGas", "fee_history"]
    tip_floor: int
    tip_cap: int
    max_fee_cap: int
    base_fee_rise: tuple[int, int] = (1, 8)
    rising_blocks: int = 10
    tip_headroom: int = 0


OPENZEPPELIN_5_ALLOWANCES: Final = 0x52C63247E1F47DB19D5CE0460030C497F067CA4CEBF71BA98EEADABE20BACE00 + 1
"""`openzeppelin.storage.ERC20`: balances at its root, allowances after them (OpenZeppelin 5, ERC20Upgradeable)."""

M0_ALLOWANCES: Final = 0xCBBE23EFB65C1EABA394256C463812C20ABDB5376E247EBA1D0E1E92054DA100
"""The root under which M0's ERC20ExtendedUpgradeable keeps them (m0-foundation/mUSD)."""


@dataclass(frozen=True, slots=True)
class AllowanceLayout:
    """Where a token keeps its allowances: as the Solidity mapping `base[owner][spender]`.

    Of a token that forwards elsewhere once a slot is set, `empty_slots` are those that must be empty.
    """

    token: str
    base: int
    empty_slots: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """One network as data.

    `name` is the short one by which it is asked for. `chain_id` is set for EVM networks, `genesis_hash` for Solana.
    `statement_chain_id` is the text of the `Chain ID:` line of an ownership statement. `settle_depth` says how many
    blocks, its own included, must lie on an approval before it counts as settled; Solana has commitments instead.
    `allowance_layouts` are those of tokens of whose storage it is known where allowances are.
    """

    name: str
    title: str
    family: Family
    caip2: str
    rpc_url: str
    native_symbol: str
    native_decimals: int
    statement_chain_id: str
    chain_id: int | None = None
    genesis_hash: str | None = None
    tokens: tuple[Token, ...] = ()
    fees: FeePolicy | None = None
    testnet: bool = False
    settle_depth: int = 1
    allowance_layouts: tuple[AllowanceLayout, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """A point of a chain: block number and hash, or slot and an empty hash on Solana."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class AllowanceState:
    """What the chain says of one (token, owner, spender) at one block, in base units.

    `other_delegate` is the Solana delegate that holds the account's only place instead of `spender`.
    `token_account` is the SPL token account, and `account_exists` whether it is there; always true on EVM networks.
    """

    allowance: BaseUnits
    balance: BaseUnits
    native_balance: BaseUnits
    block: Block
    other_delegate: str | None = None
    token_account: str | None = None
    account_exists: bool = True


@dataclass(frozen=True, slots=True)
class ApproveOptions:
    """Departures from the default way of approving, each to be asked for by name.

    `approve_checked`: Solana, `ApproveChecked` instead of the plain `Approve` that apps index.
    `revoke_only`: Solana, amount 0 is `Revoke` alone instead of `Approve` of 0 followed by `Revoke`.
    `overwrite_delegate`: Solana, replace another delegate.
    `max_fee_cap`: the highest acceptable fee in wei per gas (EVM) or micro-lamports per compute unit (Solana).
    """

    approve_checked: bool = False
    revoke_only: bool = False
    overwrite_delegate: bool = False
    max_fee_cap: int | None = None


@dataclass(frozen=True, slots=True)
class AllowanceIntent:
    """What the owner wants the chain to hold at the end: `amount` base units of `token` for `spender`."""

    token: Token
    owner: str
    spender: str
    amount: BaseUnits
    options: ApproveOptions = ApproveOptions()


@dataclass(frozen=True, slots=True)
class EvmFee:
    """An EIP-1559 fee: gas units, and wei per gas."""

    gas_limit: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    kind: Literal["evm"] = "evm"

    @property
    def max_cost(self) -> int:
        """The most this fee can cost, in wei."""
        return self.gas_limit * self.max_fee_per_gas


@dataclass(frozen=True, slots=True)
class SolanaFee:
    """A Solana fee: lamports for signatures and rent, compute units, and micro-lamports per compute unit."""

    signature_lamports: int
    rent_lamports: int
    compute_unit_limit: int
    compute_unit_price: int
    kind: Literal["solana"] = "solana"

    @property
    def max_cost(self) -> int:
        """The most this fee can cost, in lamports."""
        priority = -(-self.compute_unit_limit * self.compute_unit_price // 1_000_000)
        return self.signature_lamports + self.rent_lamports + priority


Fee: TypeAlias = EvmFee | SolanaFee


@dataclass(frozen=True, slots=True)
class ApproveStep:
    """One approve transaction of a plan: the allowance it sets, in base units, and its fee where already known.

    A step whose fee is None is estimated when its turn comes (the second of two steps cannot be estimated before).
    """

    amount: BaseUnits
    fee: Fee | None = None


@dataclass(frozen=True, slots=True)
class ApprovalPlan:
    """What has to happen on chain: the state it starts from, the steps, and warnings in plain words."""

    state: AllowanceState
    steps: tuple[ApproveStep, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvmTransaction:
    """An unsigned EIP-1559 transaction that approves; `data` is 0x hex, `sender` the owner, value is always 0.

    One without data, from the sender to itself, only uses up its nonce.
    """

    chain_id: int
    sender: str
    to: str
    nonce: int
    data: str
    fee: EvmFee
    kind: Literal["evm"] = "evm"


@dataclass(frozen=True, slots=True)
class SolanaTransaction:
    """An unsigned Solana transaction that approves: `message` is the base64 of the v0 message bytes.

    It can land until the chain's block height passes `last_valid_block_height`.
    """

    sender: str
    message: str
    blockhash: str
    last_valid_block_height: int
    fee: SolanaFee
    kind: Literal["solana"] = "solana"


UnsignedTransaction: TypeAlias = EvmTransaction | SolanaTransaction


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A signed transaction: `raw` is 0x hex (EVM) or base64 (Solana), `hash` its hash or its base58 signature."""

    raw: str
    hash: str


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """A transaction that a wallet signed and sent by itself; only its hash, or base58 signature, is known."""

    hash: str


@dataclass(frozen=True, slots=True)
class Rival:
    """An earlier transaction of the owner for the same nonce, which may still take effect instead of the newest.

    `hash` is None where a wallet was asked for it and never said what it made of it. It may be of another intent, such
    as a grant that a revocation replaces, which shows in its `data`.
    """

    unsigned: UnsignedTransaction
    hash: str | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The proof that an approve took effect: `allowance` is read from the state at `block`, in base units.

    `hash` is the transaction that took effect, which differs from the one sent if the wallet replaced it.
    `fee_paid` is in wei or lamports. `finality` names the level reached, for example `included` or `finalized`.
    """

    hash: str
    block: Block
    allowance: BaseUnits
    fee_paid: BaseUnits
    finality: str


@dataclass(frozen=True, slots=True)
class Review:
    """What a settled approval is worth now: `canonical` says whether the chain still holds it.

    `finality` names the level that it has reached by now. `state` says what became of it, None where that cannot be
    told, and `now` what the chain holds at its newest block, which is not before that of the settlement. Of one that is
    not canonical, `finality` and `state` are `reorganised`, and `now` is None.
    """

    canonical: bool
    finality: str
    state: State | None
    now: AllowanceState | None


@dataclass(frozen=True, slots=True)
class OwnershipSignature:
    """A signed ownership statement: `signature` is 0x + 130 hex digits (EIP-191) or base58 of 64 bytes (Ed25519)."""

    message: str
    signature: str
    scheme: Literal["eip191", "ed25519"]


class Node(Protocol):
    """The door to one network. Every method may raise `NodeError`; no method signs anything."""

    chain: Chain

    async def check_chain(self) -> None:
        """Raise `WrongChainError` unless the node answers for `chain`."""
        ...

    async def get_allowance(
        self, token: Token, owner: str, spender: str, *, block: Block | None = None
    ) -> AllowanceState:
        """Return what the chain says, at `block` or else at the newest block (Solana: the newest confirmed slot)."""
        ...

    async def plan_approval(self, intent: AllowanceIntent) -> ApprovalPlan:
        """Return the steps from here to `intent`, each found possible by simulation; raise `RefusedError` otherwise."""
        ...

    async def prepare(self, intent: AllowanceIntent, step: ApproveStep) -> UnsignedTransaction:
        """Return the transaction of `step`, ready to be shown and signed; estimates the fee where the step has none."""
        ...

    async def send(self, signed: SignedTransaction) -> None:
        """Broadcast; sending the same bytes again is harmless and succeeds."""
        ...

    async def settle(
        self,
        intent: AllowanceIntent,
        step: ApproveStep,
        unsigned: UnsignedTransaction,
        sent: SignedTransaction | SentTransaction,
        *,
        timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
        rivals: Sequence[Rival] = (),
        unseen_for: float = 0.0,
    ) -> Settlement:
        """Wait until a transaction that makes this step took effect; raise a `TransactionError` otherwise.

        That is the newest one, `sent`, or a rival with the same call, or what a wallet put in its place; the settlement
        names it. It counts at the chain's `settle_depth` (Solana: at `confirmed`). Signed bytes of the newest, and of
        no other, are sent again meanwhile. `timeout` is in seconds; the chain is looked at once even if it is 0, and
        again within three seconds before another transaction is said to have used the nonce.

        `unseen_for` says how many seconds ago a node last knew a transaction that a wallet sent by itself, as the
        `TransactionPendingError` before said, with the time since: so it is dropped after its time in total, however
        short each wait. Raises `TransactionReplacedError` if something else used the nonce (`found` is its hash), and
        `SignatureMismatchError` if the hash that a sending wallet gave is that of another transaction.
        """
        ...

    async def replace(
        self, intent: AllowanceIntent, step: ApproveStep | None, unsigned: UnsignedTransaction
    ) -> UnsignedTransaction:
        """Return the transaction that takes the place of `unsigned`, the highest-priced so far on that nonce.

        It has the same sender and nonce, and both fees are an eighth higher, or what the network asks for now if that
        is more. With a `step` it approves `step.amount` as `intent` says, which may be another token and spender than
        those of `unsigned`; without one it uses up the nonce and does nothing else. Raises `FeeTooHighError` above a
        cap, `NoGasError` if the owner cannot pay it and `WillRevertError`. On Solana nothing can be replaced:
        `TransactionPendingError` says until about when to wait.
        """
        ...

    async def settle_cancellation(
        self,
        unsigned: UnsignedTransaction,
        sent: SignedTransaction | SentTransaction,
        *,
        timeout: float,  # noqa: ASYNC109 - the wait ends with an error that names the transaction
        rivals: Sequence[Rival] = (),
        unseen_for: float = 0.0,
    ) -> str:
        """Wait until the nonce is used, by the cancellation or by a rival, and return the hash of what used it.

        Depth, `timeout`, `unseen_for` and sending again are as in `settle`. Raises `TransactionReplacedError` if it was
        neither (`found` is its hash), and `InputError` on Solana, which has no nonces to use up.
        """
        ...

    async def review(
        self,
        intent: AllowanceIntent,
        settlement: Settlement,
        *,
        timeout: float = 0.0,  # noqa: ASYNC109 - how long to wait for finality, which is no error
    ) -> Review:
        """Return what a settled approval is worth now; `NodeError` if the node is behind and cannot say it.

        On Solana `timeout` seconds are waited for `finalized`; on EVM networks finality is told and not waited for.
        """
        ...

    async def get_nonce(self, hash_: str) -> int | None:
        """Return the nonce of a transaction that the node knows, else None; always None on Solana."""
        ...

    async def get_time_left(self, unsigned: UnsignedTransaction) -> timedelta | None:
        """Return about how long a transaction can still land; None where there is no end (EVM networks)."""
        ...

    async def find_approval(
        self,
        intent: AllowanceIntent,
        step: ApproveStep,
        unsigned: UnsignedTransaction,
        *,
        rivals: Sequence[Rival] = (),
        nonce_used: bool = False,
    ) -> str | None:
        """Return the hash of the transaction by which a sending wallet made this step, or None if it was not made.

        A rival that makes another call is not it, although it may have used the nonce. `nonce_used` says that the nonce
        was seen as used already, whatever a server that is behind says of it.
        """
        ...

    async def can_land(self, unsigned: UnsignedTransaction) -> bool:
        """Return whether a transaction that was handed out can still take effect if its owner signs it now."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class Wallet(Protocol):
    """The door to one key: a file, a device or a person. It signs, or signs and sends by itself."""

    address: str
    family: Family
    sends: bool
    """Whether `authorise` broadcasts by itself; then the attempt is recorded before the wallet is asked."""

    async def authorise(self, transaction: UnsignedTransaction) -> SignedTransaction | SentTransaction:
        """Return the signed transaction, or the hash where the wallet sent it itself; `WalletRefusedError` on a no."""
        ...

    async def sign_message(self, message: str) -> str:
        """Return the signature of a text: EIP-191 as 0x hex, or raw Ed25519 as base58; `WalletRefusedError` on a no."""
        ...
