"""Profiles: private, complete, and clear about what is wrong without saying what is secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chains import InputError, Token, get_chain
from chains.wallets import write_secret_file
from delegation import Profile, load_profile, open_context, save_profile
from delegation.errors import InvalidRequestError, ProfileError
from delegation.pins import Asset
from delegation.profile import GatewaySettings, NetworkSettings, home, journal_location, profile_path

SECRET = "c0ffee-very-secret-access-token"
GATEWAY = {"base_url": "https://dev.api.baanx.com", "client_key": "public-key", "access_token": SECRET}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DELEGATION_CLIENT_KEY", "DELEGATION_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DELEGATION_HOME", str(tmp_path))
    (tmp_path / "profiles").mkdir()
    return tmp_path


def write(content: Any, name: str = "default") -> Path:
    """Write a profile's file as a person would."""
    path = profile_path(name)
    write_secret_file(path, content if isinstance(content, str) else json.dumps(content), overwrite=True)
    return path


def test_what_was_saved_is_loaded_and_is_private() -> None:
    profile = Profile(
        name="card",
        gateway=GatewaySettings(**GATEWAY, region="us"),
        networks={"linea": NetworkSettings(rpc_url="http://127.0.0.1:1/key")},
        wallets={"evm": "/keys/card.json"},
    )
    path = save_profile("card", profile)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_profile("card") == profile
    assert profile.chain("Linea").rpc_url == "http://127.0.0.1:1/key"
    assert profile.chain("base").rpc_url.startswith("https://")


def test_a_profile_says_how_deep_an_approval_must_lie_on_a_network() -> None:
    write({"gateway": GATEWAY, "networks": {"Ethereum": {"settle_depth": 12}, "linea": {"rpc_url": "http://host/"}}})
    profile = load_profile()
    assert profile.chain("ethereum").settle_depth == 12
    assert profile.chain("linea").settle_depth == get_chain("linea").settle_depth == 1
    assert profile.chain("ethereum-sepolia").settle_depth == get_chain("ethereum").settle_depth == 2


@pytest.mark.parametrize("depth", [0, -1, 1.5, "2", True, 10**9])
def test_a_depth_that_is_no_number_of_blocks_is_refused_by_name(depth: Any) -> None:
    write({"gateway": GATEWAY, "networks": {"ethereum": {"settle_depth": depth}}})
    with pytest.raises(ProfileError, match=r"networks\.ethereum\.settle_depth: Input should be"):
        load_profile()


def test_only_the_gateway_is_required_and_the_rest_has_defaults(own_home: Path) -> None:
    write({"gateway": GATEWAY})
    profile = load_profile()
    terms = profile.statement_terms()
    assert profile.gateway.region == "international"
    assert (terms.domain, terms.lifetime.total_seconds()) == ("dev.api.baanx.com", 120)
    assert journal_location(profile) == str(own_home / "journals" / "default.sqlite")
    with pytest.raises(ProfileError, match="No evm wallet is named"):
        profile.default_wallet("evm")


def test_a_profile_knows_its_name_and_its_file_does_not_say_it(own_home: Path) -> None:
    write({"gateway": GATEWAY}, "card")
    card = load_profile("card")
    assert card.name == "card"
    assert load_profile("card").model_copy(update={"name": "other"}) != card
    assert Profile(gateway=card.gateway).name == "default"
    assert "name" not in json.loads(save_profile("copy", card).read_text())
    assert load_profile("copy").name == "copy"
    for name in ("../card", "", "a/b"):
        with pytest.raises(ValidationError, match="Use letters"):
            Profile(name=name, gateway=card.gateway)


@pytest.mark.parametrize("by_name", [True, False])
async def test_the_context_of_a_profile_has_the_journal_and_the_pins_of_that_profile(
    own_home: Path, by_name: bool
) -> None:
    write({"gateway": GATEWAY}, "card")
    card: Profile | str = "card" if by_name else load_profile("card")
    token = Token("usdc", "0x176211869cA2b568f2A7D4EE941E073a821EE1ff", 6)
    asset = Asset("base", "sandbox", token, "0x9dd23A4a0845f10d65D293776B792af1131c7B30")
    async with open_context(card, "linea") as context:
        context.pins.pin(asset)
    assert [path.name for path in (own_home / "journals").glob("*.sqlite")] == ["card.sqlite"]
    async with open_context("card", "linea") as context:
        assert context.pins.find_pinned("base", "usdc") == (token, asset.spender)
    write({"gateway": GATEWAY})
    async with open_context("default", "linea") as context:
        assert context.pins.find_pinned("base", "usdc") == (None, None)


async def test_a_context_of_a_profile_that_nobody_made_is_refused() -> None:
    with pytest.raises(ProfileError, match="There is no profile 'card'"):
        async with open_context("card", "linea"):
            pass


def test_the_environment_takes_the_place_of_the_secrets_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write({"gateway": GATEWAY})
    monkeypatch.setenv("DELEGATION_ACCESS_TOKEN", "of-today")
    assert load_profile().gateway.access_token == "of-today"
    assert load_profile().gateway.client_key == "public-key"
    write({"gateway": {"base_url": GATEWAY["base_url"]}})
    with pytest.raises(ProfileError, match="client_key"):
        load_profile()
    monkeypatch.setenv("DELEGATION_CLIENT_KEY", "of-today")
    assert load_profile().gateway.client_key == "of-today"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not JSON"),
        ('{"gateway": {"access_token": "' + SECRET + '",}', "line 1"),
        ("[" * 100_000, "cannot be used"),
        ("[]", "The whole"),
        ('"' + SECRET + '"', "The whole"),
        ({"gateway": [SECRET]}, "gateway"),
        ({"gateway": {"base_url": "https://host", "access_token": SECRET}}, "gateway.client_key: Field required"),
        ({"gateway": GATEWAY | {"access_tokem": SECRET}}, "gateway.access_tokem"),
        ({"gateway": GATEWAY | {"region": SECRET}}, "gateway.region"),
        ({"gateway": GATEWAY | {"base_url": "https://host:notaport/" + SECRET}}, "gateway.base_url"),
        ({"gateway": GATEWAY | {"base_url": ""}}, "gateway.base_url"),
        ({"gateway": GATEWAY, "networks": {"lineo": {}}}, "No network is called 'lineo'"),
        ({"gateway": GATEWAY, "networks": {"linea": {"rpc_url": "http://[::1/" + SECRET}}}, "networks.linea.rpc_url"),
        ({"gateway": GATEWAY, "wallets": {"bitcoin": "/key"}}, "wallets.bitcoin"),
        ({"gateway": GATEWAY, "ownership": {"lifetime": 5}}, "ownership.lifetime"),
        ({"gateway": GATEWAY, "name": "default"}, "name: A profile is called what its file is called"),
        ({"gateway": GATEWAY, "name": [SECRET]}, "name: A profile is called what its file is called"),
    ],
)
def test_a_broken_profile_names_the_place_and_never_a_value(content: Any, words: str) -> None:
    path = write(content)
    with pytest.raises(ProfileError) as raised:
        load_profile()
    error = raised.value
    assert words in error.message
    assert str(path) in error.message
    assert error.hint
    assert len(error.message) < 600
    told = (str(error), repr(error), str(error.__cause__), str(error.__context__), str(error.found))
    assert not [text for text in told if SECRET in text]


def test_a_profile_that_is_not_text_is_refused() -> None:
    path = write("")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="cannot be used"):
        load_profile()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_profile_that_others_can_read_is_refused(mode: int) -> None:
    path = write({"gateway": GATEWAY})
    path.chmod(mode)
    with pytest.raises(ProfileError) as raised:
        load_profile()
    assert str(path) in raised.value.message
    assert raised.value.hint == f"Run: chmod 600 {path}"


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "a/b", ".hidden", "a b", "x" * 65, "name\n"])
def test_a_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="cannot be the name"):
        load_profile(name)


def test_a_missing_profile_says_where_it_would_be_and_how_to_begin(own_home: Path) -> None:
    with pytest.raises(ProfileError) as raised:
        load_profile("card")
    assert str(own_home / "profiles" / "card.json") in raised.value.message
    assert "a running sandbox writes one" in raised.value.hint


def test_a_directory_in_its_place_is_told_as_such(own_home: Path) -> None:
    (own_home / "profiles" / "card.json").mkdir(mode=0o700)
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile("card")


def test_no_secret_is_in_a_repr() -> None:
    profile = Profile(
        gateway=GatewaySettings(**GATEWAY), networks={"linea": NetworkSettings(rpc_url=f"https://host/{SECRET}")}
    )
    assert SECRET not in repr(profile)
    assert "public-key" not in repr(profile)


@pytest.mark.parametrize(
    "url",
    [
        "http://host:notaport",
        "http://[::1",
        "http://",
        "https://:80",
        "",
        " ",
        "http://a b",
        "http://x..y",
        "http://host:0",
    ],
)
async def test_a_node_url_that_cannot_be_used_is_bad_input_and_not_echoed(url: str) -> None:
    profile = Profile(gateway=GatewaySettings(**GATEWAY))
    with pytest.raises((InvalidRequestError, InputError)) as raised:
        async with open_context(profile, "linea", rpc_url=url):
            pass
    assert raised.value.hint


def test_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert home() == tmp_path
    monkeypatch.delenv("DELEGATION_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert home() == tmp_path / "xdg" / "delegation-toolkit"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert home() == tmp_path / "me" / ".config" / "delegation-toolkit"
