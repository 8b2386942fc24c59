"""The ground floor: networks, keys and bytes. It has never heard of the card platform.

    from chains import get_chain, open_node, parse_address

Everything named here is imported when it is first used, so that `import chains` costs nearly nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from chains.amounts import format_amount, parse_amount, to_base_units
    from chains.claims import (
        Amounts,
        ApprovalCheck,
        ApprovalClaim,
        Expectations,
        Finding,
        OwnershipCheck,
        OwnershipClaim,
        Verdict,
    )
    from chains.errors import (
        ChainError,
        ContradictionError,
        FeeTooHighError,
        FeeTooLowError,
        InputError,
        InvalidAddressError,
        InvalidAmountError,
        InvalidStatementError,
        KeyFileError,
        NodeError,
        NodeUnreachableError,
        NoGasError,
        NonceOccupiedError,
        OtherDelegateError,
        RefusedError,
        RpcError,
        SignatureMismatchError,
        SigningError,
        SpenderRefusedError,
        TokenRefusedError,
        TransactionDroppedError,
        TransactionError,
        TransactionExpiredError,
        TransactionPendingError,
        TransactionReplacedError,
        TransactionRevertedError,
        UnexpectedAllowanceError,
        UnknownNetworkError,
        WalletRefusedError,
        WillRevertError,
        WrongChainError,
    )
    from chains.family import (
        check_approval,
        check_ownership,
        get_head,
        is_unlimited,
        largest_amount,
        message_request,
        open_node,
        open_rpc,
        parse_address,
        signature_scheme,
        transaction_request,
        verify_ownership,
        verify_signed,
    )
    from chains.types import (
        AllowanceIntent,
        AllowanceState,
        ApprovalPlan,
        ApproveOptions,
        ApproveStep,
        BaseUnits,
        Block,
        Chain,
        EvmFee,
        EvmTransaction,
        Family,
        Fee,
        FeePolicy,
        Node,
        OwnershipSignature,
        SentTransaction,
        Settlement,
        SignedTransaction,
        SolanaFee,
        SolanaTransaction,
        Token,
        UnsignedTransaction,
        Wallet,
    )

# Where each network's data lives.
_CHAINS: Final = {
    "ethereum": ("chains.networks.ethereum", "ETHEREUM"),
    "ethereum-sepolia": ("chains.networks.ethereum", "ETHEREUM_SEPOLIA"),
    "linea": ("chains.networks.linea", "LINEA"),
    "linea-sepolia": ("chains.networks.linea", "LINEA_SEPOLIA"),
    "base": ("chains.networks.base", "BASE"),
    "base-sepolia": ("chains.networks.base", "BASE_SEPOLIA"),
    "solana": ("chains.networks.solana", "SOLANA"),
}

CHAIN_NAMES: Final = tuple(_CHAINS)

# Where to look for the public names, cheapest first.
_HOMES: Final = ("chains.errors", "chains.amounts", "chains.types", "chains.claims", "chains.family")

__all__ = [
    "CHAIN_NAMES",
    "AllowanceIntent",
    "AllowanceState",
    "Amounts",
    "ApprovalCheck",
    "ApprovalClaim",
    "ApprovalPlan",
    "ApproveOptions",
    "ApproveStep",
    "BaseUnits",
    "Block",
    "Chain",
    "ChainError",
    "ContradictionError",
    "EvmFee",
    "EvmTransaction",
    "Expectations",
    "Family",
    "Fee",
    "FeePolicy",
    "FeeTooHighError",
    "FeeTooLowError",
    "Finding",
    "InputError",
    "InvalidAddressError",
    "InvalidAmountError",
    "InvalidStatementError",
    "KeyFileError",
    "NoGasError",
    "Node",
    "NodeError",
    "NodeUnreachableError",
    "NonceOccupiedError",
    "OtherDelegateError",
    "OwnershipCheck",
    "OwnershipClaim",
    "OwnershipSignature",
    "RefusedError",
    "RpcError",
    "SentTransaction",
    "Settlement",
    "SignatureMismatchError",
    "SignedTransaction",
    "SigningError",
    "SolanaFee",
    "SolanaTransaction",
    "SpenderRefusedError",
    "Token",
    "TokenRefusedError",
    "TransactionDroppedError",
    "TransactionError",
    "TransactionExpiredError",
    "TransactionPendingError",
    "TransactionReplacedError",
    "TransactionRevertedError",
    "UnexpectedAllowanceError",
    "UnknownNetworkError",
    "UnsignedTransaction",
    "Verdict",
    "Wallet",
    "WalletRefusedError",
    "WillRevertError",
    "WrongChainError",
    "check_approval",
    "check_ownership",
    "format_amount",
    "get_chain",
    "get_head",
    "is_unlimited",
    "largest_amount",
    "message_request",
    "open_node",
    "open_rpc",
    "parse_address",
    "parse_amount",
    "signature_scheme",
    "to_base_units",
    "transaction_request",
    "verify_ownership",
    "verify_signed",
]


def get_chain(name: str) -> Chain:
    """Return the network of this name, in any letter case; raise `UnknownNetworkError` if there is none."""
    home = _CHAINS.get(name.lower())
    if home is None:
        from chains.errors import UnknownNetworkError

        raise UnknownNetworkError(
            f"No network is called {name[:80]!r}.",
            hint=f"The networks are {', '.join(CHAIN_NAMES)}.",
            expected=CHAIN_NAMES,
            found=name,
        )
    module, value = home
    chain: Chain = getattr(import_module(module), value)
    return chain


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(home)
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module 'chains' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
