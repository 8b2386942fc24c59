"""What the command line adds to an error's own hint: its options and commands, of which the library knows nothing.

One table by class of error. An option is named only where the command to be typed next has it, and a command is spelled
by `Session.command`, so that it can be typed as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from chains.errors import ToolkitError
    from delegation.cli.session import Session
    from delegation.models import Delegation


def advise(session: Session, error: ToolkitError, delegation: Delegation | None = None) -> str:
    """Return what to type now, or nothing; `delegation` is what is in the journal by now, resumed next if it can be."""
    resuming = delegation is not None and delegation.unfinished
    return "\n".join(
        words
        for kind, option, advice in _table(session, delegation)
        if isinstance(error, kind) and (option is None or _is_of_use(option, resuming=resuming))
        if (words := advice(error))
    )


def _table(
    session: Session, delegation: Delegation | None
) -> tuple[tuple[type[ToolkitError], str | None, Callable[[ToolkitError], str]], ...]:
    """Return the classes of errors, the option that the advice is about, if it is about one, and the advice."""
    from chains.errors import (
        KeyFileError,
        NodeError,
        NoGasError,
        OtherDelegateError,
        TransactionPendingError,
        WrongChainError,
    )
    from delegation.errors import (
        ConflictError,
        FullAccessError,
        JournalConflictError,
        NotPinnedError,
        NoWalletError,
        OutdatedPlanError,
        OwnerBusyError,
        OwnerMismatchError,
        PinMismatchError,
        StillHarmfulError,
        UnknownDelegationError,
        UnknownProfileError,
    )

    def pinned_otherwise(error: ToolkitError) -> str:
        network = error.network if isinstance(error, PinMismatchError) else ""
        return f"Accept it, once it is compared, with: {session.command('networks', '--trust', network)}"

    def platform_disagrees(_: ToolkitError) -> str:
        shown = "" if delegation is None else f" and {session.command('show', delegation.id)}"
        return f"They are shown by: {session.command('wallets')}{shown}"

    def owner_is_busy(error: ToolkitError) -> str:
        other = str(error.found)
        finish, faster = session.command("resume", other), session.command("speed-up", other)
        nothing = session.command("cancel", other)
        return f"Finish it with: {finish}\nor, if its transaction is stuck: {faster}\nor: {nothing}"

    def transaction_is_stuck(_: ToolkitError) -> str:
        if delegation is None or delegation.request.network == "solana" or not delegation.in_flight:
            return ""
        faster, nothing = session.command("speed-up", delegation.id), session.command("cancel", delegation.id)
        return f"If it is stuck: {faster}\nor, to take it back: {nothing}"

    def still_harmful(_: ToolkitError) -> str:
        if delegation is None:
            return ""
        shown = f"Where it stands is shown by: {session.command('show', delegation.id)}"
        if not delegation.in_flight or delegation.request.network == "solana":
            return shown
        return f"Cancel it with: {session.command('cancel', delegation.id)}\n{shown}"

    return (
        (NodeError, "--rpc", lambda _: "Another node is named with --rpc."),
        (WrongChainError, "--rpc", lambda _: "Another node is named with --rpc."),
        (KeyFileError, "--wallet", lambda _: "The wallet is named with --wallet: a key file, or KIND:FILE."),
        (OwnerMismatchError, "--wallet", lambda _: "Name the owner's wallet with --wallet."),
        (FullAccessError, "--unlimited", lambda _: "That is the option --unlimited."),
        (NoWalletError, "--wallet", lambda _: "Name a key file with --wallet."),
        (NotPinnedError, "--token", lambda error: f"That is --{error.found}, or --profile before the command."),
        (
            UnknownProfileError,
            None,
            lambda _: "Try `delegation sandbox up` in another terminal, then --profile sandbox.",
        ),
        (OtherDelegateError, "--overwrite-delegate", lambda _: "That is the option --overwrite-delegate."),
        (NoGasError, "--faucet", lambda _: "With --faucet the platform is asked for a little gas first."),
        (OutdatedPlanError, None, lambda _: "On a terminal you are asked; --yes does not answer this question."),
        (PinMismatchError, None, pinned_otherwise),
        (ConflictError, None, platform_disagrees),
        (UnknownDelegationError, None, lambda _: f"The list is shown by: {session.command('list')}"),
        (OwnerBusyError, None, owner_is_busy),
        (TransactionPendingError, None, transaction_is_stuck),
        (StillHarmfulError, None, still_harmful),
        (JournalConflictError, None, lambda error: f"See it with: {session.command('show', str(error.found))}"),
    )


def _is_of_use(option: str, *, resuming: bool) -> bool:
    """Return whether the command to be typed next has an option that can change how it goes."""
    from delegation.faucet import FAUCET_NETWORKS

    context = click.get_current_context(silent=True)
    if context is None:
        return False
    command: click.Command | None = context.command
    root = context.find_root().command
    if resuming and isinstance(root, click.Group):
        command = root.get_command(context, "resume")
    if command is None:
        return False
    found = next((one for one in command.params if option in one.opts), None)
    if not isinstance(found, click.Option) or (found.is_flag and context.params.get(found.name or "")):
        return False
    return option != "--faucet" or str(context.params.get("network")).lower() in FAUCET_NETWORKS
