"""The command line: arguments and printing, nothing else. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import click

from delegation.cli.progress import Progress
from delegation.cli.session import Session, hide_secrets

# Where each verb lives and its one line of help, so that `--help` imports none of them.
_COMMANDS = {
    "sandbox": ("delegation.cli.sandbox", "Run local chains and a simulated platform to try things on."),
    "networks": ("delegation.cli.networks", "Show what the platform supports and whether it agrees with the pins."),
    "grant": ("delegation.cli.grant", "Allow the platform to spend up to an amount of one token."),
    "revoke": ("delegation.cli.grant", "Take an allowance back."),
    "list": ("delegation.cli.listing", "List the delegations of the journal."),
    "show": ("delegation.cli.listing", "Show one delegation, station by station."),
    "resume": ("delegation.cli.resume", "Finish a delegation that was stopped midway, or all of them."),
    "speed-up": ("delegation.cli.stuck", "Send a stuck transaction again at a higher fee."),
    "cancel": ("delegation.cli.stuck", "Use up the nonce of a stuck transaction by nothing."),
    "abandon": ("delegation.cli.stuck", "End a delegation that can do no harm any more."),
    "wallets": ("delegation.cli.wallets", "List the platform's external wallets, or set their priority."),
    "status": ("delegation.cli.status", "Read an allowance from the chain."),
    "verify": ("delegation.cli.verify", "Check on chain what is claimed, or an evidence file without any network."),
    "evidence": ("delegation.cli.verify", "Verify, and write a file that anybody can verify again offline."),
    "schema": ("delegation.cli.verify", "Print the JSON Schema of a report or of an evidence file."),
    "ownership": ("delegation.cli.ownership", "Sign an ownership statement, or check one."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - what click passes
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - what click passes
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_COMMANDS[cmd_name][0]), f"{cmd_name.replace('-', '_')}_command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _told_without_secrets():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        with _told_without_secrets():
            try:
                return super().invoke(ctx)
            except click.NoSuchOption as error:
                if error.option_name not in {"--profile", "--json", "--quiet"}:
                    raise
                raise click.UsageError(f"{error.option_name} comes before the command.", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - what click passes
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in _COMMANDS.items()])


@contextmanager
def _told_without_secrets() -> Iterator[None]:
    """Tell what a person typed wrongly, which click quotes, without what may be a key at the wrong place."""
    try:
        yield
    except click.UsageError as error:
        raise click.UsageError(hide_secrets(error.format_message()), error.ctx) from None


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done or VERIFIED, 1 refused, failed or REFUTED, 2 bad usage or bad input, "
    "3 UNDETERMINED (could not check), 4 stopped midway and `resume` finishes it.",
)
@click.option("--profile", default="default", show_default=True, help="Which profile to use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else there.")
@click.option("--quiet", is_flag=True, help="Print nothing on stderr but questions and errors.")
@click.version_option(package_name="delegation-toolkit", prog_name="delegation")
@click.pass_context
def main(ctx: click.Context, profile: str, as_json: bool, quiet: bool) -> None:
    """Grant, prove, submit, verify and revoke card-spending allowances from a wallet whose keys stay yours."""
    ctx.obj = Session(profile_name=profile, as_json=as_json, quiet=quiet, progress=Progress(quiet=quiet))
