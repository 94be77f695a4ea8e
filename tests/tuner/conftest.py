"""Those who are told: a webhook's receiver and a mail server."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiosmtpd.controller import Controller


@pytest.fixture
def webhook():
    """A receiver that answers with `statuses` in turn, the last for ever; what it got in `got`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.got.append((self.path, json.loads(body)))
            statuses = server.statuses
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.statuses = [], [200]
    server.url = f"http://127.0.0.1:{server.server_port}/services/SECRET"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mail_server():
    """A mail server that answers with `answers` in turn, then takes what comes; that is in `got`."""

    class Handler:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802
            if self.answers:
                return self.answers.pop(0)
            self.got.append(envelope)
            return "250 OK"

    handler = Handler()
    handler.answers, handler.got = [], []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    handler.address = f"127.0.0.1:{port}"
    yield handler
    controller.stop()
