"""`sandbox up`: local chains and a simulated platform, until it is stopped."""

from __future__ import annotations

import click

from delegation.cli.session import DONE, Session, command


@click.group("sandbox")
def sandbox_command() -> None:
    """Run real local chains and a simulated platform to try things on."""


@sandbox_command.command("up")
@command
async def _up(session: Session) -> int:
    """Start Ethereum, Linea, Base and Solana locally, with the simulated platform; write the profile `sandbox`.

    Serves until it is stopped (Ctrl-C or SIGTERM) and leaves no process behind. The keys it prints are made for this
    run and hold nothing but play money.
    """
    from delegation.sandbox import serve_sandbox
    from delegation.sandbox.document import SandboxDocument
    from delegation.sandbox.profile import sandbox_profile

    def announce(document: SandboxDocument) -> None:
        if session.as_json:
            session.print_document(document.model_dump(mode="json"))
            return
        session.say(f"The sandbox is up; its profile is {document.profile.name!r} ({document.profile.file}).")
        session.print_pairs([("platform", document.gateway.base_url)])
        session.print_pairs([(name, network.rpc_url) for name, network in document.networks.items()])
        session.say(
            "Try in another terminal:\n"
            "  delegation --profile sandbox grant --network linea --currency usdc --amount 5000\n"
            "Stop it with Ctrl-C."
        )

    session.say("Starting the sandbox ...")
    with sandbox_profile() as profile:
        await serve_sandbox(announce, profile.write)
    session.say("The sandbox has stopped.")
    return DONE
