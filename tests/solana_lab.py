"""What the tests of Solana claims share: a token of their own on the sandbox's chain, and nodes that lie.

Every check is made through a recorder, and once more offline from what was recorded: both must say the same.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl
from spl.token import models
from spl.token.constants import TOKEN_PROGRAM_ID

from chains.claims import About, ApprovalCheck, ApprovalClaim, Finding, Verdict, verdict_of
from chains.errors import RpcError
from chains.networks.solana import SOLANA
from chains.rpc import HttpRpc, Listener, Params, Rpc, decode_answer, read_result
from chains.rpc.transcript import RecordingRpc, ReplayRpc, run_offline
from chains.solana.addresses import COMPUTE_BUDGET_PROGRAM, TOKEN_PROGRAM
from chains.solana.approve import build_approve, build_revoke
from chains.solana.blocks import get_head
from chains.solana.verify.approval import check_approval
from chains.types import Chain, Token
from delegation.sandbox import Sandbox

UNIT = 10**6
HELD = 1000 * UNIT
LAMPORTS = 10**9
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")

Answer = Callable[[Any], Any]

_UNSURE = re.compile(r"not known|not proved|not pinned|could not be read|cannot be told")


@dataclass(frozen=True)
class Refusal:
    """What a lie gives to have the node answer with an error."""

    code: int
    message: str = "refused"


class LyingRpc:
    """A node of its own opinion: the answer to each method in `lies` is put through the function there."""

    def __init__(self, inner: Rpc | None, lies: dict[str, Answer]) -> None:
        self.calls = 0
        self.listener: Listener | None = None
        self._inner, self._lies = inner, lies

    async def request(self, method: str, params: Params = ()) -> Any:
        answer: dict[str, Any]
        try:
            told = None if self._inner is None else await self._inner.request(method, params)
        except RpcError as error:
            answer = {"error": {"code": error.code, "message": error.message, "data": error.data}}
        else:
            said = self._lies.get(method, lambda truth: truth)(told)
            answer = {"result": said}
            if isinstance(said, Refusal):
                answer = {"error": {"code": said.code, "message": said.message}}
        body = json.dumps(answer, default=str)
        if self.listener is not None:
            self.listener(method, params, body)
        return read_result(method, decode_answer(body))

    async def aclose(self) -> None:
        """The lab's own connection stays open."""


@dataclass(frozen=True)
class Signed:
    """A signed transaction that may or may not have been sent."""

    signature: str
    raw: str


@dataclass(frozen=True)
class Wallet:
    """A key and its token account of the lab's token."""

    key: Keypair
    account: str

    @property
    def address(self) -> str:
        return str(self.key.pubkey())


@dataclass
class SolanaLab:
    """The sandbox's Solana chain with a payer, who mints and freezes the lab's token."""

    chain: Chain
    rpc: HttpRpc
    payer: Keypair
    token: Token
    treasury: str = ""

    async def sign(
        self,
        instructions: Sequence[Instruction],
        *signers: Keypair,
        blockhash: Hash | None = None,
        tables: Sequence[Any] = (),
        legacy: bool = False,
    ) -> Signed:
        """Sign with a fresh blockhash; the first signer pays."""
        if blockhash is None:
            latest = await self.rpc.request("getLatestBlockhash", [{"commitment": "confirmed"}])
            blockhash = Hash.from_string(latest["value"]["blockhash"])
        payer = signers[0].pubkey()
        message: Message | MessageV0
        if legacy:
            message = Message.new_with_blockhash(list(instructions), payer, blockhash)
        else:
            message = MessageV0.try_compile(payer, list(instructions), list(tables), blockhash)
        by_key = {signer.pubkey(): signer for signer in signers}
        needed = message.account_keys[: message.header.num_required_signatures]
        transaction = VersionedTransaction(message, [by_key[key] for key in needed])
        return Signed(str(transaction.signatures[0]), b64encode(bytes(transaction)).decode())

    async def send(self, signed: Signed, *, fails: bool = False) -> Signed:
        """Send and wait until it is confirmed."""
        config = {"encoding": "base64", "skipPreflight": fails, "preflightCommitment": "processed"}
        await self.rpc.request("sendTransaction", [signed.raw, config])
        for _ in range(1000):
            [status] = (await self.rpc.request("getSignatureStatuses", [[signed.signature]]))["value"]
            if status is not None and status["confirmationStatus"] != "processed":
                assert (status["err"] is not None) is fails, status
                return signed
            await asyncio.sleep(0.01)
        raise AssertionError("the node did not take a transaction of the test's own")

    async def submit(self, instructions: Sequence[Instruction], *signers: Keypair, **how: Any) -> Signed:
        return await self.send(await self.sign(instructions, *signers, **how))

    async def new_token(self, *extensions: bytes, size: int = 82, program: Pubkey = TOKEN_PROGRAM_ID) -> Token:
        mint = Keypair()
        rent = await self.rpc.request("getMinimumBalanceForRentExemption", [size])
        space = CreateAccountParams(
            from_pubkey=self.payer.pubkey(), to_pubkey=mint.pubkey(), lamports=rent, space=size, owner=program
        )
        authority = self.payer.pubkey()
        made = models.InitializeMint2Params(
            decimals=6, program_id=program, mint=mint.pubkey(), mint_authority=authority, freeze_authority=authority
        )
        steps = [create_account(space)]
        steps += [Instruction(program, data, [AccountMeta(mint.pubkey(), False, True)]) for data in extensions]
        await self.submit([*steps, spl.initialize_mint2(made)], self.payer, mint)
        return Token("USDC", str(mint.pubkey()), 6)

    async def wallet(
        self, token: Token | None = None, program: Pubkey = TOKEN_PROGRAM_ID, *, owner: Pubkey | None = None
    ) -> Wallet:
        """Return a wallet with SOL and 1000 of a token; `owner` has the token account instead of the wallet's key."""
        key, token = Keypair(), token or self.token
        holder = owner or key.pubkey()
        mint, payer = Pubkey.from_string(token.address), self.payer.pubkey()
        account = spl.get_associated_token_address(holder, mint, program)
        minted = models.MintToParams(program_id=program, mint=mint, dest=account, mint_authority=payer, amount=HELD)
        sol = TransferParams(from_pubkey=payer, to_pubkey=key.pubkey(), lamports=LAMPORTS)
        created = spl.create_associated_token_account(payer, holder, mint, program)
        await self.submit([transfer(sol), created, spl.mint_to(minted)], self.payer)
        return Wallet(key, str(account))

    async def spend(self, wallet: Wallet, spender: Keypair, amount: int) -> Signed:
        """Have the delegate take tokens, as a card payment does."""
        return await self.submit([self.take(wallet, str(spender.pubkey()), amount)], self.payer, spender)

    def take(self, wallet: Wallet, authority: str, amount: int, *, to: str | None = None) -> Instruction:
        """Return a transfer to a token account, by default that of another wallet of the lab."""
        return Instruction(
            TOKEN_PROGRAM_ID,
            bytes([3]) + amount.to_bytes(8, "little"),
            [
                AccountMeta(Pubkey.from_string(wallet.account), False, True),
                AccountMeta(Pubkey.from_string(to or self.treasury), False, True),
                AccountMeta(Pubkey.from_string(authority), True, False),
            ],
        )

    def close(self, wallet: Wallet) -> Instruction:
        """Return CloseAccount, which wants an empty account."""
        owner = wallet.key.pubkey()
        keys = [AccountMeta(Pubkey.from_string(wallet.account), False, True), AccountMeta(owner, False, True)]
        return Instruction(TOKEN_PROGRAM_ID, bytes([9]), [*keys, AccountMeta(owner, True, False)])

    async def freeze(self, wallet: Wallet) -> None:
        account, mint = Pubkey.from_string(wallet.account), Pubkey.from_string(self.token.address)
        keys = [AccountMeta(account, False, True), AccountMeta(mint, False, False)]
        authority = AccountMeta(self.payer.pubkey(), True, False)
        await self.submit([Instruction(TOKEN_PROGRAM_ID, bytes([10]), [*keys, authority])], self.payer)

    def claim(self, signed: Signed, wallet: Wallet, spender: str, amount: int, **changes: Any) -> ApprovalClaim:
        claim = ApprovalClaim(
            chain=self.chain,
            transaction=signed.signature,
            token=self.token,
            owner=wallet.address,
            spender=spender,
            amount=amount,
        )
        return replace(claim, **changes)

    async def check(self, claim: ApprovalClaim, *, at: str = "latest", **lies: Answer) -> ApprovalCheck:
        """Check a claim at the node, which may lie, and once more offline."""
        recorder = RecordingRpc(LyingRpc(self.rpc, lies))
        head = await get_head(self.chain, recorder, at)
        check = await check_approval(claim, recorder, head)
        replay = ReplayRpc(recorder.exchanges)
        assert run_offline(get_head(self.chain, replay, at)) == head
        assert run_offline(check_approval(claim, replay, head)) == check
        json.dumps(check.exhibits)
        unsure = [one.message for one in check.findings if one.verdict == "VERIFIED" and _UNSURE.search(one.message)]
        assert not unsure, "what is not known is NOTED or UNDETERMINED, and never a yes"
        return check


@asynccontextmanager
async def open_lab(sandbox: Sandbox) -> AsyncIterator[SolanaLab]:
    """Open the lab on the sandbox's Solana chain."""
    known = sandbox.document.networks["solana"]
    rpc = HttpRpc(known.rpc_url)
    lab = SolanaLab(replace(SOLANA, genesis_hash=known.genesis_hash), rpc, Keypair(), Token("USDC", "", 6))
    await rpc.request("requestAirdrop", [str(lab.payer.pubkey()), 1000 * LAMPORTS])
    for _ in range(500):
        if (await rpc.request("getBalance", [str(lab.payer.pubkey())]))["value"]:
            break
        await asyncio.sleep(0.01)
    lab.token = await lab.new_token()
    lab.treasury = (await lab.wallet()).account
    yield lab
    await rpc.aclose()


def approve(wallet: Wallet, spender: str, amount: int, *, program: str = TOKEN_PROGRAM) -> Instruction:
    return build_approve(program, wallet.account, spender, wallet.address, amount)


def revoke(wallet: Wallet, *, program: str = TOKEN_PROGRAM) -> Instruction:
    return build_revoke(program, wallet.account, wallet.address)


def give_away(wallet: Wallet, owner: str) -> Instruction:
    """Return SetAuthority(AccountOwner)."""
    data = bytes([6, 2, 1]) + bytes(Pubkey.from_string(owner))
    accounts = [
        AccountMeta(Pubkey.from_string(wallet.account), False, True),
        AccountMeta(wallet.key.pubkey(), True, False),
    ]
    return Instruction(TOKEN_PROGRAM_ID, data, accounts)


def batch(*instructions: Instruction) -> Instruction:
    """Return the `batch` (255) of instructions of one token program."""
    data = b"".join(bytes([len(one.accounts), len(one.data)]) + bytes(one.data) for one in instructions)
    accounts = [account for one in instructions for account in one.accounts]
    return Instruction(instructions[0].program_id, bytes([255]) + data, accounts)


def new_spender() -> str:
    return str(Keypair().pubkey())


def finding(check: ApprovalCheck, rule: str) -> Finding:
    """Return the one finding of a rule."""
    [found] = [one for one in check.findings if one.rule == rule]
    return found


def refuted(check: ApprovalCheck) -> list[str]:
    """Return the rules that refute a claim."""
    assert verdict(check) == "REFUTED"
    return [one.rule for one in check.findings if one.verdict == "REFUTED" and one.about == "claim"]


def verdict(check: ApprovalCheck, *, about: About = "claim") -> Verdict:
    """Return the verdict on the claim at its own block, or with `about="present"` on what is so now."""
    return verdict_of(found for found in check.findings if found.about == about)


def still_active(check: ApprovalCheck) -> Verdict:
    """Return whether the approval still stands, which is what alone counts of the present besides what is allowed."""
    found = finding(check, "still-active").verdict
    assert found != "NOTED"
    return found


def refusals(result: Any = None) -> dict[str, Any]:
    """Return the ways in which nodes say that they do not serve what is asked; each is one fact in another spelling."""
    return {
        "busy": Refusal(-32005, "Node is behind by 42 slots"),
        "behind": Refusal(-32016, "Minimum context slot has not been reached"),
        "pruned": Refusal(-32011, "Transaction history is not available from this node"),
        "cleaned up": Refusal(-32001, "Block 5 cleaned up, does not exist on node. First available block: 900"),
        "skipped": Refusal(-32007, "Slot 5 was skipped, or missing due to ledger jump to recent snapshot"),
        "too old": Refusal(-32009, "Slot 5 was skipped, or missing in long-term storage"),
        "unreachable storage": Refusal(-32019, "Failed to query long-term storage; please try again"),
        "method off": Refusal(-32601, "Method not found"),
        "params": Refusal(-32602, "Invalid param: unsupported"),
        "limit": Refusal(429, "Too many requests"),
        "internal": Refusal(-32603, "Internal error"),
        "nothing": result,
    }


def base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def calls(signed: Signed, index: int, *inner: Instruction) -> Any:
    """Return a lie about one transaction: its instruction `index` called these, which no program here really does."""
    keys = [str(key) for key in _message(signed).account_keys]
    made = [
        {
            "programIdIndex": keys.index(str(one.program_id)),
            "accounts": [keys.index(str(meta.pubkey)) for meta in one.accounts],
            "data": base58(bytes(one.data)),
            "stackHeight": 2,
        }
        for one in inner
    ]

    def lie(answer: Any) -> Any:
        if answer["transaction"][0] != signed.raw:
            return answer
        return answer | {"meta": answer["meta"] | {"innerInstructions": [{"index": index, "instructions": made}]}}

    return lie


def serves(signed: Signed, slot: int) -> dict[str, Any]:
    """Return the lies of a node that says that a transaction landed which never did."""
    meta = {"err": None, "innerInstructions": [], "loadedAddresses": {"writable": [], "readonly": []}}
    served = {"slot": slot, "meta": meta, "transaction": [signed.raw, "base64"], "version": 0}
    return {"getTransaction": lambda _: served}


def _message(signed: Signed) -> Any:
    return VersionedTransaction.from_bytes(b64decode(signed.raw)).message


def memo(*signers: Keypair) -> Instruction:
    return Instruction(MEMO, b"paid", [AccountMeta(signer.pubkey(), True, False) for signer in signers])


def mention(*addresses: str) -> Instruction:
    """Return an instruction that does nothing to these accounts but bring their keys into the message."""
    metas = [AccountMeta(Pubkey.from_string(one), False, False) for one in addresses]
    return Instruction(Pubkey.from_string(COMPUTE_BUDGET_PROGRAM), b"\x02" + (200_000).to_bytes(4, "little"), metas)
