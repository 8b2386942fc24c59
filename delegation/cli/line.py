"""Carrying a delegation from the command line: the plan is shown and agreed to; whatever stops it can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from delegation.cli.session import (
    BAD_INPUT,
    DONE,
    FAILED,
    STOPPED_MIDWAY,
    UNDETERMINED,
    Session,
    exit_status,
    tell_error,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextlib import AbstractAsyncContextManager

    from chains.errors import ToolkitError
    from chains.types import Family, SentTransaction, SignedTransaction, UnsignedTransaction, Wallet
    from delegation.context import Context, Replacement
    from delegation.intents import OutdatedPlan
    from delegation.models import Approval, Delegation, Plan
    from delegation.profile import Profile
    from delegation.unfinished import Outcome

_VERDICT_STATUS = {"VERIFIED": DONE, "REFUTED": FAILED, "UNDETERMINED": UNDETERMINED}


def agree_on_terminal(session: Session, *, yes: bool) -> Callable[[Plan], None]:
    """Return the function that shows the plan and, unless `yes`, asks whether to go on."""

    def agree(plan: Plan) -> None:
        from delegation.plan import describe_plan

        if not (session.quiet and yes):
            session.print_pairs(describe_plan(plan), to_stderr=True)
        if not yes:
            _confirm(session, "Sign and send this?")

    return agree


def agree_again_on_terminal(session: Session) -> Callable[[OutdatedPlan], None]:
    """Return the function that shows what has changed since a plan was agreed to, and always asks a person."""

    def agree_again(outdated: OutdatedPlan) -> None:
        from delegation.errors import NobodyAskedError
        from delegation.plan import describe_plan

        session.print_pairs(describe_plan(outdated.now), to_stderr=True)
        session.insist(outdated.describe())
        try:
            _confirm(session, "Sign and send this all the same?")
        except NobodyAskedError:
            raise outdated.error from None

    return agree_again


def agree_replacement_on_terminal(session: Session, *, yes: bool) -> Callable[[Replacement], None]:
    """Return the function that shows what would take the place of a stuck transaction, and asks unless `yes`."""

    def agree_replacement(replacement: Replacement) -> None:
        if not (session.quiet and yes):
            session.print_pairs(_replacement_pairs(replacement), to_stderr=True)
        if not yes:
            _confirm(session, "Sign and send this?")

    return agree_replacement


def _replacement_pairs(replacement: Replacement) -> list[tuple[str, str]]:
    from chains import get_chain
    from chains.amounts import format_amount
    from chains.types import EvmTransaction

    d, old, new = replacement.delegation, replacement.old, replacement.new
    chain = get_chain(d.request.network)

    def fee(transaction: UnsignedTransaction) -> str:
        cost = f"{format_amount(transaction.fee.max_cost, chain.native_decimals)} {chain.native_symbol}"
        if not isinstance(transaction, EvmTransaction):
            return f"at most {cost}"
        return f"at most {cost} ({transaction.fee.max_fee_per_gas} wei per gas)"

    what = "nothing: the nonce is used up" if replacement.cancels else "the same approval at a higher fee"
    pairs = [("Delegation", d.id), ("Replaced by", what)]
    if isinstance(new, EvmTransaction):
        pairs.append(("Nonce", f"{new.nonce} of {new.sender} on {chain.title}"))
    return [*pairs, ("Fee so far", fee(old)), ("New fee", f"{fee(new)}; only one of the two is ever paid")]


def _confirm(session: Session, question: str) -> None:
    """Ask a person; raises `DeclinedError` on a no, and `NobodyAskedError` if nobody is there."""
    from delegation.errors import DeclinedError

    if not session.confirm(question):
        raise DeclinedError("You declined; nothing was signed and nothing was sent after that.")


def open_session_context(
    session: Session, profile: Profile, network: str, *, wallet: Wallet, rpc_url: str | None, yes: bool
) -> AbstractAsyncContextManager[Context]:
    """Return the context of a command that carries a delegation: it shows progress, and its plans are agreed to."""
    from delegation.profile import open_context

    return open_context(
        profile,
        network,
        wallet=wallet,
        rpc_url=rpc_url,
        progress=session.progress,
        agree=agree_on_terminal(session, yes=yes),
        agree_again=agree_again_on_terminal(session),
        agree_replacement=agree_replacement_on_terminal(session, yes=yes),
    )


def open_owners_context(
    session: Session,
    profile: Profile,
    delegation: Delegation,
    *,
    wallet_source: str | None,
    rpc_url: str | None,
    yes: bool,
) -> AbstractAsyncContextManager[Context]:
    """Return the context that carries a delegation of the journal on; its wallet is loaded once it has to sign."""
    request = delegation.request
    chain = profile.chain(request.network)
    wallet = OwnersWallet(
        request.owner, chain.family, lambda: session.load_wallet(profile, chain.family, wallet_source)
    )
    return open_session_context(session, profile, chain.name, wallet=wallet, rpc_url=rpc_url, yes=yes)


class OwnersWallet:
    """The wallet of a delegation's owner, loaded when something has to be signed and not before."""

    sends = False

    def __init__(self, owner: str, family: Family, load: Callable[[], Wallet]) -> None:
        self.address = owner
        self.family = family
        self._load = load

    async def authorise(self, transaction: UnsignedTransaction) -> SignedTransaction | SentTransaction:
        """Return the signed transaction."""
        return await self._wallet.authorise(transaction)

    async def sign_message(self, message: str) -> str:
        """Return the signature of a text."""
        return await self._wallet.sign_message(message)

    @cached_property
    def _wallet(self) -> Wallet:
        from delegation.context import check_wallet

        wallet = self._load()
        check_wallet(wallet, self.address)
        return wallet


async def carry_and_report(
    session: Session,
    /,
    delegation: Delegation,
    context: Context,
    work: Callable[[Delegation, Context], Awaitable[Delegation]] | None = None,
) -> int:
    """Carry a delegation as far as it goes, or do other work with it, print it, and return the exit status."""
    from chains.errors import ToolkitError
    from delegation.errors import DeclinedError
    from delegation.flow import carry

    try:
        finished = await (work or carry)(delegation, context)
    except ToolkitError as error:
        return _report_stop(session, error, _last_saved(delegation, context))
    except asyncio.CancelledError:
        # Ctrl-C: everything up to the last station is in the journal.
        saved = _last_saved(delegation, context)
        ended = "Interrupted." if saved is not None else "Interrupted; nothing was signed and nothing was sent."
        return _report_stop(session, DeclinedError(ended), saved)
    if session.as_json:
        session.print_document(finished.public_document())
    else:
        session.print_pairs(delegation_pairs(session, finished))
    if finished.verification is not None and finished.verification.verdict == "UNDETERMINED":
        again = session.command("resume", finished.id)
        session.insist(f"Not everything could be checked now; check again with: {again}")
    return status_of(finished)


def status_of(d: Delegation) -> int:
    """Return the exit status of a command that left a delegation like this."""
    if d.unfinished:
        return STOPPED_MIDWAY
    return DONE if d.verification is None else _VERDICT_STATUS[d.verification.verdict]


def tell_outcome(session: Session, outcome: Outcome) -> None:
    """Tell in a line what carrying one of many delegations came to, and in more what stopped it."""
    from chains.errors import ToolkitError

    d = outcome.delegation
    session.progress.pause()
    ended = d.ended.kind if d.ended is not None else "" if d.verification is None else d.verification.verdict
    request = f"{d.request.amount:f} {d.request.currency.upper()} on {d.request.network}"
    words = f"{d.id}  {request}: {ended or f'stopped at the {d.station}'}"
    if outcome.error is None or d.ended is not None:
        session.insist(words if d.ended is None else f"{words}. {d.ended.reason}")
        return
    if not isinstance(outcome.error, ToolkitError):
        session.insist(f"Error: {type(outcome.error).__name__}: {outcome.error}\n{words}")
        return
    tell_error(session, outcome.error, d, outcome=words, as_document=False)


def _last_saved(delegation: Delegation, context: Context) -> Delegation | None:
    from delegation.errors import UnknownDelegationError

    try:
        return context.journal.load(delegation.id)
    except UnknownDelegationError:
        return None


def _report_stop(session: Session, error: ToolkitError, saved: Delegation | None) -> int:
    from delegation.errors import StillHarmfulError

    status, outcome = exit_status(error), ""
    # What cannot be abandoned was stopped by nothing: it stands where it stood.
    if saved is not None and saved.unfinished and not isinstance(error, StillHarmfulError):
        stopped = f"Stopped at the {saved.station}. Nothing is lost" if saved.touched_chain else "Nothing was sent"
        outcome = f"{stopped}; finish it with: {session.command('resume', saved.id)}"
        if saved.touched_chain or (saved.plan is not None and status != BAD_INPUT):
            status = STOPPED_MIDWAY
    tell_error(session, error, saved, outcome=outcome)
    return status


def delegation_pairs(session: Session, d: Delegation) -> list[tuple[str, str]]:
    """Return a delegation as (label, words), station by station."""
    from chains.amounts import format_amount
    from delegation.lifecycle import MEANINGS

    request = d.request
    pairs = [
        ("Delegation", d.id),
        ("Request", f"{request.amount:f} {request.currency.upper()} on {request.network} from {request.owner}"),
    ]
    if d.plan is not None:
        pairs.append(("Spender", d.plan.spender))
    for approval in d.approvals:
        pairs += _approval_pairs(approval, over=d.ended is not None)
    if d.ownership is not None:
        pairs.append(("Ownership", f"signed ({d.ownership.scheme})"))
    if d.submission is not None:
        pairs.append(("Submission", d.submission.outcome or "the answer was lost; resume asks the platform"))
    if d.verification is not None:
        pairs.append(("Verification", d.verification.verdict))
        if d.verification.state is not None and d.plan is not None and d.verification.allowance is not None:
            left = format_amount(d.verification.allowance, d.plan.token.decimals)
            pairs.append(("  now", f"{d.verification.state}: {left} {request.currency.upper()} may be spent"))
        pairs += [(f"  {finding.rule}", f"{finding.verdict}: {finding.message}") for finding in d.verification.findings]
    if d.ended is not None:
        pairs.append((d.ended.kind.capitalize(), d.ended.reason))
    if d.unfinished:
        pairs.append(("State", MEANINGS[d.state]))
        pairs.append(("Next", f"{d.station}; finish it with: {session.command('resume', d.id)}"))
    return pairs


def _approval_pairs(approval: Approval, *, over: bool) -> list[tuple[str, str]]:
    settlement = approval.settlement
    if settlement is not None:
        state = f"{settlement.hash} ({settlement.finality}, block {settlement.block.number})"
    elif approval.sent is not None:
        waits = "no longer waited for" if over else "waiting"
        what = f"uses up its nonce; {waits}" if approval.cancelling else waits
        state = f"{approval.sent.hash} ({what})"
    else:
        state = "a wallet was asked for it" if approval.handed_over else "not signed yet"
    pairs = [("Approval", state)]
    if approval.another_nonce is not None:
        pairs.append(("  nonce", f"the wallet took {approval.another_nonce}, so that it replaces nothing"))
    if settlement is None:
        hashes = [rival.hash or "a transaction whose hash is not known" for rival in approval.rivals]
        pairs += [("  or instead", f"{hash_} (the same nonce)") for hash_ in hashes]
    pairs += [("  mined first", f"{winner} (the same nonce)") for winner in approval.lost_to]
    return [*pairs, *(("  discarded", dead) for dead in approval.discarded if dead not in approval.lost_to)]
