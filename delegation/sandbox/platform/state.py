"""What the simulated platform remembers: tokens, wallets, proofs, its clock, and what the tests changed."""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from delegation.sandbox.platform.errors import Refused
from delegation.sandbox.platform.limits import LimitInForce
from delegation.sandbox.platform.sign_in import SignIn
from delegation.sandbox.world import PlatformWorld

TOKEN_LIFE = timedelta(minutes=10)
FIRST_WALLET_ID = 551


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A delegation token, the nonce that its statement must carry, and its end."""

    token: str = field(repr=False)
    nonce: str
    expires_at: datetime
    used: bool = False


@dataclass(frozen=True, slots=True)
class RegisteredWallet:
    """One row of the wallet list: one (address, currency, network)."""

    id: int
    address: str
    currency: str
    network: str
    priority: int


@dataclass(frozen=True, slots=True)
class ReceivedProof:
    """What came in at post-approval and what was answered; the delegation token is left out on purpose.

    `second_judge` is the verdict of this toolkit's own engine, or None where the proof was refused before it was asked.
    """

    received_at: str
    network: object
    currency: object
    address: object
    amount: object
    tx_hash: object
    accepted: bool
    status: int
    message: str
    second_judge: str | None = None


class PlatformState:
    """The memory of one running platform, for its one user. It lives and dies with the process."""

    def __init__(self, world: PlatformWorld) -> None:
        self.world = world
        self.user_id = str(uuid.uuid4())
        self.created_at = datetime.now(UTC)
        self.clock_offset = timedelta()
        self.faucet_used = False
        self.sign_in = SignIn(world, self.user_id, self.now)
        self.proofs: list[ReceivedProof] = []
        self.requests: Counter[str] = Counter()
        self.limits: list[LimitInForce] = []
        self.config_overrides: dict[str, dict[str, Any]] = {}
        self.wallets: list[RegisteredWallet] = []
        self._tokens: dict[str, IssuedToken] = {}
        self._used_transactions: set[tuple[str, str]] = set()

    def now(self) -> datetime:
        """Return the time by the platform's clock, which tests can move."""
        return datetime.now(UTC) + self.clock_offset

    def issue_token(self) -> IssuedToken:
        """Return a new single-use delegation token."""
        issued = IssuedToken(f"SBX_{uuid.uuid4()}", secrets.token_hex(12), self.now() + TOKEN_LIFE)
        self._tokens[issued.token] = issued
        return issued

    def get_live_token(self, token: str) -> IssuedToken:
        """Return the token, or raise `Refused` if it is unknown, expired or was used."""
        issued = self._tokens.get(token)
        if issued is None:
            raise Refused(400, "Delegation token not found")
        if issued.used:
            raise Refused(400, "Delegation token already used")
        if self.now() >= issued.expires_at:
            raise Refused(400, "Delegation token expired")
        return issued

    def accept(self, *, token: str, network: str, tx_hash: str, address: str, currency: str) -> None:
        """Burn the token, bind the transaction and register the wallet, all or nothing.

        The token and the transaction are looked at again: another proof may have used them while the chain was asked.
        Only success burns a token. Raises `Refused`.
        """
        issued = self.get_live_token(token)
        if (network, tx_hash) in self._used_transactions:
            raise Refused(409, "Transaction already used")
        self._tokens[token] = replace(issued, used=True)
        self._used_transactions.add((network, tx_hash))
        self._register(address, currency, network)

    def forget_transactions(self) -> None:
        """Forget which transactions were used; the tokens that they were used with stay burnt."""
        self._used_transactions.clear()

    def _register(self, address: str, currency: str, network: str) -> None:
        if any((row.address, row.currency, row.network) == (address, currency, network) for row in self.wallets):
            return
        number = max((row.id for row in self.wallets), default=FIRST_WALLET_ID - 1) + 1
        priority = max((row.priority for row in self.wallets), default=0) + 1
        self.wallets.append(RegisteredWallet(number, address, currency, network, priority))

    def set_priorities(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Set the priorities from (id, priority) pairs, which must name every wallet once; raises `Refused`."""
        if len({priority for _, priority in wanted}) != len(wanted):
            raise Refused(422, "Duplicate priority values not allowed")
        if sorted(number for number, _ in wanted) != sorted(row.id for row in self.wallets):
            raise Refused(422, "Invalid priority configuration")
        priorities = dict(wanted)
        self.wallets = [replace(row, priority=priorities[row.id]) for row in self.wallets]
