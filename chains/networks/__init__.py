"""The networks: each is data, in a file of its own, and is loaded when it is asked for by name.

A new network is one file here that makes a `chains.types.Chain`, and one line in the registry below.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from chains.errors import UnknownNetworkError
from chains.types import Chain

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
"""The names of all networks, as `get_chain` takes them."""


def get_chain(name: str) -> Chain:
    """Return the network of this name, in any letter case; raise `UnknownNetworkError` if there is none."""
    home = _CHAINS.get(name.lower())
    if home is None:
        raise UnknownNetworkError(
            f"No network is called {name[:80]!r}.",
            hint=f"The networks are {', '.join(CHAIN_NAMES)}.",
            expected=CHAIN_NAMES,
            found=name,
        )
    module, value = home
    chain: Chain = getattr(import_module(module), value)
    return chain
