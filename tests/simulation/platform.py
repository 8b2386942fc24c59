"""A model of the platform: configuration, token, post-approval and the list of wallets, as its documents describe them.

A proof is judged against the model chain. Accepted proofs are counted by the hash of their transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, Final, Literal, Protocol

from chains.errors import ToolkitError
from chains.family import signature_scheme, verify_ownership
from chains.types import Chain, Family, OwnershipSignature

from .faults import Faults

LIST: Final = "/v1/wallet/external"
_LIFE: Final = 600.0


class JudgedChain(Protocol):
    """A model chain as the platform reads it."""

    chain: Chain
    spender: str

    def approved(self, hash_: str, owner: str, token: str) -> tuple[int, float] | None:
        """Return the amount that a transaction of the chain approved for the spender, and its age in seconds."""
        ...

    def allowance_before(self, seconds: float, owner: str, token: str) -> int:
        """Return the allowance that the chain held this many seconds ago."""
        ...


@dataclass(frozen=True, slots=True)
class Habits:
    """What this platform is like in one life.

    `repeated`: what it does with a transaction that it has accepted: refuses it (409), or takes it again.
    `list_lag`: how many seconds its list is behind. `oldest`: it refuses transactions older than this many seconds.
    `forgets`: the chance per question that it loses everything it has accepted, while there are faults.
    `drops_revoked`: a wallet without an allowance leaves the list.
    """

    repeated: Literal["refuses", "takes"]
    list_lag: float
    oldest: float
    forgets: float
    drops_revoked: bool


@dataclass(slots=True)
class _Token:
    nonce: str
    expires_at: float
    used: bool = False


@dataclass(slots=True)
class _Row:
    network: str
    currency: str
    address: str
    since: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """A proof that was accepted; `era` counts how often the platform had forgotten everything by then."""

    tx_hash: str
    at: float
    era: int
    body: bytes


@dataclass
class Platform:
    """The platform; `now` are virtual seconds, `date` the same as a date."""

    chains: Mapping[str, JudgedChain]
    habits: Habits
    faults: Faults
    rng: Random
    now: Callable[[], float]
    date: Callable[[], datetime]
    tell: Callable[[str], None]
    era: int = 0
    accepted: list[Accepted] = field(default_factory=list)
    tokens: dict[str, _Token] = field(default_factory=dict)
    rows: list[_Row] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer to a request."""
        if self.faults.happens(self.habits.forgets):
            self.tell("the platform forgets everything")
            self.era += 1
            self.rows.clear()
            self._used.clear()
        status, said = self._answer(method, path, body)
        return status, json.dumps(said).encode()

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        match method, path:
            case "GET", "/v1/delegation/chain/config":
                return 200, {"networks": [self._describe(chain) for chain in self.chains.values()]}
            case "GET", "/v1/delegation/token":
                token, nonce = f"{self.rng.getrandbits(128):032x}", f"{self.rng.getrandbits(64):016x}"
                self.tokens[token] = _Token(nonce, self.now() + _LIFE)
                return 200, {"token": token, "nonce": nonce}
            case "GET", "/v1/wallet/external":
                shown = [self._show(row) for row in self.rows if self.now() - row.since >= self.habits.list_lag]
                return 200, [row for row in shown if not (self.habits.drops_revoked and row["allowance"] == "0")]
            case "POST", "/v1/delegation/evm/post-approval":
                return self._judge("evm", json.loads(body), body)
            case "POST", "/v1/delegation/solana/post-approval":
                return self._judge("solana", json.loads(body), body)
        return 404, {"message": "Not found"}

    def _describe(self, model: JudgedChain) -> dict[str, Any]:
        chain = model.chain
        return {
            "network": chain.name,
            "environment": "simulation",
            "chainId": str(chain.chain_id or "solana"),
            "delegationContract": model.spender,
            "tokens": {
                token.symbol.lower(): {"symbol": token.symbol, "decimals": token.decimals, "address": token.address}
                for token in chain.tokens
                if token.symbol in {"USDC", "USDT"}
            },
        }

    def _show(self, row: _Row) -> dict[str, Any]:
        allowance = self.chains[row.network].allowance_before(
            self.habits.list_lag, row.address, self._token_of(row.network, row.currency)
        )
        return {
            "address": row.address,
            "currency": row.currency,
            "network": row.network,
            "balance": "1000",
            "allowance": f"{Decimal(allowance).scaleb(-6).normalize():f}",
        }

    def _token_of(self, network: str, currency: str) -> str:
        tokens = self.chains[network].chain.tokens
        return next(token.address for token in tokens if token.symbol.lower() == currency)

    def _judge(self, family: Family, proof: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        problem = self._find_problem(family, proof)
        if problem is not None:
            return problem[0], {"message": problem[1]}
        hash_ = proof["txHash"]
        self.tokens[proof["token"]].used = True
        self._used.add(hash_)
        self.accepted.append(Accepted(hash_, self.now(), self.era, body))
        self.tell(f"the platform accepts {hash_[:12]}")
        row = _Row(proof["network"], proof["currency"], proof["address"], self.now())
        if not any(
            (row.network, row.currency, row.address) == (one.network, one.currency, one.address) for one in self.rows
        ):
            self.rows.append(row)
        return 201, {"success": True}

    def _find_problem(self, family: Family, proof: Mapping[str, str]) -> tuple[int, str] | None:
        token = self.tokens.get(proof["token"])
        if token is None:
            return 400, "Delegation token not found"
        if token.used or self.now() >= token.expires_at:
            return 400, f"Delegation token {'already used' if token.used else 'expired'}"
        model = self.chains[proof["network"]]
        if model.chain.family != family:
            return 422, "Validation error: network"
        if f"Nonce: {token.nonce}" not in proof["sigMessage"]:
            return 422, "The statement holds another nonce"
        signed = OwnershipSignature(proof["sigMessage"], proof["sigHash"], signature_scheme(family))
        try:
            verify_ownership(family, proof["address"], signed)
        except ToolkitError:
            return 422, "The statement was not signed by the wallet"
        hash_ = proof["txHash"]
        if hash_ in self._used and self.habits.repeated == "refuses":
            return 409, "Transaction already used"
        found = model.approved(hash_, proof["address"], self._token_of(proof["network"], proof["currency"]))
        if found is None:
            return 422, "Transaction not found"
        amount, age = found
        if age > self.habits.oldest:
            return 422, "Transaction too old"
        if Decimal(amount).scaleb(-6) != Decimal(proof["amount"]):
            return 422, "The transaction approves another amount"
        return None
