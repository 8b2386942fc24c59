"""What the user and the world do while there are faults: one function each, chosen by the seed.

A new thing that a user can do is one function here and one line in `ACTIONS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from chains.errors import RpcError, ToolkitError
from delegation.abandonment import abandon
from delegation.approval import discard_request
from delegation.context import Context
from delegation.flow import carry, new_delegation
from delegation.models import Delegation, DelegationRequest
from delegation.replacement import cancel, speed_up
from delegation.signing import answer, awaiting
from delegation.unfinished import carry_all

from .clock import StuckError
from .faults import CrashError, Process
from .solana_chain import account_of
from .wallets import CARRIED, LostAnswerError, Owner, act_elsewhere, approve_elsewhere, read_signed, sign_request
from .world import Stay, World, human

_AMOUNTS: Final = (0, 5_000_000, 7_500_000, 20_000_000, 20_000_000, 1_000_000_000)


Step = Callable[[Delegation, Context], Awaitable[Delegation]]


async def carry_on(
    world: World,
    process: Process,
    owner: Owner,
    d: Delegation,
    what: str,
    step: Step = carry,
    *,
    wallet: bool = True,
) -> Delegation | None:
    """Take a step with a delegation as one process; whatever comes of it is noted. A process that died starts again."""
    stay = Stay(what, d.id, process.name, world.loop.time(), calm=not world.faults.on)
    world.stays.append(stay)
    token = CARRIED.set(d.id)
    world.watch.tell(f"{process.name}: {what} {d.id} ({d.request.amount} {d.request.currency}, at {d.station})")
    try:
        done = await step(d, world.open_context(process, d.request.network, owner, wallet=wallet))
    except StuckError:
        raise
    except BaseException as error:  # noqa: BLE001 - what it may be is an invariant
        stay.outcome, stay.error = _describe_end(error)
        if stay.outcome == "crashed":
            # Long enough that everything else of the dead process has died as well.
            await asyncio.sleep(30)
            process.restart()
        return None
    else:
        stay.outcome = done.station
        return done
    finally:
        stay.ended = world.loop.time()
        world.watch.tell(f"{process.name}: {what} {d.id} ended: {stay.outcome} {stay.error or ''}")
        CARRIED.reset(token)


def _describe_end(error: BaseException) -> tuple[str, BaseException | None]:
    """Return how a call ended, and the error that says why; one that is none of ours has a name of its own."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CrashError):
        return "crashed", None
    if isinstance(error, (ToolkitError, LostAnswerError)):
        return type(error).__name__, error
    return f"untyped {type(error).__name__}", error


def draw_request(world: World, process: Process) -> tuple[Owner, Delegation]:
    """Return something that an owner wants: a grant, a raise, a revocation."""
    rng = world.rng
    owner = rng.choice(world.owners)
    network = rng.choice(list(world.chains))
    amount, currency = rng.choice(_AMOUNTS), rng.choice(("usdc", "usdt"))
    request = DelegationRequest(
        network=network,
        currency=currency,
        amount=human(amount),
        owner=world.address(owner, network),
        chain_only=amount == 0 and _is_pinned(world, network, currency) and rng.random() < 0.5,
    )
    d = new_delegation(request, world.open_context(process, network, owner)).model_copy(update={"id": world.new_id()})
    return owner, d


def _is_pinned(world: World, network: str, currency: str) -> bool:
    """Return whether a plan was agreed to before, so that a revocation can leave the platform out."""
    return any(
        d.plan is not None and (d.request.network, d.request.currency) == (network, currency) for d in world.known()
    )


async def ask_for(world: World, process: Process) -> None:
    """Ask for a new delegation."""
    owner, d = draw_request(world, process)
    await carry_on(world, process, owner, d, "ask for")


async def ask_by_hand(world: World, process: Process) -> None:
    """Ask for a new delegation without a wallet; an app elsewhere signs, or signs and sends, what is handed to it."""
    owner, d = draw_request(world, process)
    await carry_by_hand(world, process, owner, d)


async def resume_by_hand(world: World, process: Process) -> None:
    """Go on without a wallet with something that is unfinished."""
    unfinished = [d for d in world.known() if d.unfinished]
    if unfinished:
        d = world.load(world.rng.choice(unfinished).id)
        await carry_by_hand(world, process, world.owner_of(d), d)


async def carry_by_hand(world: World, process: Process, owner: Owner, d: Delegation) -> None:
    """Carry, hand over, answer and carry on, until nothing has to be signed; the person may walk away at any time."""
    rng = world.rng
    carried: Delegation | None = d
    for _ in range(8):
        carried = await carry_on(world, process, owner, d, "carry without a wallet", wallet=False)
        asked = None if carried is None else awaiting(carried)
        if carried is None or asked is None or rng.random() < 0.1:
            return
        await asyncio.sleep(1 + 20 * rng.random())
        given = sign_request(owner, asked.request)
        if asked.kind == "transaction":
            hash_, amount, slot = read_signed(given)
            world.ledger.note(hash_, amount, slot, d.id)
            if owner.wallet != "signs":
                try:
                    world.chains[d.request.network].accept(given)
                except RpcError as error:
                    world.watch.tell(f"the app could not send: {error.message}")
                    return
                given = hash_
                if rng.random() < owner.loses:
                    return
        answered = await carry_on(world, process, owner, carried, "answer", _answering(given), wallet=False)
        if answered is None:
            return
        d = answered


def _answering(given: str) -> Step:
    async def step(d: Delegation, context: Context) -> Delegation:
        return answer(d, context.journal, given, now=context.now)

    return step


async def give_up_request(world: World, process: Process) -> None:
    """Give up what was handed to a wallet and never came back."""
    waiting = [d for d in world.known() if any(one.state == "handed_out" for one in d.approvals)]
    if waiting:
        d = world.load(world.rng.choice(waiting).id)
        await carry_on(world, process, world.owner_of(d), d, "give up the request of", discard_request)


async def resume_one(world: World, process: Process) -> None:
    """Resume something that is unfinished, or something that is not."""
    listed = world.known()
    unfinished = [d for d in listed if d.unfinished] or listed
    if unfinished:
        d = world.load(world.rng.choice(unfinished).id)
        await carry_on(world, process, world.owner_of(d), d, "resume")


async def resume_at_once(world: World, process: Process) -> None:
    """Resume one delegation in both processes at the same time."""
    unfinished = [d for d in world.known() if d.unfinished]
    if unfinished:
        d = world.load(world.rng.choice(unfinished).id)
        await asyncio.gather(*(carry_on(world, one, world.owner_of(d), d, "resume") for one in world.processes))


async def ask_at_once(world: World, process: Process) -> None:
    """Ask for two things at the same time, in two processes."""
    await asyncio.gather(*(ask_for(world, one) for one in world.processes))


async def abandon_one(world: World, process: Process) -> None:
    """Give something up for good, if it can do no harm any more."""
    unfinished = [d for d in world.known() if d.unfinished]
    if unfinished:
        d = world.load(world.rng.choice(unfinished).id)
        await carry_on(world, process, world.owner_of(d), d, "abandon", abandon)


async def speed_up_one(world: World, process: Process) -> None:
    """Replace something in flight by the same at a higher fee, then wait for it."""
    await _replace(world, process, "speed up", speed_up)


async def cancel_one(world: World, process: Process) -> None:
    """Use up the nonce of something in flight by nothing."""
    await _replace(world, process, "cancel", cancel)


async def _replace(world: World, process: Process, what: str, step: Step) -> None:
    in_flight = [d for d in world.known() if d.in_flight]
    if not in_flight:
        return
    d = world.load(world.rng.choice(in_flight).id)
    replaced = await carry_on(world, process, world.owner_of(d), d, what, step)
    if replaced is not None and replaced.unfinished:
        await carry_on(world, process, world.owner_of(d), replaced, "resume")


async def rush(world: World, process: Process) -> None:
    """Ask for something, and before long speed it up, cancel it or revoke it, in another process."""
    other = next(one for one in world.processes if one is not process)

    async def later() -> None:
        await asyncio.sleep(40 * world.rng.random())
        await world.rng.choice((speed_up_one, cancel_one, revoke_one))(world, other)

    await asyncio.gather(ask_for(world, process), later())


async def revoke_one(world: World, process: Process) -> None:
    """Take back an allowance, of something in flight if there is any."""
    known = world.known()
    wanted = [d for d in known if d.in_flight] or known
    if not wanted:
        return
    given = world.rng.choice(wanted).request
    request = given.model_copy(
        update={
            "amount": human(0),
            "chain_only": _is_pinned(world, given.network, given.currency) and world.rng.random() < 0.3,
        }
    )
    owner = next(one for one in world.owners if world.address(one, given.network) == given.owner)
    d = new_delegation(request, world.open_context(process, given.network, owner)).model_copy(
        update={"id": world.new_id()}
    )
    await carry_on(world, process, owner, d, "revoke")


async def resume_everything(world: World, process: Process) -> None:
    """Resume everything that is unfinished in one go, as a program at night does."""

    @asynccontextmanager
    async def open_for(d: Delegation) -> AsyncIterator[Context]:
        CARRIED.set(d.id)
        stay = Stay("resume among all", d.id, process.name, world.loop.time(), outcome="carried among all")
        stay.calm = not world.faults.on
        world.stays.append(stay)
        yield world.open_context(process, d.request.network, world.owner_of(d))
        stay.ended = world.loop.time()

    async def step(d: Delegation, context: Context) -> Delegation:
        await carry_all(context.journal, open_for, at_once=2)
        return context.journal.load(d.id)

    known = world.known()
    if known:
        d = world.load(known[0].id)
        await carry_on(world, process, world.owner_of(d), d, "resume everything with", step)


async def use_another_app(world: World, process: Process) -> None:
    """The owner approves or pays something else in another app, with the next nonce or that of what waits."""
    rng = world.rng
    owner, network = rng.choice(world.owners), rng.choice(list(world.chains))
    chain = world.chains[network]
    token = rng.choice([one for one in chain.chain.tokens if one.symbol in {"USDC", "USDT"}])
    amount = rng.choice((None, None, 0, 3_000_000))
    if network == "solana":
        if account_of(str(owner.solana.pubkey()), token.address) not in chain.missing:
            world.foreign.add(approve_elsewhere(owner.solana, chain, token.address, amount or 2_000_000))
        return
    try:
        hash_ = act_elsewhere(
            owner.evm, chain, token.address, amount, rival=rng.random() < 0.5, bump=rng.choice((5, 10, 30))
        )
    except RpcError as error:
        world.watch.tell(f"another app of {owner.evm.address[:8]} was refused: {error.message}")
        return
    if hash_ is not None:
        world.foreign.add(hash_)
        world.watch.tell(f"another app of {owner.evm.address[:8]} sent {hash_[:12]} ({amount} {token.symbol})")


async def race_another_app(world: World, process: Process) -> None:
    """Ask for something, and use another app while it is on its way."""

    async def later() -> None:
        await asyncio.sleep(30 * world.rng.random())
        await use_another_app(world, process)

    await asyncio.gather(ask_for(world, process), later())


async def wait(world: World, process: Process) -> None:
    """Do nothing for a while."""
    await asyncio.sleep(world.rng.choice((2.0, 20.0, 60.0, 700.0)))


Action = Callable[[World, Process], Awaitable[None]]

ACTIONS: Final[tuple[tuple[int, Action], ...]] = (
    (4, resume_one),
    (2, ask_for),
    (1, ask_at_once),
    (2, resume_at_once),
    (1, use_another_app),
    (2, race_another_app),
    (1, wait),
    (1, ask_by_hand),
    (1, resume_by_hand),
    (1, give_up_request),
    (2, abandon_one),
    (1, speed_up_one),
    (1, cancel_one),
    (1, revoke_one),
    (2, rush),
    (1, resume_everything),
)
