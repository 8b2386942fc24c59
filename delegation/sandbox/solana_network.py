"""The local Solana network: surfpool, two SPL mints of ours on it, and the operator who is the delegate."""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from chains.errors import RpcError
from chains.rpc import HttpRpc
from delegation.errors import SandboxError
from delegation.sandbox.document import KeyDocument, NetworkDocument, TokenDocument

if TYPE_CHECKING:
    from solders.instruction import Instruction
    from solders.keypair import Keypair
    from solders.pubkey import Pubkey

DECIMALS: Final = 6
WALLET_TOKENS: Final = 1_000_000 * 10**DECIMALS
LAMPORTS_PER_SOL: Final = 1_000_000_000
WALLET_LAMPORTS: Final = 100 * LAMPORTS_PER_SOL
_CONFIRM_TIMEOUT: Final = 20.0
_MINT_SIZE: Final = 82


@dataclass(slots=True)
class SolanaNetwork:
    """The running Solana network. `authority` pays for, mints and may freeze everything; `treasury` receives spends."""

    name: str
    rpc_url: str
    rpc: HttpRpc
    genesis_hash: str
    authority: KeyDocument
    operator: KeyDocument
    faucet: KeyDocument
    treasury: KeyDocument
    tokens: dict[str, TokenDocument] = field(default_factory=dict)

    @property
    def document(self) -> NetworkDocument:
        """This network's part of the sandbox's document."""
        return NetworkDocument(
            rpc_url=self.rpc_url,
            chain_id=self.genesis_hash,
            delegation_contract=self.operator.address,
            operator=self.operator,
            tokens=self.tokens,
            genesis_hash=self.genesis_hash,
        )

    async def fund(self, address: str, *, gas: bool, tokens: bool) -> None:
        """Give an address 100 SOL and 1,000,000 of each token in its associated accounts, or only one of the two."""
        from solders.system_program import TransferParams, transfer
        from spl.token import instructions as spl

        payer, owner = _keypair(self.authority).pubkey(), _pubkey(address)
        steps = []
        if gas:
            steps.append(transfer(TransferParams(from_pubkey=payer, to_pubkey=owner, lamports=WALLET_LAMPORTS)))
        if tokens:
            for token in self.tokens.values():
                mint = _pubkey(token.address)
                steps.append(spl.create_idempotent_associated_token_account(payer, owner, mint))
                steps.append(_mint_to(mint, spl.get_associated_token_address(owner, mint), payer, WALLET_TOKENS))
        if steps:
            await self._send(steps, self.authority)

    async def spend(self, currency: str, owner: str, amount: int) -> str:
        """Have the operator transfer `amount` base units as the delegate; return the signature once confirmed.

        Raises `SandboxError` if the token program refuses.
        """
        from spl.token import instructions as spl
        from spl.token.constants import TOKEN_PROGRAM_ID
        from spl.token.models import TransferCheckedParams

        operator, mint = _keypair(self.operator).pubkey(), _pubkey(self.tokens[currency].address)
        step = spl.transfer_checked(
            TransferCheckedParams(
                program_id=TOKEN_PROGRAM_ID,
                source=spl.get_associated_token_address(_pubkey(owner), mint),
                mint=mint,
                dest=spl.get_associated_token_address(_pubkey(self.treasury.address), mint),
                owner=operator,
                amount=amount,
                decimals=DECIMALS,
            )
        )
        try:
            return await self._send([step], self.operator)
        except RpcError as error:
            raise SandboxError(
                f"The operator could not pull {amount} base units of {currency} on {self.name} from {owner}: "
                f"{error.message}",
                hint="The owner's allowance or balance is too small, or the operator is not the delegate.",
                expected=amount,
                found=error.data,
            ) from error

    async def create_tokens(self, currencies: tuple[str, ...]) -> None:
        """Create one mint a currency, with a freeze authority as the real ones have, and the treasury's accounts."""
        from solders.system_program import CreateAccountParams, create_account
        from spl.token import instructions as spl
        from spl.token.constants import TOKEN_PROGRAM_ID
        from spl.token.models import InitializeMint2Params

        payer, treasury = _keypair(self.authority).pubkey(), _pubkey(self.treasury.address)
        rent = await self.rpc.request("getMinimumBalanceForRentExemption", [_MINT_SIZE])
        mints = {currency: make_solana_key() for currency in currencies}
        steps = []
        for mint in (_pubkey(key.address) for key in mints.values()):
            steps += [
                create_account(
                    CreateAccountParams(
                        from_pubkey=payer, to_pubkey=mint, lamports=rent, space=_MINT_SIZE, owner=TOKEN_PROGRAM_ID
                    )
                ),
                spl.initialize_mint2(
                    InitializeMint2Params(
                        decimals=DECIMALS,
                        program_id=TOKEN_PROGRAM_ID,
                        mint=mint,
                        mint_authority=payer,
                        freeze_authority=payer,
                    )
                ),
                spl.create_associated_token_account(payer, treasury, mint),
            ]
        await self._send(steps, self.authority, *mints.values())
        self.tokens = {
            currency: TokenDocument(address=key.address, decimals=DECIMALS) for currency, key in mints.items()
        }

    async def _send(self, steps: list[Instruction], *signers: KeyDocument) -> str:
        """Sign and send; the first signer pays. Return the signature once the transaction is confirmed.

        Raises `RpcError` if the node refuses it beforehand and `SandboxError` if it fails or does not land.
        """
        from solders.hash import Hash
        from solders.message import Message
        from solders.transaction import Transaction

        keys = [_keypair(key) for key in signers]
        latest = await self.rpc.request("getLatestBlockhash", [{"commitment": "confirmed"}])
        blockhash = Hash.from_string(latest["value"]["blockhash"])
        signed = Transaction(keys, Message.new_with_blockhash(steps, keys[0].pubkey(), blockhash), blockhash)
        wire = base64.b64encode(bytes(signed)).decode()
        options = {"encoding": "base64", "preflightCommitment": "processed"}
        signature: str = await self.rpc.request("sendTransaction", [wire, options])
        await wait_confirmed(self.rpc, signature)
        return signature


async def open_solana_network(name: str, rpc_url: str) -> SolanaNetwork:
    """Create the mints and fund the operator and the faucet on the node at `rpc_url`."""
    rpc = HttpRpc(rpc_url)
    try:
        authority, operator, faucet, treasury = (make_solana_key() for _ in range(4))
        genesis_hash: str = await rpc.request("getGenesisHash")
        network = SolanaNetwork(name, rpc_url, rpc, genesis_hash, authority, operator, faucet, treasury)
        for key, sol in ((authority, 900_000), (operator, 1_000), (faucet, 1_000)):
            await wait_confirmed(rpc, await rpc.request("requestAirdrop", [key.address, sol * LAMPORTS_PER_SOL]))
        await network.create_tokens(("usdc", "usdt"))
        return network
    except BaseException:
        await rpc.aclose()
        raise


def make_solana_key() -> KeyDocument:
    """Return a new random key: the base58 address and the base58 64-byte key pair."""
    from solders.keypair import Keypair

    keypair = Keypair.from_seed(secrets.token_bytes(32))
    return KeyDocument(address=str(keypair.pubkey()), private_key=str(keypair))


async def wait_confirmed(rpc: HttpRpc, signature: str) -> None:
    """Wait until a transaction is confirmed; raises `SandboxError` if it fails or does not land."""
    deadline = asyncio.get_running_loop().time() + _CONFIRM_TIMEOUT
    while asyncio.get_running_loop().time() < deadline:
        answer = await rpc.request("getSignatureStatuses", [[signature]])
        status: dict[str, Any] | None = answer["value"][0]
        if status is not None and status["err"] is not None:
            raise SandboxError(f"A transaction of the sandbox's own failed: {signature}.", found=status["err"])
        if status is not None and status["confirmationStatus"] in {"confirmed", "finalized"}:
            return
        await asyncio.sleep(0.01)
    raise SandboxError(f"The local Solana node did not confirm {signature} in {_CONFIRM_TIMEOUT:.0f} s.")


def _mint_to(mint: Pubkey, account: Pubkey, authority: Pubkey, amount: int) -> Instruction:
    from spl.token import instructions as spl
    from spl.token.constants import TOKEN_PROGRAM_ID
    from spl.token.models import MintToParams

    return spl.mint_to(
        MintToParams(program_id=TOKEN_PROGRAM_ID, mint=mint, dest=account, mint_authority=authority, amount=amount)
    )


def _keypair(key: KeyDocument) -> Keypair:
    from solders.keypair import Keypair

    return Keypair.from_base58_string(key.private_key)


def _pubkey(address: str) -> Pubkey:
    from solders.pubkey import Pubkey

    return Pubkey.from_string(address)
