"""The hosted page of the simulated platform in a real browser, walked with the keyboard; and its colours."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from browser_lab import Browser, Receiver, open_browser
from platform_lab import TENANT, PlatformLab, authorization_query, pkce
from selenium.webdriver import Keys

from delegation.sandbox.platform import pages
from delegation.sandbox.servers import RunningServer

CONSENT = f"Allow {TENANT.client_id} to use your account?"


class Application:
    """The application that sends its user to the hosted page and gets them back."""

    def __init__(self, platform: PlatformLab, redirect_uri: str, receiver: Receiver) -> None:
        self.came = receiver.came
        self.redirect_uri = redirect_uri
        self.verifier, challenge = pkce()
        query = authorization_query(challenge) | {"redirect_uri": redirect_uri}
        self.address = f"{platform.base_url}/v1/auth/oauth2/authorize?{urlencode(query)}"


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture
async def application(platform: PlatformLab) -> AsyncIterator[Application]:
    receiver = Receiver()
    async with RunningServer(receiver) as server:
        redirect_uri = f"{server.base_url}/callback"
        await platform.conduct(redirect_uris=[redirect_uri])
        yield Application(platform, redirect_uri, receiver)


def sign_in(browser: Browser, password: str = TENANT.password) -> None:
    browser.wait_for_heading("Sign in")
    browser.fill("E-mail address", TENANT.email)
    browser.fill("Password", password)
    browser.press(Keys.ENTER)


async def walk_to_consent(browser: Browser, platform: PlatformLab, application: Application) -> None:
    browser.open(application.address)
    sign_in(browser)
    browser.wait_for_heading("Enter the code")
    browser.fill("Code", await platform.code())
    browser.press(Keys.ENTER)
    browser.wait_for_heading(CONSENT)


async def test_the_keyboard_alone_leads_from_the_password_to_the_application(
    browser: Browser, platform: PlatformLab, application: Application
):
    await walk_to_consent(browser, platform, application)
    browser.activate("Allow")
    browser.wait_for_heading("Back")
    [came] = application.came
    assert came == {"code": came["code"], "state": "a-state-of-ours", "app_id": "SANDBOX"}
    tokens = await platform.exchange(came["code"], application.verifier, redirect_uri=application.redirect_uri)
    assert (await platform.ask("/v1/user", tokens.json()["access_token"])).status_code == 200


async def test_a_wrong_password_is_announced_and_the_password_asked_for_again(
    browser: Browser, application: Application
):
    browser.open(application.address)
    sign_in(browser, password="other")
    browser.wait_for_heading("Sign in", alert="Invalid credentials.")
    assert browser.driver.title == "Error: Sign in"
    password = browser.driver.switch_to.active_element
    assert (password.accessible_name, password.get_attribute("aria-invalid")) == ("Password", "true")
    assert password.get_attribute("value") == ""
    browser.press(TENANT.password, Keys.ENTER)
    browser.wait_for_heading("Enter the code")


async def test_a_wrong_code_is_announced_and_another_one_can_be_sent(
    browser: Browser, platform: PlatformLab, application: Application
):
    browser.open(application.address)
    sign_in(browser)
    browser.wait_for_heading("Enter the code")
    browser.press("000000" if await platform.code() != "000000" else "111111", Keys.ENTER)
    browser.wait_for_heading("Enter the code", alert="Invalid OTP code. Look again, or send another one.")
    browser.activate("Send another code")
    browser.wait_for_heading("Enter the code")
    browser.fill("Code", await platform.code())
    browser.activate("Continue")
    browser.wait_for_heading(CONSENT)


async def test_the_browser_itself_refuses_a_code_that_cannot_be_one(
    browser: Browser, platform: PlatformLab, application: Application
):
    browser.open(application.address)
    sign_in(browser)
    browser.wait_for_heading("Enter the code")
    browser.press("12345", Keys.ENTER)
    field = browser.driver.switch_to.active_element
    assert browser.driver.execute_script("return arguments[0].validity.valid", field) is False
    assert field.get_attribute("value") == "12345"


async def test_refused_consent_goes_back_as_access_denied(
    browser: Browser, platform: PlatformLab, application: Application
):
    await walk_to_consent(browser, platform, application)
    browser.activate("Refuse")
    browser.wait_for_heading("Back")
    assert application.came == [{"error": "access_denied", "state": "a-state-of-ours"}]


async def test_a_redirect_can_arrive_twice(browser: Browser, platform: PlatformLab, application: Application):
    await platform.conduct(redirect_twice=True)
    await walk_to_consent(browser, platform, application)
    browser.activate("Allow")
    browser.wait_for_heading("Back")
    assert len(application.came) == 2
    assert application.came[0] == application.came[1]


async def test_the_back_button_leads_to_the_step_that_is_next(
    browser: Browser, platform: PlatformLab, application: Application
):
    await walk_to_consent(browser, platform, application)
    browser.driver.back()
    browser.wait_for_heading(CONSENT)


async def test_nothing_of_a_page_is_refused_by_its_own_policy(
    browser: Browser, platform: PlatformLab, application: Application
):
    await walk_to_consent(browser, platform, application)
    main = browser.driver.find_element("css selector", "main")
    assert main.value_of_css_property("max-width") == "432px", "the style is applied"
    browser.activate("Allow")
    browser.wait_for_heading("Back")
    complaints = [entry["message"] for entry in browser.driver.get_log("browser") if "Security" in entry["message"]]
    assert complaints == []


@pytest.mark.parametrize("step", ["Sign in", "Enter the code", CONSENT])
async def test_what_is_focused_is_seen_at_every_step(
    browser: Browser, platform: PlatformLab, application: Application, step: str
):
    browser.open(application.address)
    if step != "Sign in":
        sign_in(browser)
        browser.wait_for_heading("Enter the code")
    if step == CONSENT:
        browser.press(await platform.code(), Keys.ENTER)
    browser.wait_for_heading(step)
    controls = browser.driver.find_elements("css selector", "a, button, input:not([type=hidden])")
    reached = set()
    for _ in (*controls, "the page itself, between the last and the first"):
        browser.press(Keys.TAB)
        focused = browser.driver.switch_to.active_element
        if focused.tag_name == "body":
            continue
        reached.add(focused.accessible_name)
        assert focused.value_of_css_property("outline-style") == "solid"
        assert focused.value_of_css_property("outline-width") == "3px"
    assert reached == {control.accessible_name for control in controls}, "each once round, and nothing else"


async def test_the_browser_of_these_tests_asks_nobody_for_a_name_and_connects_to_this_machine_alone(
    platform: PlatformLab, tmp_path: Path
):
    log = tmp_path / "network.json"
    with open_browser(f"--log-net-log={log}") as browser:
        browser.open(f"{platform.base_url}/sandbox/phone")
        browser.wait_for_heading("The sandbox's phone")
    events = json.loads(log.read_text())["events"]
    parameters = [event.get("params", {}) for event in events]
    connected = {address for seen in parameters for address in seen.get("address_list", [])}
    assert connected == {platform.base_url.removeprefix("http://")}
    assert [seen["address"] for seen in parameters if seen.get("address", "").endswith(":53")] == []


# Colours


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2.2, 1.4.3)."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper", "least"),
    [
        ("ink", "paper", 4.5),
        ("quiet", "paper", 4.5),
        ("fault", "paper", 4.5),
        ("action", "paper", 4.5),
        ("on-action", "action", 4.5),
        ("ink", "note", 4.5),
        ("action", "note", 4.5),
        ("line", "paper", 3.0),
    ],
)
def test_every_colour_is_told_from_what_it_stands_on(theme: int, ink: str, paper: str, least: float) -> None:
    themes = re.findall(r":root \{([^}]*)\}", pages._STYLE)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", themes[0])) | (
        dict(re.findall(r"--([\w-]+): (#\w{6})", themes[1])) if theme else {}
    )
    assert contrast(colours[ink], colours[paper]) >= least
