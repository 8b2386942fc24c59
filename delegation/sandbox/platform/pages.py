"""What a person sees: plain pages without scripts and without anything from elsewhere, to be used with a keyboard."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse, Response

_STYLE = """
:root { color-scheme: light dark; --ink: #14213d; --paper: #ffffff; --wall: #eef1f6; --line: #6b7689; --quiet: #4d586b;
  --action: #1d4ed8; --on-action: #ffffff; --fault: #b00020; --note: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf4; --paper: #1a2233; --wall: #0e1420; --line: #8a96ab;
  --quiet: #b4bfd1; --action: #8fb4ff; --on-action: #0e1420; --fault: #ff9aa5; --note: #3a3115; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem 1rem 3rem; background: var(--wall); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main, aside { max-width: 27rem; margin: 0 auto; }
main { margin-top: 1.5rem; padding: 1.75rem; background: var(--paper); border: 1px solid var(--line);
  border-radius: .75rem; }
aside { padding: .75rem 1rem; background: var(--note); border-radius: .5rem; font-size: .9rem; }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; line-height: 1.25; }
p { margin: .5rem 0; }
.quiet { color: var(--quiet); }
label { display: block; margin: 1rem 0 .25rem; font-weight: 600; }
input { width: 100%; min-height: 2.75rem; padding: .5rem .75rem; font: inherit; color: inherit;
  background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; }
input[aria-invalid] { border: 2px solid var(--fault); }
.code { font-size: 1.4rem; letter-spacing: .3em; font-variant-numeric: tabular-nums; }
button { width: 100%; min-height: 2.75rem; margin-top: .75rem; padding: .5rem 1rem; font: inherit; font-weight: 600;
  color: var(--action); background: transparent; border: 1px solid var(--action); border-radius: .5rem;
  cursor: pointer; }
button.main { margin-top: 1.5rem; color: var(--on-action); background: var(--action); }
a { color: var(--action); }
a:focus-visible, button:focus-visible, input:focus-visible { outline: 3px solid var(--action); outline-offset: 3px; }
.fault { margin: 1rem 0 0; padding: .6rem .8rem; border-left: 4px solid var(--fault); color: var(--fault);
  font-weight: 600; }
ul { padding-left: 1.25rem; }
li { margin: .25rem 0; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .4rem .5rem .4rem 0; text-align: left; border-bottom: 1px solid var(--line); }
td.code { font-size: 1.1rem; letter-spacing: .15em; }
iframe { display: none; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_SANDBOX_NOTE = (
    "<aside>This is the simulated platform of a sandbox: nothing here is real. It printed the user's password when it "
    'started, and codes arrive on <a href="/sandbox/phone" target="_blank" rel="noopener">the sandbox\'s phone</a> '
    "(opens a new tab).</aside>"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a page may send the browser when it is left, which its policy has to allow."""

    redirect_uri: str

    @property
    def source(self) -> str:
        """The redirect URI as a source of a content security policy: its origin, or its scheme if it is an app's."""
        parts = urlsplit(self.redirect_uri)
        return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"


def sign_in_page(
    request_token: str, *, application: str, email: str, target: Target, fault: str | None, status: int
) -> Response:
    """Return the page that asks for e-mail address and password."""
    marked = _marked(fault)
    body = (
        f'<p class="quiet">to go on to {escape(application)}.</p>{_fault(fault)}'
        '<label for="email">E-mail address</label>'
        f'<input id="email" name="email" type="email" autocomplete="username" required value="{escape(email)}"'
        f"{marked}{'' if email else ' autofocus'}>"
        '<label for="password">Password</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" required'
        f"{marked}{' autofocus' if email else ''}>"
        '<button class="main" name="action" value="sign-in">Sign in</button>'
        '<button name="action" value="cancel" formnovalidate>Cancel and go back</button>'
    )
    return _form_page("Sign in", "password", request_token, body, target, fault, status)


def code_page(request_token: str, *, phone: str, target: Target, fault: str | None, status: int) -> Response:
    """Return the page that asks for the one-time code."""
    body = (
        f"<p>We sent a code of 6 digits to {escape(phone)}. It is good for a few "
        f"minutes.</p>{_fault(fault)}"
        '<label for="code">Code</label>'
        '<input class="code" id="code" name="code" inputmode="numeric" autocomplete="one-time-code" required '
        f'pattern="[0-9]{{6}}" maxlength="6" title="6 digits" autofocus{_marked(fault)}>'
        '<button class="main" name="action" value="check">Continue</button>'
        '<button name="action" value="again" formnovalidate>Send another code</button>'
        '<button name="action" value="cancel" formnovalidate>Cancel and go back</button>'
    )
    return _form_page("Enter the code", "code", request_token, body, target, fault, status)


def consent_page(request_token: str, *, application: str, rights: Sequence[str], target: Target) -> Response:
    """Return the page that asks whether the application may do what it asks for."""
    listed = "".join(f"<li>{escape(right)}</li>" for right in rights)
    body = (
        f"<p>It will be able to:</p><ul>{listed}</ul>"
        '<p class="quiet">It never sees your password. You will go back to '
        f"<strong>{escape(target.source)}</strong>.</p>"
        '<button class="main" name="action" value="allow">Allow</button>'
        '<button name="action" value="cancel">Refuse</button>'
    )
    return _form_page(f"Allow {application} to use your account?", "consent", request_token, body, target, None, 200)


def twice_page(uri: str, target: Target) -> Response:
    """Return the page that sends the browser to the redirect URI two times, as an app link and a deep link do."""
    address = escape(uri)
    head = f'<meta http-equiv="refresh" content="1;url={address}">'
    link = f'<p><a href="{address}">Continue</a></p>'
    body = f'<h1>Going back</h1>{link}<iframe src="{address}" title="going back"></iframe>'
    return _page("Going back", body, head=head, policy=f"; frame-src {target.source}")


def error_page(message: str, status: int = 400) -> Response:
    """Return the page of what cannot be gone on with."""
    body = f'<h1>This did not work</h1><p role="alert">{escape(message)}</p>'
    return _page("This did not work", body, status=status)


def phone_page(messages: Sequence[Mapping[str, str]]) -> Response:
    """Return the page of the user's phone: `messages` have `code`, `sent` and `state`, the newest first."""
    rows = "".join(
        f'<tr><td class="code">{escape(message["code"])}</td><td>{escape(message["sent"])}</td>'
        f"<td>{escape(message['state'])}</td></tr>"
        for message in messages
    )
    table = (
        '<table><thead><tr><th scope="col">Code</th><th scope="col">Sent</th><th scope="col">State</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        if messages
        else "<p>No code has been sent yet.</p>"
    )
    body = f'<h1>The sandbox\'s phone</h1>{table}<p><a href="/sandbox/phone">Look again</a></p>'
    return _page("The sandbox's phone", body, note=False)


def _fault(fault: str | None) -> str:
    return f'<p class="fault" id="fault" role="alert">{escape(fault)}</p>' if fault else ""


def _marked(fault: str | None) -> str:
    return ' aria-invalid="true" aria-describedby="fault"' if fault else ""


def _form_page(
    title: str, step: str, request_token: str, body: str, target: Target, fault: str | None, status: int
) -> Response:
    form = (
        f'<h1>{escape(title)}</h1><form method="post" action="/hosted/sign-in">'
        f'<input type="hidden" name="request" value="{escape(request_token)}">'
        f'<input type="hidden" name="step" value="{step}">{body}</form>'
    )
    # Browsers hold a form's redirects to form-action as well, so that the way back has to stand there.
    policy = f"; form-action 'self' {target.source}"
    return _page(f"{'Error: ' if fault else ''}{title}", form, policy=policy, status=status)


def _page(title: str, body: str, *, head: str = "", policy: str = "", status: int = 200, note: bool = True) -> Response:
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title>{head}<style>{_STYLE}</style></head>"
        f"<body>{_SANDBOX_NOTE if note else ''}<main>{body}</main></body></html>"
    )
    if "form-action" not in policy:
        policy += "; form-action 'none'"
    headers = {
        "content-security-policy": (
            f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; base-uri 'none'; "
            f"frame-ancestors 'none'{policy}"
        ),
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return HTMLResponse(document, status, headers)
