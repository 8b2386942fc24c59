"""HTTP for both floors: one way to open a client, to show a URL, and to read how long a busy server asks to wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import ssl

    import httpx

# A segment such as `v1` or `mainnet` is none; the keys of providers have 20 characters and more.
_SHORTEST_KEY: Final = 12
_SHORTEST_PASSWORD: Final = 6


def open_http_client(url: str, **settings: Any) -> httpx.AsyncClient:
    """Return an HTTP client for one host, with httpx's settings; TLS is made ready once, and only where it is used."""
    import httpx

    return httpx.AsyncClient(verify=_tls_context() if urlsplit(url).scheme == "https" else False, **settings)


@cache
def _tls_context() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


def redact_url(url: str) -> str:
    """Return a URL that is safe to print: providers put API keys into the path, the query or the user name."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    hidden = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{hidden}"


def retry_after(header: str, *, now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3: seconds or a date), or None."""
    from email.utils import parsedate_to_datetime

    text = header.strip()
    if text.isascii() and text.isdigit():
        # Cut, because a header can have any length.
        return float(text[:9])  # a float is right here: it is a time to sleep, and never an amount
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def retry_pause(attempt: int, asked_for: float | None, chance: Callable[[], float]) -> float:
    """Return the seconds to wait after a failed attempt (the first is 1): longer each time, never less than asked for.

    `chance` gives numbers from 0 to 1. Without it, clients that a busy server turned away together would all come back
    together, and be turned away again.
    """
    step = 0.25 * (1 << attempt)  # floats are right here: these are times to sleep, and never amounts
    return step * (0.5 + chance()) if asked_for is None else asked_for + step * chance()


def hide_url_secrets(words: str, url: str) -> str:
    """Return the words of a node without what may be the key in its URL."""
    for secret in url_secrets(url):
        words = words.replace(secret, "…")
    return words


def url_secrets(url: str) -> tuple[str, ...]:
    """Return the parts of a node's URL that may be a key, as written and decoded: user name, password, path segments
    and query values, without short ones, which any answer may hold by chance."""
    parts = urlsplit(url)
    path = [segment for segment in parts.path.split("/") if len(segment) >= _SHORTEST_KEY]
    query = [pair.rpartition("=")[2] for pair in parts.query.split("&")]
    rest = [text for text in (parts.username or "", parts.password or "", *query) if len(text) >= _SHORTEST_PASSWORD]
    return tuple(dict.fromkeys(form for text in (*rest, *path) for form in (text, unquote(text))))
