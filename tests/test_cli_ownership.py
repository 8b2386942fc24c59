"""`ownership sign` and `ownership verify`: a round trip on both families, and what refutes."""

import json
from pathlib import Path

import pytest
from command_line import CommandLine, Owner, Result

from chains.ownership import parse_statement
from delegation.sandbox import Sandbox

DOMAIN, NONCE = "card.example.com", "5f8a9b2c4d3e1a7b"


@pytest.fixture
async def cli(sandbox: Sandbox, tmp_path: Path) -> CommandLine:
    return CommandLine(sandbox, tmp_path)


@pytest.fixture(scope="module")
async def wallets(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Owner]:
    """One wallet of each family, which never needs any tokens."""
    cli = CommandLine(sandbox, tmp_path_factory.mktemp("keys"))
    return {network: await cli.owner(network, gas=False, tokens=False) for network in ("linea", "solana")}


async def sign(cli: CommandLine, network: str, wallet: Owner, *more: str) -> Result:
    """Sign a statement as a person does."""
    named = ("--domain", DOMAIN, "--nonce", NONCE, "--wallet", str(wallet.key_file))
    return await cli.call("--json", "ownership", "sign", "--network", network, *named, *more, profile="none-is-needed")


async def verify(cli: CommandLine, network: str, address: str, message: str | bytes, signature: str) -> Result:
    """Verify a statement from a file."""
    file = cli.home / "message.txt"
    file.write_bytes(message.encode() if isinstance(message, str) else message)
    named = ("--message", str(file), "--signature", signature, "--address", address)
    return await cli.call("--json", "ownership", "verify", "--network", network, *named, profile="none-is-needed")


@pytest.mark.parametrize("network", ["linea", "solana"])
async def test_what_was_signed_verifies_without_a_profile_and_a_flipped_byte_never_does(
    cli: CommandLine, wallets: dict[str, Owner], network: str
) -> None:
    owner = wallets[network]
    signed = await sign(cli, network, owner)
    assert signed.status == 0
    document = signed.document
    assert document["address"] == owner.address
    assert document["message"] in signed.err, "what is signed is shown"
    statement = parse_statement(document["message"])
    assert (statement.domain, statement.nonce, statement.uri) == (DOMAIN, NONCE, f"https://{DOMAIN}")
    assert (statement.expiration_time is None) == (network == "solana")
    message, signature = document["message"], document["signature"]

    verified = await verify(cli, network, owner.address, message, signature)
    assert (verified.status, verified.document["verdict"]) == (0, "VERIFIED")
    assert {finding["verdict"] for finding in verified.document["findings"]} == {"VERIFIED"}

    for changed in (message.replace(NONCE, NONCE[::-1]), message.replace("\n", "\r\n"), message + "\n", message[1:]):
        refused = await verify(cli, network, owner.address, changed, signature)
        # A signature that fits nothing that is known here may be one of a contract, or over an envelope.
        assert (refused.status, refused.document["verdict"]) in {(1, "REFUTED"), (3, "UNDETERMINED")}
    ends_with_a_line_break = await verify(cli, network, owner.address, message + "\n", signature)
    assert "ends with a line break" in ends_with_a_line_break.err


@pytest.mark.parametrize("network", ["linea", "solana"])
@pytest.mark.parametrize(
    "signature", ["", "0x", "0x" + "00" * 65, "0x" + "zz" * 65, "1" * 88, "é" * 64, "\x00", "0" * 400]
)
async def test_a_malformed_signature_is_never_verified_and_ends_without_a_traceback(
    cli: CommandLine, wallets: dict[str, Owner], network: str, signature: str
) -> None:
    message = (await sign(cli, network, wallets[network])).document["message"]
    refuted = await verify(cli, network, wallets[network].address, message, signature)
    # A contract wallet may take any bytes, none as well; what is no bytes at all is nobody's.
    is_open = network == "linea" and signature in {"0x", "0x" + "00" * 65}
    assert (refuted.status, refuted.document["verdict"]) == ((3, "UNDETERMINED") if is_open else (1, "REFUTED"))


async def test_a_statement_of_another_address_or_chain_is_refuted(cli: CommandLine, wallets: dict[str, Owner]) -> None:
    signed = (await sign(cli, "linea", wallets["linea"])).document
    other = (await cli.owner("linea", gas=False, tokens=False)).address
    wrong_owner = await verify(cli, "linea", other, signed["message"], signed["signature"])
    wrong_chain = await verify(cli, "base", wallets["linea"].address, signed["message"], signed["signature"])
    assert (wrong_owner.status, wrong_chain.status) == (1, 1)
    verdicts = {finding["rule"]: finding["verdict"] for finding in wrong_owner.document["findings"]}
    assert {rule for rule, verdict in verdicts.items() if verdict == "REFUTED"} == {"address"}
    assert verdicts["signature"] == "UNDETERMINED", "no node was named that could ask a contract wallet"
    assert verdicts["chain-id"] == "VERIFIED"
    verdicts = {finding["rule"]: finding["verdict"] for finding in wrong_chain.document["findings"]}
    assert {rule for rule, verdict in verdicts.items() if verdict == "REFUTED"} == {"chain-id"}


@pytest.mark.parametrize(
    "changes",
    [
        ("--nonce", "short"),
        ("--nonce", "with space1"),
        ("--domain", "evil.com\nURI: https://card.example.com"),
        ("--domain", "user@card.example.com"),
        ("--uri", "no uri"),
        ("--lifetime", "5"),
    ],
)
async def test_a_statement_outside_the_grammar_is_not_signed(
    cli: CommandLine, wallets: dict[str, Owner], changes: tuple[str, str]
) -> None:
    result = await sign(cli, "linea", wallets["linea"], *changes)
    assert result.status == 2
    assert "signature" not in (json.loads(result.out) if result.out else {})


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
async def test_a_message_file_that_cannot_be_read_is_bad_input(
    cli: CommandLine, wallets: dict[str, Owner], content: bytes | None
) -> None:
    file = cli.home / "absent.txt"
    if content is not None:
        file.write_bytes(content)
    named = ("--message", str(file), "--signature", "0x", "--address", wallets["linea"].address)
    result = await cli.call("--json", "ownership", "verify", "--network", "linea", *named)
    assert (result.status, result.document["error"]["type"]) == (2, "InvalidRequestError")
    assert str(file) in result.error


async def test_the_round_trip_works_as_processes_too_and_prints_the_signature_alone(
    cli: CommandLine, wallets: dict[str, Owner]
) -> None:
    owner = wallets["linea"]
    named = ("--domain", DOMAIN, "--nonce", NONCE, "--wallet", str(owner.key_file))
    signed = await cli.run("ownership", "sign", "--network", "linea", *named)
    assert signed.status == 0
    signature = signed.out.strip()
    message = signed.err.partition("\n\n")[2].removesuffix("\n\n")
    file = cli.home / "message.txt"
    file.write_text(message)
    named = ("--message", str(file), "--signature", signature, "--address", owner.address)
    verified = await cli.run("ownership", "verify", "--network", "linea", *named)
    assert (verified.status, verified.out.splitlines()[-1]) == (0, "VERIFIED")
