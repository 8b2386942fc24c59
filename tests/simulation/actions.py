"""What the user and the world do while there are faults: one function each, chosen by the seed.

A new thing that a user can do is one function here and one line in `ACTIONS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from chains.errors import RpcError, ToolkitError
from delegation.errors import JournalConflictError, OwnerBusyError
from delegation.flow import carry, new_delegation
from delegation.models import Delegation, DelegationRequest

from .clock import StuckError
from .faults import CrashError, Process
from .solana_chain import account_of
from .wallets import CARRIED, LostAnswerError, act_elsewhere, approve_elsewhere
from .world import Owner, Stay, World, human

_AMOUNTS: Final = (0, 5_000_000, 7_500_000, 20_000_000, 20_000_000, 1_000_000_000)


async def carry_on(world: World, process: Process, owner: Owner, d: Delegation, what: str) -> Delegation | None:
    """Carry a delegation as one process; whatever comes of it is noted. A process that died is started again."""
    stay = Stay(what, d.id, process.name, world.loop.time(), calm=not world.faults.on)
    world.stays.append(stay)
    token = CARRIED.set(d.id)
    world.watch.tell(f"{process.name}: {what} {d.id} ({d.request.amount} {d.request.currency}, at {d.station})")
    try:
        done = await carry(d, world.open_context(process, d.request.network, owner))
    except CrashError:
        stay.outcome = "crashed"
        # Long enough that everything else of the dead process has died as well.
        await asyncio.sleep(30)
        process.restart()
        return None
    except (ToolkitError, LostAnswerError) as error:
        stay.outcome, stay.error = type(error).__name__, error
        return None
    except StuckError:
        raise
    except Exception as error:  # noqa: BLE001 - that there is none is an invariant
        stay.outcome, stay.error = f"untyped {type(error).__name__}", error
        return None
    else:
        stay.outcome = done.station
        return done
    finally:
        stay.ended = world.loop.time()
        world.watch.tell(f"{process.name}: {what} {d.id} ended: {stay.outcome} {stay.error or ''}")
        CARRIED.reset(token)


async def ask_for(world: World, process: Process) -> None:
    """Ask for a new delegation: a grant, a raise, a revocation."""
    rng = world.rng
    owner = rng.choice(world.owners)
    network = rng.choice(list(world.chains))
    request = DelegationRequest(
        network=network,
        currency=rng.choice(("usdc", "usdc", "usdt")),
        amount=human(rng.choice(_AMOUNTS)),
        owner=world.address(owner, network),
    )
    d = new_delegation(request, world.open_context(process, network, owner)).model_copy(update={"id": world.new_id()})
    await carry_on(world, process, owner, d, "ask for")


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
)

EXPECTED_OF_TWO: Final = (JournalConflictError, OwnerBusyError)
"""What one of two processes is told that carry the same."""
