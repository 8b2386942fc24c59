"""The gas faucet: once per user across all networks, and never in the way of the token, as it is documented."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from delegation.sandbox.platform.chain_evm import EvmChain
from delegation.sandbox.platform.chain_solana import SolanaChain
from delegation.sandbox.platform.errors import ChainUnavailableError, Refused
from delegation.sandbox.platform.state import PlatformState

FaucetStatus = Literal["confirmed", "pending", "declined"]

# The documented faucet networks; there is no faucet on Ethereum.
_NETWORKS = frozenset({"linea", "base", "solana"})
_WEI = 10**16
_LAMPORTS = 10**7
_CONFIRMATION_SECONDS = 10.0


def check_faucet_request(state: PlatformState, address: str | None, network: str | None) -> tuple[str, str]:
    """Return address and network, both present and of one family; raises `Refused` with 422."""
    from solders.pubkey import Pubkey

    if not address or not network:
        raise Refused(422, "Validation error: faucet requires address and network")
    known = state.world.networks.get(network)
    if known is None:
        raise Refused(422, "Validation error: network is not supported")
    if known.family == "evm":
        well_formed = re.fullmatch(r"0x[a-fA-F0-9]{40}", address) is not None
    else:
        try:
            Pubkey.from_string(address)
            well_formed = True
        except ValueError:
            well_formed = False
    if not well_formed:
        raise Refused(422, "Validation error: address is not an address of this network")
    return address, network


async def drip(
    state: PlatformState, chains: Mapping[str, EvmChain | SolanaChain], address: str, network: str
) -> FaucetStatus:
    """Send a little native coin, if this user has had none yet, and return how that went."""
    if state.faucet_used or network not in _NETWORKS:
        return "declined"
    state.faucet_used = True  # before anything is awaited: a second request at the same time gets nothing
    chain = chains[network]
    try:
        if isinstance(chain, EvmChain):
            from eth_utils.address import to_checksum_address

            sent = await chain.send_native(to_checksum_address(address), _WEI, wait_seconds=_CONFIRMATION_SECONDS)
        else:
            sent = await chain.send_native(address, _LAMPORTS, wait_seconds=_CONFIRMATION_SECONDS)
    except ChainUnavailableError:
        sent = False
    if sent is None:
        return "pending"
    state.faucet_used = sent
    return "confirmed" if sent else "declined"
