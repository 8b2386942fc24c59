"""Bad input: a clear message of one or two lines, exit status 2, and nothing signed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import CommandLine, Owner, Result

from delegation.sandbox import Sandbox

NOT_AMOUNTS = [
    "1e3",
    " 5",
    "5 ",
    "5,000",
    "-1",
    "+1",
    "NaN",
    "Infinity",
    "0x5",
    "\uff15\uff10\uff10",
    "1_000",
    "5.",
    ".5",
    "",
]
EIP55_BROKEN = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"
ZERO = "0x" + "0" * 40


@pytest.fixture
async def cli(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[CommandLine]:
    cli = CommandLine(sandbox, tmp_path)
    yield cli
    await cli.close()


@pytest.fixture(scope="module")
async def wallets(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> tuple[Owner, Owner]:
    """An EVM and a Solana wallet that never sign anything here."""
    cli = CommandLine(sandbox, tmp_path_factory.mktemp("keys"))
    return await cli.owner("linea"), await cli.owner("solana")


def grant(network: str, wallet: Owner, /, **changes: str | None) -> list[str]:
    """Return the arguments of a grant; `changes` replaces options, None leaves one out."""
    options = {"network": network, "currency": "usdc", "amount": "5", "wallet": str(wallet.key_file)} | changes
    named = [(f"--{name}", value) for name, value in options.items() if value is not None]
    return ["grant", *(part for pair in named for part in pair), "--yes"]


async def refused(cli: CommandLine, arguments: list[str], *, owner: Owner | None = None) -> Result:
    """Run what must be refused as bad input, and look at the message and that nothing came of it."""
    result = await cli.call("--json", *arguments)
    assert result.status == 2, result
    message, hint = result.document["error"]["message"], result.document["error"]["hint"]
    assert message
    assert hint, "the person is told what to do"
    assert len(result.error.strip().splitlines()) <= 4
    assert not any(d.unfinished for d in cli.delegations()), "what was refused never comes back"
    if owner is not None:
        assert await cli.nonce("linea", owner) == 0
    return result


@pytest.mark.parametrize("amount", NOT_AMOUNTS)
async def test_what_is_not_plain_digits_is_no_amount(
    cli: CommandLine, wallets: tuple[Owner, Owner], amount: str
) -> None:
    result = await refused(cli, grant("linea", wallets[0], amount=amount), owner=wallets[0])
    assert f"{amount!r} is not an amount." in result.error
    assert "5000 or 0.50" in result.error


@pytest.mark.parametrize(
    ("network", "amount", "words"),
    [
        ("linea", "1.0000001", "more than 6 decimals"),
        ("linea", "2199023255552", "larger than the platform can hold"),
        ("solana", "18446744073710", "larger than the platform can hold"),
        ("linea", "100000000000", "--unlimited"),
        ("linea", "0", "delegation --profile sandbox revoke"),
        ("linea", "9" * 200, "is not an amount"),
    ],
)
async def test_an_amount_that_does_not_fit_is_refused_and_not_rounded(
    cli: CommandLine, wallets: tuple[Owner, Owner], network: str, amount: str, words: str
) -> None:
    result = await refused(cli, grant(network, wallets[network == "solana"], amount=amount), owner=wallets[0])
    assert words in result.error


async def test_either_an_amount_or_unlimited_is_needed(cli: CommandLine, wallets: tuple[Owner, Owner]) -> None:
    await refused(cli, grant("linea", wallets[0], amount=None))
    await refused(cli, [*grant("linea", wallets[0]), "--unlimited"], owner=wallets[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "lineo"}, "No network is called 'lineo'."),
        ({"network": "linea-sepolia"}, "does not offer linea-sepolia"),
        ({"currency": "doge"}, "does not offer doge on linea"),
        ({"currency": "us\ndc"}, "cannot be the name"),
        ({"currency": "0x" + "ab" * 32}, "cannot be the name"),
        ({"network": "linea", "currency": "word " * 12}, "cannot be the name"),
        ({"owner": EIP55_BROKEN}, "fails its checksum (EIP-55)"),
        ({"owner": "card.eth"}, "is a name, not an address"),
        ({"owner": ""}, "is not an Ethereum address"),
        ({"rpc": "http://host:notaport"}, "URL given for the node cannot be used"),
        ({"rpc": "http://[::1"}, "URL given for the node cannot be used"),
        ({"rpc": "http://"}, "URL given for the node cannot be used"),
        ({"rpc": ""}, "URL given for the node cannot be used"),
        ({"rpc": "ftp://host"}, "neither the URL of a node"),
        ({"rpc": "nowhere"}, "neither the URL of a node"),
        ({"wallet": "/nowhere/card.key"}, "cannot be opened"),
        ({"wallet": ""}, "No wallet was named"),
        ({"wallet": None}, "No evm wallet is named"),
        ({"wallet": "env:NOT_SET"}, "NOT_SET is not set"),
    ],
)
async def test_wrong_names_addresses_urls_and_files_are_refused(
    cli: CommandLine, wallets: tuple[Owner, Owner], changes: dict[str, str | None], words: str
) -> None:
    result = await refused(cli, grant("linea", wallets[0], **changes), owner=wallets[0])
    assert words in result.error


async def test_an_address_of_the_other_family_is_refused(cli: CommandLine, wallets: tuple[Owner, Owner]) -> None:
    evm, solana = wallets
    for network, owner, other in (("linea", evm, solana), ("solana", solana, evm)):
        result = await refused(cli, grant(network, owner, owner=other.address))
        assert other.address in result.error
        wrong_key = await refused(cli, grant(network, other))
        assert "holds a key of" in wrong_key.error
        status = await refused(cli, ["status", "--network", network, "--currency", "usdc", "--owner", other.address])
        assert other.address in status.error


async def test_a_wallet_that_is_not_the_owners_is_refused_also_in_a_dry_run(
    cli: CommandLine, wallets: tuple[Owner, Owner]
) -> None:
    stranger = await cli.owner("linea", gas=False, tokens=False)
    for more in ([], ["--dry-run"]):
        result = await refused(cli, [*grant("linea", wallets[0], owner=stranger.address), *more], owner=wallets[0])
        error = result.document["error"]
        assert (error["type"], error["expected"]) == ("OwnerMismatchError", stranger.address)
        assert error["found"] == wallets[0].address
        assert "--wallet" in error["hint"]


async def test_a_key_file_that_others_can_read_or_that_holds_no_key_is_refused(
    cli: CommandLine, wallets: tuple[Owner, Owner], tmp_path: Path
) -> None:
    exposed = tmp_path / "exposed.key"
    exposed.write_text(wallets[0].key_file.read_text())
    exposed.chmod(0o640)
    result = await refused(cli, grant("linea", wallets[0], wallet=str(exposed)), owner=wallets[0])
    assert f"chmod 600 {exposed}" in result.error

    exposed.chmod(0o600)
    exposed.write_text("not a key\n")
    result = await refused(cli, grant("linea", wallets[0], wallet=str(exposed)), owner=wallets[0])
    assert "does not hold a key" in result.error


@pytest.mark.parametrize(
    "arguments",
    [
        ["grant", "--network", "linea", "--currency", "usdc", "--amount", "5", "--yes", "--wallet", "SECRET"],
        ["grant", "--network", "linea", "--currency", "usdc", "--amount", "5", "--yes", "--owner", "SECRET"],
        ["grant", "--network", "linea", "--currency", "usdc", "--amount", "5", "--yes", "SECRET"],
        ["grant", "--network", "linea", "--currency", "usdc", "--amount", "SECRET", "--yes", "--wallet", "KEY_FILE"],
        ["status", "--network", "solana", "--currency", "usdc", "--owner", "SECRET"],
        ["show", "SECRET"],
        ["resume", "SECRET"],
        ["wallets", "prioritize", "SECRET"],
        ["SECRET"],
        ["--SECRET"],
        ["grant", "--SECRET"],
        ["--profile", "SECRET", "list"],
        ["grant", "--network", "SECRET", "--currency", "usdc", "--amount", "5"],
    ],
)
@pytest.mark.parametrize("family", ["evm", "evm, 0X", "solana"])
async def test_a_secret_typed_on_the_command_line_is_never_echoed(
    cli: CommandLine, wallets: tuple[Owner, Owner], family: str, arguments: list[str]
) -> None:
    owner = wallets[family == "solana"]
    secret = owner.key_file.read_text()
    if family.endswith("0X"):
        secret = "0X" + secret.removeprefix("0x")
    arguments = [a.replace("SECRET", secret).replace("KEY_FILE", str(wallets[0].key_file)) for a in arguments]
    result = await cli.call("--json", *arguments)
    assert result.status == 2
    # Half a key is half the work of guessing it.
    middle = secret[8:40]
    assert middle not in result.out + result.err


async def test_the_words_of_a_mnemonic_are_never_echoed(cli: CommandLine) -> None:
    mnemonic = "legal winner thank year wave sausage worth useful legal winner thank yellow"
    for arguments in (["resume", *mnemonic.split()], ["resume", mnemonic]):
        result = await cli.call(*arguments)
        assert result.status == 2
        assert "sausage" not in result.out + result.err


@pytest.mark.parametrize(
    ("network", "other"), [("linea", "base"), ("ethereum", "linea"), ("solana", "linea"), ("linea", "solana")]
)
async def test_a_node_of_another_chain_is_refused(
    cli: CommandLine, wallets: tuple[Owner, Owner], network: str, other: str
) -> None:
    url = cli.sandbox.document.networks[other].rpc_url
    owner = wallets[network == "solana"]
    result = await refused(cli, grant(network, owner, rpc=url), owner=wallets[0])
    assert result.document["error"]["type"] == "WrongChainError"


async def test_a_changed_spender_stops_it_and_shows_both_until_it_is_trusted(cli: CommandLine) -> None:
    owner = await cli.owner("linea")
    network = cli.sandbox.document.networks["linea"]
    first = await cli.call("--json", *grant("linea", owner))
    assert first.status == 0
    other = cli.sandbox.document.networks["linea"].operator.address
    await cli.platform("POST", "/sandbox/config", {"network": "linea", "delegationContract": other})

    stopped = await cli.call("--json", *grant("linea", owner, amount="6"))
    assert (stopped.status, stopped.document["error"]["type"]) == (2, "PinMismatchError")
    assert stopped.document["error"]["fault"] == "platform"
    for value in (network.delegation_contract, other, "delegation --profile sandbox networks --trust linea"):
        assert value in stopped.err
    assert await cli.nonce("linea", owner) == 1

    status = await cli.call("--json", "status", "--network", "linea", "--currency", "usdc", "--owner", owner.address)
    assert status.status == 2
    listed = await cli.call("networks")
    assert (listed.status, listed.out.count("CHANGED")) == (1, 2)
    unasked = await cli.call("--json", "networks", "--trust", "linea")
    assert unasked.status == 2
    assert "--yes" in unasked.err
    assert (await cli.call("networks")).status == 1
    trusted = await cli.call("--json", "networks", "--trust", "linea", "--yes")
    assert (trusted.status, trusted.document["agrees"]) == (0, True)
    assert other in trusted.err


@pytest.mark.parametrize(
    ("network", "who"), [("linea", "zero"), ("linea", "owner"), ("linea", "token"), ("solana", "owner")]
)
async def test_a_spender_that_must_never_be_approved_is_refused(
    cli: CommandLine, wallets: tuple[Owner, Owner], network: str, who: str
) -> None:
    owner = wallets[network == "solana"]
    token = cli.sandbox.document.networks[network].tokens["usdc"].address
    spender = {"zero": ZERO, "owner": owner.address, "token": token}[who]
    await cli.platform("POST", "/sandbox/config", {"network": network, "delegationContract": spender})
    result = await refused(cli, grant(network, owner), owner=wallets[0])
    assert result.document["error"]["type"] in {"SpenderRefusedError", "UnsupportedError"}


@pytest.mark.parametrize("verb", ["show", "resume"])
async def test_an_unknown_id_is_refused(cli: CommandLine, verb: str) -> None:
    result = await refused(cli, [verb, "abcdef"])
    assert "The journal has no delegation 'abcdef'." in result.error
    assert "delegation --profile sandbox list" in result.error


@pytest.mark.parametrize("identity", ["551000", "-1"])
async def test_an_unknown_wallet_cannot_be_prioritized(cli: CommandLine, identity: str) -> None:
    result = await refused(cli, ["wallets", "prioritize", "--", identity])
    assert identity in result.error


async def test_without_a_terminal_and_without_yes_nobody_agrees(cli: CommandLine, wallets: tuple[Owner, Owner]) -> None:
    arguments = [argument for argument in grant("linea", wallets[0]) if argument != "--yes"]
    result = await refused(cli, arguments, owner=wallets[0])
    assert "--yes" in result.error
    assert cli.sandbox.document.networks["linea"].delegation_contract in result.err, "the plan was shown"


async def test_a_keystore_without_anybody_to_type_its_password_is_refused(
    cli: CommandLine, wallets: tuple[Owner, Owner], tmp_path: Path
) -> None:
    from eth_account import Account

    keystore = tmp_path / "keystore.json"
    keystore.write_text(json.dumps(Account.encrypt(wallets[0].key_file.read_text(), "secret", iterations=4096)))
    keystore.chmod(0o600)
    result = await refused(cli, grant("linea", wallets[0], wallet=str(keystore)), owner=wallets[0])
    assert "needs its password" in result.error


@pytest.mark.parametrize(
    "arguments",
    [
        ["grant"],
        ["grant", "--network", "linea"],
        ["grant", "--no-such-option"],
        ["no-such-command"],
        ["wallets", "prioritize"],
        ["wallets", "prioritize", "first"],
        ["ownership"],
        ["list", "extra"],
    ],
)
async def test_bad_usage_ends_with_2_as_well(cli: CommandLine, arguments: list[str]) -> None:
    result = await cli.call(*arguments)
    assert result.status == 2
    assert result.out == ""
    assert "Usage: " in result.err


@pytest.mark.parametrize("option", ["--json", "--quiet", "--profile"])
async def test_an_option_at_the_wrong_place_is_told_its_place(cli: CommandLine, option: str) -> None:
    result = await cli.call("list", option)
    assert result.status == 2
    assert f"{option} comes before the command." in result.err


async def test_the_same_holds_for_real_processes(cli: CommandLine, wallets: tuple[Owner, Owner]) -> None:
    exposed = cli.home / "exposed.key"
    exposed.write_text(wallets[0].key_file.read_text())
    exposed.chmod(0o644)
    results = await asyncio.gather(
        cli.run("--json", *grant("linea", wallets[0], amount="5,000")),
        cli.run("--json", *grant("linea", wallets[0], wallet=str(exposed))),
        cli.run("--json", *grant("linea", wallets[0])[:-1]),
        cli.run("grant", "--network", "linea"),
    )
    assert [result.status for result in results] == [2, 2, 2, 2]
    assert all(result.document["error"]["fault"] == "yours" for result in results[:-1])
    assert await cli.nonce("linea", wallets[0]) == 0


async def test_a_missing_exposed_or_broken_profile_says_what_to_do(cli: CommandLine) -> None:
    for name in ("nope", "../sandbox", ""):
        result = await cli.call("--json", "networks", profile=name)
        assert result.status == 2
        assert result.document["error"]["type"] in {"ProfileError", "UnknownProfileError"}
    profile = cli.home / "profiles" / "sandbox.json"
    profile.chmod(0o644)
    exposed = await cli.call("--json", "networks")
    assert (exposed.status, exposed.document["error"]["hint"]) == (2, f"Run: chmod 600 {profile}")
    profile.chmod(0o600)
    profile.write_text(profile.read_text()[:-2])
    broken = await cli.call("--json", "networks")
    assert broken.status == 2
    assert "It is not JSON" in broken.error
    missing = await cli.call("networks", profile="nope")
    assert str(cli.home / "profiles" / "nope.json") in missing.err
    assert "delegation sandbox up" in missing.err
