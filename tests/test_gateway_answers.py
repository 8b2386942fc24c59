"""Reading what the platform answers: its configuration, its wallet lists and its refusals, however they are shaped."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.http import retry_after
from delegation.errors import (
    ClientKeyInvalidError,
    ClientKeyMissingError,
    ConflictError,
    DelegationError,
    GatewayError,
    NotAuthenticatedError,
    NotAuthorizedError,
    NotFoundError,
    PlatformFailedError,
    RateLimitedError,
    RejectedError,
    UnexpectedAnswerError,
    UnsupportedError,
)
from delegation.gateway.answers import Answer, describe_body, error_from, require_not_refused
from delegation.gateway.models import join_wallets, read_config, read_priorities, read_wallets

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

# The sample of the platform's chain-config page, as it is: mixed checksummed and lower-case addresses.
CONFIG: dict[str, Any] = {
    "networks": [
        {
            "network": "ethereum",
            "environment": "production",
            "chainId": "1",
            "delegationContract": "0xb453ba76d9ca952115e9e32ca069c96e846c5d9d",
            "tokens": {
                "usdc": {"symbol": "usdc", "decimals": 6, "address": "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"},
                "usdt": {"symbol": "usdt", "decimals": 6, "address": "0xdAC17F958D2ee523a2206206994597C13D831ec7"},
            },
        },
        {
            "network": "linea",
            "environment": "production",
            "chainId": "59144",
            "delegationContract": "0x9dd23A4a0845f10d65D293776B792af1131c7B30",
            "tokens": {
                "usdc": {"symbol": "usdc", "decimals": 6, "address": "0x176211869ca2b568f2a7d4ee941e073a821ee1ff"},
                "usdt": {"symbol": "usdt", "decimals": 6, "address": "0xa219439258ca9da29e9cc4ce5596924745e12b93"},
            },
        },
    ],
    "count": 2,
    "_links": {"self": "/v1/delegation/chain/config"},
}
SOLANA = {
    "network": "solana",
    "environment": "production",
    "chainId": "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
    "delegationContract": "4jepDb74FCMr1wgoSA34FeJ2mkvEsJBRZQQRumqp9EL3",
    "tokens": {"usdc": {"symbol": "usdc", "decimals": 6, "address": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"}},
}
US_LINEA = {
    **CONFIG["networks"][1],
    "network": "linea-us",
    "delegationContract": "0xA90b298d05C2667dDC64e2A4e17111357c215dD2",
}

# The samples of the platform's external-wallet pages.
EVM_ADDRESS = "0x3a11a86cf218c448be519728cd3ac5c741fb3424"
SOLANA_ADDRESS = "DYw8jCTfwHNRJhhmFcbXvVDTqWMEVFBX6ZKUmG5CNSKK"
WALLETS: list[dict[str, Any]] = [
    {"address": EVM_ADDRESS, "currency": "usdc", "balance": "1250.50", "allowance": "5000", "network": "linea"},
    {
        "address": "0x7b22c1e6f8a4d92b5c3d8e9f1a2b3c4d5e6f7890",
        "currency": "usdt",
        "balance": "500.00",
        "allowance": "1000",
        "network": "ethereum",
    },
    {"address": SOLANA_ADDRESS, "currency": "usdc", "balance": "2000.00", "allowance": "3000", "network": "solana"},
]
PRIORITIES = [
    {key: row[key] for key in ("address", "currency", "network")} | {"id": 550 + place, "priority": place}
    for place, row in enumerate(WALLETS, start=1)
]


def config_with(**changes: Any) -> Any:
    """Return the sample with changes to its Linea entry."""
    config = copy.deepcopy(CONFIG)
    config["networks"][1] |= changes
    return config


def reasons(config: Any) -> dict[str, str]:
    return {left.what: left.reason for left in config.left_out}


class TestConfiguration:
    def test_the_documented_sample_is_read_whole_with_addresses_in_eip_55(self):
        config = read_config(CONFIG, "international")
        assert [entry.network for entry in config.networks] == ["ethereum", "linea"]
        assert config.left_out == ()
        linea, usdc = config.find("linea", "usdc")
        assert (linea.chain_id, linea.environment) == ("59144", "production")
        assert linea.delegation_contract == "0x9dd23A4a0845f10d65D293776B792af1131c7B30"
        assert (usdc.symbol, usdc.decimals) == ("usdc", 6)
        assert usdc.address == "0x176211869cA2b568f2A7D4EE941E073a821EE1ff"

    def test_a_solana_entry_holds_the_delegate_key_and_the_mint(self):
        solana, usdc = read_config({"networks": [SOLANA]}, "international").find("solana", "usdc")
        assert solana.delegation_contract == SOLANA["delegationContract"]
        assert solana.chain_id == SOLANA["chainId"]
        assert usdc.address == "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"

    @pytest.mark.parametrize("chain_id", ["59144", "0xe708", "0xE708", 59144])
    def test_a_chain_id_is_decimal_or_hex_and_kept_as_decimal_text(self, chain_id: Any):
        linea, _ = read_config(config_with(chainId=chain_id), "international").find("linea", "usdc")
        assert linea.chain_id == "59144"

    def test_names_are_found_in_any_letter_case(self):
        config = config_with(network="LINEA")
        config["networks"][1]["tokens"] = {"USDC": CONFIG["networks"][1]["tokens"]["usdc"]}
        assert read_config(config, "international").find("Linea", "Usdc")[0].network == "linea"

    def test_what_is_not_offered_is_refused_with_what_is(self):
        config = read_config(CONFIG, "international")
        with pytest.raises(UnsupportedError, match=r"solana(.|\n)*ethereum, linea"):
            config.find("solana", "usdc")
        with pytest.raises(UnsupportedError, match=r"eure on linea(.|\n)*usdc, usdt"):
            config.find("linea", "eure")

    def test_another_chain_id_than_ours_leaves_the_network_out_and_names_both(self):
        config = read_config(config_with(chainId="59141"), "international")
        assert [entry.network for entry in config.networks] == ["ethereum"]
        assert "59141" in reasons(config)["linea"]
        assert "59144" in reasons(config)["linea"]
        with pytest.raises(UnsupportedError, match="59141"):
            config.find("linea", "usdc")

    @pytest.mark.parametrize(
        "broken",
        [
            {"chainId": None},
            {"chainId": "mainnet"},
            {"chainId": True},
            {"chainId": "-1"},
            {"chainId": "\u0665\u0669\u0661\u0664\u0664"},
            {"delegationContract": None},
            {"delegationContract": ""},
            {"delegationContract": SOLANA["delegationContract"]},
            {"delegationContract": "0x9dd23A4a0845f10d65D293776B792af1131c7B31"[:-1]},
            {"delegationContract": "0x9DD23A4a0845f10d65D293776B792af1131c7B30"},
            {"tokens": None},
            {"tokens": []},
            {"tokens": {}},
        ],
    )
    def test_an_entry_that_cannot_be_used_is_left_out_with_a_reason_and_harms_no_other(self, broken: Any):
        config = read_config(config_with(**broken), "international")
        assert [entry.network for entry in config.networks] == ["ethereum"]
        assert reasons(config)["linea"]

    @pytest.mark.parametrize(
        "broken",
        [
            None,
            {},
            {"decimals": 6},
            {"decimals": "6", "address": "0x176211869ca2b568f2a7d4ee941e073a821ee1ff"},
            {"decimals": True, "address": "0x176211869ca2b568f2a7d4ee941e073a821ee1ff"},
            {"decimals": -1, "address": "0x176211869ca2b568f2a7d4ee941e073a821ee1ff"},
            {"decimals": Decimal("6.5"), "address": "0x176211869ca2b568f2a7d4ee941e073a821ee1ff"},
            {"decimals": 6, "address": None},
            {"decimals": 6, "address": "0x1762"},
        ],
    )
    def test_one_bad_token_leaves_out_only_that_token(self, broken: Any):
        tokens = {**CONFIG["networks"][1]["tokens"], "eure": broken}
        config = read_config(config_with(tokens=tokens), "international")
        assert list(config.find("linea", "usdc")[0].tokens) == ["usdc", "usdt"]
        assert list(reasons(config)) == ["linea eure"]
        with pytest.raises(UnsupportedError) as refused:
            config.find("linea", "eure")
        assert reasons(config)["linea eure"] in refused.value.message

    def test_networks_this_toolkit_does_not_know_are_left_out(self):
        config = copy.deepcopy(CONFIG)
        config["networks"] += [{"network": "monad", "chainId": "143"}, {"program": "AAEC"}, None, "linea"]
        read = read_config(config, "international")
        assert [entry.network for entry in read.networks] == ["ethereum", "linea"]
        assert len(read.left_out) == 4
        assert "know" in reasons(read)["monad"]

    def test_a_network_or_token_named_twice_is_reported(self):
        twice = {**CONFIG["networks"][1], "delegationContract": "0xA90b298d05C2667dDC64e2A4e17111357c215dD2"}
        config = read_config({"networks": [*CONFIG["networks"], twice]}, "international")
        assert config.find("linea", "usdc")[0].delegation_contract == CONFIG["networks"][1]["delegationContract"]
        assert "twice" in reasons(config)["linea"]
        usdc, usdt = CONFIG["networks"][1]["tokens"].values()
        config = read_config(config_with(tokens={"usdc": usdc, "USDC": usdt}), "international")
        assert config.find("linea", "usdc")[1].address.lower() == usdc["address"]
        assert "twice" in reasons(config)["linea usdc"]

    def test_in_the_us_region_linea_us_stands_for_linea_with_its_own_spender(self):
        config = read_config({"networks": [*CONFIG["networks"], US_LINEA]}, "us")
        assert config.find("linea", "usdc")[0].delegation_contract == US_LINEA["delegationContract"]
        assert "linea-us" in reasons(config)["linea"]

    def test_in_the_us_region_linea_alone_is_used_because_the_header_routes_it(self):
        assert read_config(CONFIG, "us").find("linea", "usdc")[0].network == "linea"

    def test_a_broken_linea_us_never_falls_back_to_the_international_spender(self):
        broken = {**US_LINEA, "delegationContract": None}
        config = read_config({"networks": [*CONFIG["networks"], broken]}, "us")
        with pytest.raises(UnsupportedError, match="delegationContract"):
            config.find("linea", "usdc")

    def test_elsewhere_linea_us_is_left_out(self):
        config = read_config({"networks": [*CONFIG["networks"], US_LINEA]}, "international")
        assert config.find("linea", "usdc")[0].delegation_contract == CONFIG["networks"][1]["delegationContract"]
        assert "US" in reasons(config)["linea-us"]

    @pytest.mark.parametrize("answer", [None, [], {}, {"networks": None}, {"networks": {}}, "Created"])
    def test_no_list_of_networks_at_all_is_an_error(self, answer: Any):
        with pytest.raises(UnexpectedAnswerError):
            read_config(answer, "international")


class TestWallets:
    def test_the_documented_rows_are_read_as_exact_decimals(self):
        linea, ethereum, solana = read_wallets(WALLETS)
        assert (linea.balance, linea.allowance) == (Decimal("1250.50"), Decimal(5000))
        assert (ethereum.network, ethereum.currency) == ("ethereum", "usdt")
        assert solana.address == SOLANA_ADDRESS

    @pytest.mark.parametrize(
        ("said", "amount"),
        [
            ("0", Decimal(0)),
            ("0x0", Decimal(0)),
            ("0x00", Decimal(0)),
            ("0.1", Decimal("0.1")),
            ("115792089237316195423570985008687907853269984665640564039457.584007913129639935", None),
            ("not a number", None),
            ("NaN", None),
            ("Infinity", None),
            ("1e999999999", None),
            ("0x10", None),
            ("", None),
            (None, None),
            (True, None),
            ({}, None),
            (0, Decimal(0)),
            (12, Decimal(12)),
            (Decimal("0.1"), Decimal("0.1")),
        ],
    )
    def test_an_amount_is_exact_or_unknown_and_never_guessed(self, said: Any, amount: Decimal | None):
        if isinstance(said, str) and len(said) > 50:
            amount = Decimal(said)
        (row,) = read_wallets([WALLETS[0] | {"allowance": said}])
        assert row.allowance == amount
        assert amount is None or str(row.allowance) == str(amount)

    def test_missing_money_is_unknown_and_not_zero(self):
        (row,) = read_wallets([{key: WALLETS[0][key] for key in ("address", "currency", "network")}])
        assert row.balance is None
        assert row.allowance is None

    @pytest.mark.parametrize("answer", [None, {}, {"wallets": []}, [None], [{"address": EVM_ADDRESS}], ["row"]])
    def test_rows_that_cannot_be_told_apart_are_an_error_and_do_not_vanish(self, answer: Any):
        with pytest.raises(UnexpectedAnswerError):
            read_wallets(answer)

    def test_rows_are_joined_on_address_currency_and_network(self):
        joined = join_wallets(read_wallets(WALLETS), read_priorities(PRIORITIES))
        assert [(wallet.id, wallet.priority, wallet.network) for wallet in joined] == [
            (551, 1, "linea"),
            (552, 2, "ethereum"),
            (553, 3, "solana"),
        ]
        assert joined[0].allowance == Decimal(5000)

    def test_letter_case_does_not_matter_for_evm_rows(self):
        shouted = [{**PRIORITIES[0], "address": EVM_ADDRESS.replace("a", "A"), "currency": "USDC", "network": "Linea"}]
        (joined,) = join_wallets(read_wallets(WALLETS[:1]), read_priorities(shouted))
        assert joined.id == 551

    def test_solana_addresses_that_differ_in_case_are_two_wallets(self):
        other = [{**PRIORITIES[2], "address": SOLANA_ADDRESS.swapcase()}]
        (joined,) = join_wallets(read_wallets(WALLETS[2:]), read_priorities(other))
        assert (joined.id, joined.priority) == (None, None)

    def test_a_row_knows_whose_it_is(self):
        evm, _, solana = read_wallets(WALLETS)
        assert evm.is_of("0x3a11a86Cf218C448bE519728cd3Ac5c741FB3424", "USDC", "linea")
        assert not evm.is_of(EVM_ADDRESS, "usdc", "base")
        assert not evm.is_of(EVM_ADDRESS, "usdt", "linea")
        assert solana.is_of(SOLANA_ADDRESS, "usdc", "solana")
        assert not solana.is_of(SOLANA_ADDRESS.lower(), "usdc", "solana")

    def test_what_pays_first_comes_first_and_what_has_no_place_last(self):
        rows = [{**PRIORITIES[0], "priority": 9}, {**PRIORITIES[2], "priority": 1}]
        joined = join_wallets(read_wallets(WALLETS), read_priorities(rows))
        assert [wallet.network for wallet in joined] == ["solana", "linea", "ethereum"]
        assert joined[-1].id is None


NESTED = json.dumps({"message": json.dumps({"error": {"status": 500, "message": "boom", "errorCode": None}})})
DUPLICATE = json.dumps({"message": json.dumps({"error": "Duplicate onboardingId", "details": ["it is used"]})})
# The shapes that the platform documents and those it has been seen to use, one a line.
BODIES = [
    ('{"error": "bad_amount", "error_description": "wrong", "details": {"amount": "too small"}}', ["bad_amount", "wrong", "amount: too small"]),  # noqa: E501
    ('{"message": "Not authenticated"}', ["Not authenticated"]),
    ('{"error": "Validation error", "details": ["first", "second"]}', ["Validation error", "first", "second"]),
    ('{"error": "invalid_request", "error_description": "Missing required parameter"}', ["invalid_request", "Missing"]),
    (NESTED, ["boom"]),
    (DUPLICATE, ["Duplicate onboardingId", "it is used"]),
    ('{"code": "USER_NOT_VERIFIED", "detail": "Account has not been verified"}', ["USER_NOT_VERIFIED", "Account has"]),
    ("something went wrong", ["something went wrong"]),
    ("Bad Request", ["Bad Request"]),
    ('"Bad Request"', ["Bad Request"]),
]  # fmt: skip


def refusal(status: int, body: str = "{}", secrets: tuple[str, ...] = (), **headers: str) -> GatewayError:
    return error_from(
        Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode()),
        "the proof",
        secrets,
    )


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "kind", "fault", "maybe_done"),
        [
            (400, RejectedError, "platform", False),
            (401, NotAuthenticatedError, "yours", False),
            (403, NotAuthorizedError, "yours", False),
            (404, NotFoundError, "platform", False),
            (409, ConflictError, "platform", False),
            (422, RejectedError, "platform", False),
            (429, RateLimitedError, "platform", False),
            (498, ClientKeyInvalidError, "yours", False),
            (499, ClientKeyMissingError, "yours", False),
            (500, PlatformFailedError, "platform", True),
            (502, PlatformFailedError, "platform", True),
            (503, PlatformFailedError, "platform", True),
            (504, PlatformFailedError, "platform", True),
            (520, PlatformFailedError, "platform", True),
            (302, UnexpectedAnswerError, "platform", True),
            (408, UnexpectedAnswerError, "platform", True),
            (418, UnexpectedAnswerError, "platform", True),
        ],
    )
    def test_every_status_has_its_class_and_says_what_to_do(
        self, status: int, kind: type[GatewayError], fault: str, maybe_done: bool
    ):
        error = refusal(status, '{"message": "why"}')
        assert type(error) is kind
        assert (error.status, error.fault, error.maybe_done) == (status, fault, maybe_done)
        assert f"HTTP {status}" in error.message
        assert "why" in error.message
        assert "the proof" in error.message
        assert error.hint

    @pytest.mark.parametrize(("body", "words"), BODIES)
    def test_every_shape_of_body_is_put_into_words(self, body: str, words: list[str]):
        error = refusal(422, body)
        assert all(word in error.message for word in words)
        assert "{" not in error.message
        assert error.body == body

    @pytest.mark.parametrize(
        "body", ["", "{}", "null", "[]", "<html><body>Bad gateway</body></html>", '{"message": null}']
    )
    def test_a_body_that_says_nothing_adds_no_words(self, body: str):
        assert refusal(502, body).message == "The platform refused the proof (HTTP 502)."

    def test_words_and_body_are_bounded_and_printable(self):
        error = refusal(500, json.dumps({"message": "\x1b[31mred\u202e\n" + "x" * 100_000}))
        assert error.message.isprintable()
        assert len(error.message) < 600
        assert len(error.body) <= 2000

    @pytest.mark.parametrize("secret", ["eyJhbGciOi.J9-_x", 'quo"te/and\\back', "a/b+c=="])
    @pytest.mark.parametrize("nesting", [0, 1, 2])
    def test_a_secret_that_the_platform_echoes_is_removed_however_deeply_it_is_nested(self, secret: str, nesting: int):
        body = f"token Bearer {secret} is no good"
        for _ in range(nesting):
            body = json.dumps({"message": body}).replace("/", "\\/")
        error = refusal(401, body, (secret, "other"))
        for text in (error.message, error.body, str(error), repr(error)):
            assert secret not in text
            assert secret.replace("/", "\\/") not in text
        assert "is no good" in error.message

    def test_a_secret_at_the_end_of_what_is_kept_is_not_cut_in_half(self):
        secret = "S" * 60
        error = refusal(500, "x " * 180 + secret + " x" * 2000 + secret, (secret,))
        assert "SSS" not in error.message + error.body

    def test_success_false_is_a_refusal_and_anything_unreadable_is_not(self):
        for body in (
            b"",
            b"Created",
            b"{",
            b'{"success": true}',
            b'{"success": null}',
            b"[]",
            b"1e9999999999999999999",
        ):
            require_not_refused(Answer(201, {}, body), "the proof", ())
        said_no = Answer(201, {}, b'{"success": false, "message": "no such wallet"}')
        with pytest.raises(RejectedError, match="no such wallet") as refused:
            require_not_refused(said_no, "the proof", ())
        assert refused.value.status == 201

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("0", 0.0),
            ("7", 7.0),
            (" 7 ", 7.0),
            ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
            ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("\u0667", None),
            ("Mon, 99 Nov 99999 12:00:30 GMT", None),
        ],
    )
    def test_retry_after_is_seconds_or_a_date_or_absent(self, header: str, seconds: float | None):
        assert retry_after(header, now=NOW) == seconds

    def test_a_rate_limit_carries_how_long_to_wait_where_it_is_said(self):
        assert refusal(429, retry_after="7").retry_after == 7.0
        assert refusal(429).retry_after is None


SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None), max_size=12) | st.decimals()
HINTS = st.sampled_from(
    ["linea", "solana", "linea-us", "usdc", "59144", "0x0", EVM_ADDRESS, SOLANA_ADDRESS, "success", "\ud800", "\x1b"]
)
FIELDS = [
    "network",
    "tokens",
    "chainId",
    "delegationContract",
    "environment",
    "decimals",
    "address",
    "currency",
    "balance",
    "allowance",
    "id",
    "priority",
    "message",
    "error",
    "details",
    "code",
]
JSON_VALUES = st.recursive(
    SCALARS | HINTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HINTS | st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=20,
)
NETWORK_ENTRIES = st.fixed_dictionaries(
    {"network": HINTS, "chainId": HINTS | SCALARS, "delegationContract": HINTS | SCALARS},
    optional={
        "environment": HINTS | SCALARS,
        "tokens": st.dictionaries(
            HINTS, JSON_VALUES | st.fixed_dictionaries({"decimals": SCALARS, "address": HINTS}), max_size=3
        ),
    },
)


class TestWhateverThePlatformSends:
    @given(st.lists(NETWORK_ENTRIES | JSON_VALUES, max_size=5), st.sampled_from(["us", "international"]))
    def test_no_configuration_crashes_and_nothing_unusable_is_offered(self, entries: list[Any], region: Any):
        config = read_config({"networks": entries}, region)
        assert len(config.networks) <= len(entries)
        for network in config.networks:
            assert network.network in {"linea", "solana"}
            assert network.tokens
        for left in config.left_out:
            assert left.what.isprintable()

    @given(JSON_VALUES)
    def test_no_answer_makes_another_error_than_ours(self, answer: Any):
        for read in (read_wallets, read_priorities, lambda value: read_config(value, "us")):
            with suppress(DelegationError):
                read(answer)

    @given(st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value, default=str).encode()))
    def test_every_body_is_put_into_words_that_can_be_printed(self, body: bytes):
        words = describe_body(body.decode(errors="replace"))
        assert words == "" or words.isprintable()
        assert error_from(Answer(500, {}, body), "the proof", ("secret",)).message.encode()

    @given(st.text(max_size=60))
    def test_no_retry_after_header_crashes(self, header: str):
        seconds = retry_after(header, now=NOW)
        assert seconds is None or seconds >= 0

    def test_nesting_without_end_is_an_error_of_ours(self):
        with pytest.raises(UnexpectedAnswerError):
            Answer(200, {}, b"[" * 200_000).json()
        nested = '"boom"'
        for _ in range(12):
            nested = json.dumps({"message": nested})
        assert describe_body(nested) == describe_body(nested)[:400]
