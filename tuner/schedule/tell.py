"""Tells people what came of a slot: a webhook (JSON as Slack takes it), an e-mail. Each tried again.

Addresses of webhooks and passwords are secrets: nothing here says or raises them.
"""

import os
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential

from tuner.sweep_file import Email, Tell

TRIES = 5
LONGEST_WAIT_SECONDS = 60.0
SECONDS = 20.0
PASSING = (429, 500, 502, 503, 504)


class _Again(Exception):
    """It did not work, and may work in a moment. The text has no secrets."""


class _Never(Exception):
    """It did not work, and will not without a change. The text has no secrets."""


def tell(
    block: Tell, subject: str, text: str, facts: dict[str, Any], first_wait: float = 2.0
) -> list[str]:
    """Sends to every place that the block names; a sentence for each that was not reached."""
    faults = []
    if block.webhook is not None:
        faults += _tried(
            f"the webhook at {_host(block.webhook)}",
            lambda address: _post(address, {"text": f"*{subject}*\n{text}", "tuner": facts}),
            block.webhook, first_wait,
        )  # fmt: skip
    if block.email is not None:
        email = block.email
        faults += _tried(
            f"the mail server {email.server}",
            lambda password: _mail(email, password, subject, text),
            email.password, first_wait,
        )  # fmt: skip
    return faults


def secret_of(text: str | None) -> str | None:
    """A value, or that of the environment variable which `$NAME` names; None where there is none."""
    if text is not None and text.startswith("$"):
        return os.environ.get(text[1:])
    return text


def _host(address: str) -> str:
    if address.startswith("$"):
        return address
    try:
        return str(urlsplit(address).hostname)
    except ValueError:
        return "an address that is none"


def _tried(
    place: str, send: Callable[[Any], None], secret: str | None, first_wait: float
) -> list[str]:
    value = secret_of(secret)
    if secret is not None and not value:
        return [f"{place} was not told: the environment variable {secret} is not set"]
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=first_wait, max=LONGEST_WAIT_SECONDS),
            retry=retry_if_exception_type(_Again),
        ):
            with attempt:
                send(value)
    except RetryError as exc:
        return [f"{place} was not told, in {TRIES} tries: {exc.last_attempt.exception()}"]
    except _Never as exc:
        return [f"{place} was not told: {exc}"]
    return []


def _post(address: str, body: dict[str, Any]) -> None:
    try:
        answer = httpx.post(address, json=body, timeout=SECONDS)
    except (httpx.InvalidURL, ValueError) as exc:
        raise _Never("its address is none") from exc
    except httpx.HTTPError as exc:
        raise _Again(type(exc).__name__) from exc  # the text of some has the address
    if answer.status_code in PASSING:
        raise _Again(f"it answered {answer.status_code}")
    if not answer.is_success:
        raise _Never(f"it answered {answer.status_code}")


def _mail(email: Email, password: str | None, subject: str, text: str) -> None:
    message = EmailMessage()
    try:
        message["Subject"], message["From"] = " ".join(subject.split()), email.sender
        message["To"] = ", ".join(email.to)
    except ValueError as exc:
        raise _Never("an address is none") from exc
    message.set_content(text)
    host, _, port = email.server.partition(":")
    number = int(port or 587)
    try:
        if number == 465:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, number, timeout=SECONDS, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(host, number, timeout=SECONDS)
        with _closing(server):
            server.ehlo()
            if number != 465 and server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
                number = 465
            if email.user and password:
                if number != 465 and host not in ("localhost", "127.0.0.1"):
                    raise _Never("it offers no encryption, so the password is not sent to it")
                if not password.isascii():
                    raise _Never("its password has a letter that no mail server takes")
                server.login(email.user, password)
            refused = server.send_message(message)
    except ssl.SSLCertVerificationError as exc:  # a ValueError, too
        raise _Never("its certificate is not valid") from exc
    except ValueError as exc:  # a line break in an address
        raise _Never("an address is none") from exc
    except smtplib.SMTPAuthenticationError as exc:
        raise _Never(f"it refuses the password of {email.user}") from exc
    except smtplib.SMTPResponseException as exc:
        kind = _Again if 400 <= exc.smtp_code < 500 else _Never
        raise kind(f"it answered {exc.smtp_code}") from exc
    except smtplib.SMTPRecipientsRefused as exc:
        codes = {code for code, _ in exc.recipients.values()}
        kind = _Again if all(400 <= code < 500 for code in codes) else _Never
        raise kind(f"it refuses {', '.join(exc.recipients)}") from exc
    except (smtplib.SMTPException, OSError) as exc:
        raise _Again(type(exc).__name__) from exc
    if refused:  # it was sent to the others, so it is not sent again
        raise _Never(f"it refuses {', '.join(refused)}")


@contextmanager
def _closing(server: smtplib.SMTP) -> Iterator[None]:
    """Says goodbye; what is answered to that changes nothing of what was sent."""
    try:
        yield
    finally:
        with suppress(smtplib.SMTPException, OSError):
            server.quit()
        server.close()
