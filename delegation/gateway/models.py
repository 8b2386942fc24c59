"""temporary"""
from __future__ import annotations
from decimal import Decimal
from typing import Any
from pydantic import BaseModel, ConfigDict
from delegation.errors import UnsupportedError

class _R(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
class PlatformToken(_R):
    symbol: str
    decimals: int
    address: str
class PlatformNetwork(_R):
    network: str
    environment: str
    chain_id: str
    delegation_contract: str
    tokens: dict[str, PlatformToken]
class LeftOut(_R):
    what: str
    reason: str
class PlatformConfig(_R):
    networks: tuple[PlatformNetwork, ...]
    left_out: tuple[LeftOut, ...] = ()
    def find(self, network: str, currency: str) -> tuple[PlatformNetwork, PlatformToken]:
        for n in self.networks:
            if n.network == network and currency in n.tokens:
                return n, n.tokens[currency]
        raise UnsupportedError(f"not offered {network} {currency}")
class ExternalWallet(_R):
    address: str
    currency: str
    network: str
    balance: Decimal | None = None
    allowance: Decimal | None = None
    def is_of(self, owner: str, currency: str, network: str) -> bool:
        return (self.address.lower(), self.currency, self.network) == (owner.lower(), currency, network)
class PlatformWallet(ExternalWallet):
    id: int | None = None
    priority: int | None = None
