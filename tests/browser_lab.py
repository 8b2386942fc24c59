"""A browser for the tests of pages: Debian's Chromium without a window, driven by its keyboard, and where it is sent.

It talks to nobody but the pages of the test. What Chromium does in the background is off and its profile is new; the
hosts of its makers that it tries to reach all the same are names that resolve to nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from needs import need_program
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

_OPTIONS = (
    "--headless",
    "--no-sandbox",  # it refuses to run as root otherwise
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",  # one would resolve the names
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=800,1000",
)
_PATIENCE = 20.0

_READ = """
const text = (selector) => document.querySelector(selector)?.textContent ?? "";
return [document.readyState, text("h1"), text("[role=alert]")];
"""


class Browser:
    """A running browser, used as a person uses it who has a keyboard and no mouse."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Go to an address, and return when its page is there."""
        self.driver.get(url)

    def wait_for_heading(self, text: str, *, alert: str = "") -> None:
        """Return when the page with this heading, and what it announces, is there; else say what is there instead.

        All is read at once: an element that is found may be gone with its page before it can be read.
        """
        try:
            WebDriverWait(self.driver, _PATIENCE, poll_frequency=0.05).until(
                lambda driver: driver.execute_script(_READ) == ["complete", text, alert]
            )
        except TimeoutException:
            shown = self.driver.find_element("css selector", "body").text
            raise AssertionError(f"no page {text!r} but at {self.driver.current_url}: {shown}") from None

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, name: str) -> WebElement:
        """Press Tab until what has this accessible name is focused, and return it."""
        passed = []
        for _ in range(30):
            focused = self.driver.switch_to.active_element
            if focused.accessible_name == name:
                return focused
            passed.append(focused.accessible_name)
            self.press(Keys.TAB)
        raise AssertionError(f"nothing called {name!r} can be reached with Tab, only {passed}")

    def activate(self, name: str) -> None:
        """Go to what has this accessible name with Tab, and press Enter."""
        self.tab_to(name)
        self.press(Keys.ENTER)

    def fill(self, name: str, text: str) -> None:
        """Go to a field with Tab and type."""
        self.tab_to(name)
        self.press(text)


@contextmanager
def open_browser(*more: str) -> Iterator[Browser]:
    """Run a browser, with more options of Chromium.

    Skips the test where Chromium or its driver is not installed, and fails it under CI.
    """
    options = ChromeOptions()
    options.binary_location = str(need_program("chromium", package="chromium"))
    service = ChromeService(executable_path=str(need_program("chromedriver", package="chromium-driver")))
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        for option in (*_OPTIONS, *more, f"--user-data-dir={profile}"):
            options.add_argument(option)
        driver = Chrome(options=options, service=service)
        try:
            yield Browser(driver)
        finally:
            driver.quit()


@dataclass
class Receiver:
    """An application that users are sent back to: an ASGI application which remembers with what they came."""

    came: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer every request with a page, and remember those of the redirect."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        request = Request(scope, receive)
        if request.url.path == "/callback":
            self.came.append(dict(request.query_params))
        answer: Response = HTMLResponse("<title>Back</title><h1>Back</h1>")
        await answer(scope, receive, send)


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Begin and end at once: there is nothing to do."""
    for _ in range(2):
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
