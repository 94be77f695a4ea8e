"""Messages reach a webhook and a mail server, also when those fail at first; secrets reach no log."""

import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from tests import PATIENCE
from tuner.schedule.tell import TRIES, tell
from tuner.sweep_file import Email, Tell

FACTS = {"sweep": "weekly", "slot": "20260105T0600Z", "verdict": "moved"}


def told(**places):
    return tell(
        Tell(**places), "weekly: moved", "The best place has moved.", FACTS, first_wait=0.01
    )


def mail(server, **more):
    return Email(to=["a@example.org", "b@example.org"], sender="tuner@example.org",
                 server=server.address, **more)  # fmt: skip


def test_a_webhook_gets_what_slack_takes_and_the_facts(webhook):
    assert told(webhook=webhook.url) == []
    assert webhook.got == [
        ("/services/SECRET",
         {"text": "*weekly: moved*\nThe best place has moved.", "tuner": FACTS})
    ]  # fmt: skip


@pytest.mark.parametrize("first", [500, 429, 503])
def test_a_webhook_that_fails_at_first_is_tried_again(webhook, first):
    webhook.statuses = [first, first, 200]
    assert told(webhook=webhook.url) == []
    assert len(webhook.got) == 3


def test_a_webhook_that_stays_away_is_said_without_its_address(webhook):
    webhook.statuses = [500]
    (fault,) = told(webhook=webhook.url)
    assert fault == f"the webhook at 127.0.0.1 was not told, in {TRIES} tries: it answered 500"
    assert len(webhook.got) == TRIES
    webhook.statuses = [404]
    (fault,) = told(webhook=webhook.url)
    assert fault == "the webhook at 127.0.0.1 was not told: it answered 404"
    assert len(webhook.got) == TRIES + 1  # that does not pass by itself
    (fault,) = told(webhook="http://127.0.0.1:1/SECRET")
    assert fault.endswith("ConnectError")
    assert "SECRET" not in fault


def test_an_address_may_stand_in_the_environment(webhook, monkeypatch):
    (fault,) = told(webhook="$THE_HOOK")
    assert (
        fault
        == "the webhook at $THE_HOOK was not told: the environment variable $THE_HOOK is not set"
    )
    monkeypatch.setenv("THE_HOOK", webhook.url)
    assert told(webhook="$THE_HOOK") == []
    assert len(webhook.got) == 1


def test_a_mail_has_sentence_sender_and_all_receivers(mail_server):
    assert told(email=mail(mail_server)) == []
    (envelope,) = mail_server.got
    assert envelope.rcpt_tos == ["a@example.org", "b@example.org"]
    text = envelope.content.decode()
    assert "Subject: weekly: moved" in text
    assert "The best place has moved." in text


def test_a_mail_server_that_fails_at_first_is_tried_again(mail_server):
    mail_server.answers = ["451 try later", "451 try later"]
    assert told(email=mail(mail_server)) == []
    assert len(mail_server.got) == 1


def test_a_mail_server_that_refuses_is_said_without_the_password(mail_server, monkeypatch):
    mail_server.answers = ["554 no"]
    (fault,) = told(email=mail(mail_server))
    assert fault == f"the mail server {mail_server.address} was not told: it answered 554"
    monkeypatch.setenv("MAIL_PASSWORD", "hidden-word")
    (fault,) = told(email=mail(mail_server, user="me", password="$MAIL_PASSWORD"))
    assert "hidden-word" not in fault
    assert fault.startswith(f"the mail server {mail_server.address} was not told")


def test_a_mail_server_without_encryption_gets_no_password(mail_server, monkeypatch):
    """Over the loopback it may; 127.1 leads there and is neither of the names that say so."""
    monkeypatch.setenv("MAIL_PASSWORD", "hidden-word")
    to = mail(mail_server, user="me", password="$MAIL_PASSWORD")
    elsewhere = mail_server.address.replace("127.0.0.1", "127.1")
    (fault,) = told(email=to.model_copy(update={"server": elsewhere}))
    assert fault.endswith("offers no encryption, so the password is not sent to it")
    assert mail_server.got == []


@pytest.mark.parametrize("address", ["https://[bad/x", "http://a..b/x", "http://a:99999/x"])
def test_an_address_that_is_none_fails_nothing(address, monkeypatch):
    (fault,) = told(webhook=address)
    assert "was not told" in fault
    monkeypatch.setenv("THE_HOOK", "no address at all")
    (fault,) = told(webhook="$THE_HOOK")
    assert "was not told" in fault


def test_a_mail_to_nobody_fails_nothing(mail_server):
    (fault,) = told(email=mail(mail_server).model_copy(update={"server": "a..b:25"}))
    assert "was not told" in fault
    (fault,) = told(email=mail(mail_server).model_copy(update={"sender": "a@b\nBcc: c@d"}))
    assert fault.endswith("an address is none")
    assert mail_server.got == []


def test_one_place_that_fails_does_not_keep_the_other_from_being_told(webhook, mail_server):
    webhook.statuses = [404]
    assert len(told(webhook=webhook.url, email=mail(mail_server))) == 1
    assert len(mail_server.got) == 1


# Without the program, or as a user who may not listen on 465, there is no such server to be had; CI has both.
@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_server_that_cannot_show_who_it_is_gets_no_password(mail_server, monkeypatch, tmp_path):
    """Port 465 is encrypted from the first byte; whoever diverts it has some certificate, and not the right one."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
         "-days", "2", "-subj", "/CN=not-your-server"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    try:
        listener = socket.create_server(("127.0.0.1", 465))
    except PermissionError:
        pytest.skip("port 465 is for root")
    handshakes = []

    def serve():
        client, _ = listener.accept()
        with client:
            try:
                context.wrap_socket(client, server_side=True).close()
                handshakes.append("accepted")
            except OSError as exc:
                handshakes.append(exc)

    thread = threading.Thread(target=serve)
    thread.start()
    monkeypatch.setenv("MAIL_PASSWORD", "hidden-word")
    to = mail(mail_server, user="me", password="$MAIL_PASSWORD")
    (fault,) = told(email=to.model_copy(update={"server": "127.0.0.1:465"}))
    thread.join(timeout=PATIENCE)
    listener.close()
    assert fault == "the mail server 127.0.0.1:465 was not told: its certificate is not valid"
    assert handshakes != ["accepted"]
