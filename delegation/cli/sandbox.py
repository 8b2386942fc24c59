"""`sandbox up`: local chains and a simulated platform, until it is stopped."""

from __future__ import annotations

from importlib.util import find_spec

import click

from delegation.cli.session import DONE, Session, command

# What the extra `sandbox` of the package holds.
_EXTRA = ("starlette", "uvicorn", "web3", "solana", "eth_abi")


@click.group("sandbox")
def sandbox_command() -> None:
    """Run real local chains and a simulated platform to try things on."""


@sandbox_command.command("up")
@command
async def _up(session: Session) -> int:
    """Start Ethereum, Linea, Base and Solana locally, with the simulated platform; write the profile `sandbox`.

    Serves until it is stopped (Ctrl-C or SIGTERM) and leaves no process behind. The keys and the password it prints are
    made for this run and worth nothing. Codes for signing in are shown on the page of the user's phone.
    """
    from delegation.errors import SandboxError
    from delegation.sandbox import serve_sandbox
    from delegation.sandbox.document import SandboxDocument
    from delegation.sandbox.profile import sandbox_profile

    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise SandboxError(
            f"The sandbox needs packages that are not installed: {', '.join(missing)}.",
            hint="Install them with: pip install 'delegation-toolkit[sandbox]'",
        )

    def announce(document: SandboxDocument) -> None:
        if session.as_json:
            session.print_document(document.model_dump(mode="json"))
            return
        session.say(f"The sandbox is up; its profile is {document.profile.name!r} ({document.profile.file}).")
        networks = [(name, network.rpc_url) for name, network in document.networks.items()]
        user = document.gateway.user
        signing_in = [("user", user.email), ("password", user.password), ("phone", user.phone_url)]
        session.print_pairs([("platform", document.gateway.base_url), *signing_in, *networks])
        session.say(
            "Try in another terminal:\n"
            "  delegation --profile sandbox grant --network linea --currency usdc --amount 5000\n"
            "Stop it with Ctrl-C."
        )

    session.progress("sandbox", "starting the local chains and the platform")
    with sandbox_profile() as write_profile:
        await serve_sandbox(announce, write_profile)
    session.say("The sandbox has stopped.")
    return DONE
