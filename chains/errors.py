"""The root of all errors of this toolkit, and everything that can go wrong on the ground floor: whose fault it is.

ToolkitError                      the root of both floors
├── ChainError                    the ground floor's, drawn below
└── DelegationError               the upper floor's, drawn in `delegation.errors`

ChainError
├── InputError                    yours: what was given cannot be used; nothing was signed or sent
│   ├── InvalidAmountError
│   ├── InvalidAddressError
│   ├── UnknownNetworkError
│   ├── InvalidStatementError     the text to sign cannot be built or read
│   ├── KeyFileError              a key file is missing, unreadable, unsafe or not a key
│   └── WrongChainError           the node answers for another chain than the one asked for
├── RefusedError                  yours to decide: the approval must not be made as asked; nothing was signed or sent
│   ├── SpenderRefusedError
│   ├── TokenRefusedError
│   ├── NoGasError                the owner cannot pay the network's fee
│   ├── FeeTooHighError           the network asks for more than the cap
│   ├── FeeTooLowError            the network asks for more than the signed transaction offers
│   ├── OtherDelegateError        Solana: the token account already has another delegate
│   └── WillRevertError           the network says beforehand that the transaction would fail
├── NodeError                     the network's: its node could not be asked, or answered nonsense
│   ├── NodeUnreachableError
│   ├── RpcError                  the node answered with a JSON-RPC error
│   └── ContradictionError        the node's answers contradict each other: it lies or is broken
├── TransactionError              a transaction that left us did not do what it was meant to do
│   ├── TransactionRevertedError  mined and failed: its nonce is used, its fee is paid, nothing was approved
│   ├── TransactionReplacedError  another transaction took its nonce
│   ├── TransactionDroppedError   no node knows it any more and its nonce is free
│   ├── TransactionPendingError   not settled yet: it may still land
│   │   └── NonceOccupiedError    another transaction of the owner waits in its place
│   ├── TransactionExpiredError   Solana: its block height has passed; it can never land, building anew is safe
│   └── UnexpectedAllowanceError  mined, but the chain holds another allowance than the one intended
└── SigningError
    ├── WalletRefusedError        yours: the person or the device said no
    └── SignatureMismatchError    what came back is not a signature of what was shown
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, TypeVar

_E = TypeVar("_E", bound="ToolkitError")

Fault = Literal["yours", "network", "platform"]
"""Whose fault an error is; no error of this floor is the platform's, of which only the floor above knows."""

# Base58 of 32 bytes has up to 44 characters, an EVM address 42; every private key is longer.
_LONGEST_ADDRESS: Final = 44


class ToolkitError(Exception):
    """Root of all errors of `chains` and of `delegation`; never raised itself.

    `message` says what happened, `hint` what a person should do now, `fault` whose fault it is; `expected` and `found`
    hold the evidence. Every error survives being pickled and copied, with all its attributes, so that it can cross to
    another process; its traceback and its cause stay behind.
    """

    fault: ClassVar[Fault]

    def __init__(self, message: str, *, hint: str = "", expected: object = None, found: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException's own would call the class with its positional arguments alone, and most need more than those.
        return _remake, (type(self), self.args, self.__dict__.copy())


def _remake(kind: type[_E], args: tuple[object, ...], attributes: Mapping[str, object]) -> _E:
    """Return the error that was pickled or copied, without asking its `__init__` again."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ChainError(ToolkitError):
    """Base of all errors of `chains`; never raised itself. `hash` is that of the transaction it is about, if any."""

    fault: ClassVar[Fault] = "network"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        expected: object = None,
        found: object = None,
        transaction_hash: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, expected=expected, found=found)
        self.hash = transaction_hash


class InputError(ChainError):
    """What was given cannot be used; nothing was signed or sent."""

    fault = "yours"


class InvalidAmountError(InputError):
    """An amount is not a plain decimal number, has too many decimals or does not fit."""


class InvalidAddressError(InputError):
    """An address is malformed, fails its checksum or belongs to another kind of network."""


class UnknownNetworkError(InputError):
    """No network of this name is known."""


class InvalidStatementError(InputError):
    """An ownership statement cannot be built from these values, or a text is not one."""


class KeyFileError(InputError):
    """A key file is missing, unreadable, readable by others or does not hold a key."""


class WrongChainError(InputError):
    """The node behind a URL answers for another chain."""


class RefusedError(ChainError):
    """The approval must not be made as asked; nothing was signed or sent."""

    fault = "yours"


class SpenderRefusedError(RefusedError):
    """The spender is an address that must never be approved."""


class TokenRefusedError(RefusedError):
    """The token is not what it is said to be (no contract, other decimals, a mint that cannot be delegated safely)."""


class NoGasError(RefusedError):
    """The owner's native balance does not cover the fee; `expected` and `found` are in wei or lamports."""


class FeeTooHighError(RefusedError):
    """The network asks for a higher fee than the cap."""


class FeeTooLowError(RefusedError):
    """The network asks for a higher fee than a signed transaction offers; nothing of it was taken."""


class OtherDelegateError(RefusedError):
    """The Solana token account has another delegate, which an approval would replace; `found` is that delegate."""


class WillRevertError(RefusedError):
    """The network says beforehand that the transaction would fail; the message holds the decoded reason."""


class NodeError(ChainError):
    """A node could not be asked, or its answer cannot be used."""


class NodeUnreachableError(NodeError):
    """A node did not answer; whether it did what it was asked is unknown."""


class RpcError(NodeError):
    """A node answered with a JSON-RPC error; `code` and `data` are as the node gave them."""

    def __init__(self, message: str, *, code: int, data: object = None, hint: str = "") -> None:
        super().__init__(message, hint=hint, found=data)
        self.code = code
        self.data = data


class ContradictionError(NodeError):
    """A node's answers contradict each other or do not prove what they should, so that none of them counts."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "This node lies or is broken; nothing that it says counts. Ask another node.",
        expected: object = None,
        found: object = None,
    ) -> None:
        super().__init__(message, hint=hint, expected=expected, found=found)


class TransactionError(ChainError):
    """A transaction that left us did not do what it was meant to do; `hash` names it."""


class TransactionRevertedError(TransactionError):
    """The transaction was mined and failed: its fee is paid and nothing was approved."""


class TransactionReplacedError(TransactionError):
    """Another transaction of the owner used the nonce; `found` is its hash where it is known."""


class TransactionDroppedError(TransactionError):
    """The node no longer knows the transaction and its nonce is still free."""


class TransactionPendingError(TransactionError):
    """The transaction has not settled within the time given; it may still land.

    `unseen_for` says for how many seconds no node has known it, 0 if one does; None where that decides nothing, because
    it is sent again or expires by itself.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        expected: object = None,
        found: object = None,
        transaction_hash: str | None = None,
        unseen_for: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, expected=expected, found=found, transaction_hash=transaction_hash)
        self.unseen_for = unseen_for


class NonceOccupiedError(TransactionPendingError):
    """Another transaction of the owner with the same nonce waits to be mined, so that nothing of this one was taken."""


class TransactionExpiredError(TransactionError):
    """The Solana transaction can never land, because its last valid block height has passed; building anew is safe."""


class UnexpectedAllowanceError(TransactionError):
    """The transaction succeeded but the chain holds another allowance; `expected` and `found` are in base units."""


class SigningError(ChainError):
    """A signature could not be had, or is not what it should be."""

    fault = "yours"


class WalletRefusedError(SigningError):
    """The wallet, or the person behind it, refused to sign."""


class SignatureMismatchError(SigningError):
    """A signature or signed transaction does not belong to what was shown to the wallet."""


def quotable(text: str) -> str:
    """Return what may be shown of a text that should have been an address: it may be a key in the wrong place."""
    return text if len(text) <= _LONGEST_ADDRESS else f"{text[:4]}… ({len(text)} characters)"
