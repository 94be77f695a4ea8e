"""A model by its hub name, from a small server that speaks the hub's protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests import PATIENCE
from tests.conftest import ROOT

COMMIT = "0" * 39 + "1"


@pytest.fixture
def hub(tiny_bert):
    """Serves `someone/tiny` out of the two-layer BERT's folder; yields the address and the log."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(send_body=False)

        def do_GET(self):
            self.answer(send_body=True)

        def answer(self, send_body):
            asked.append(self.path)
            path = self.path.split("?")[0]
            files = {p.name: p for p in tiny_bert.iterdir()}
            headers, status = {"X-Repo-Commit": COMMIT}, 200
            if path.startswith("/api/models/someone/tiny/tree/"):
                listed = [
                    {"type": "file", "path": n, "size": p.stat().st_size, "oid": "0"}
                    for n, p in files.items()
                ]
                body = json.dumps(listed).encode()
            elif path.startswith("/api/models/someone/tiny"):
                siblings = [{"rfilename": name} for name in files]
                body = json.dumps(
                    {"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}
                ).encode()
            elif path.startswith("/someone/tiny/resolve/") and path.rsplit("/", 1)[1] in files:
                body = files[path.rsplit("/", 1)[1]].read_bytes()
                headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
            else:
                known = path.startswith(("/someone/tiny", "/api/models/someone/tiny"))
                headers["X-Error-Code"] = "EntryNotFound" if known else "RepoNotFound"
                body, status = b"", 404
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if send_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


LOCATE = (
    "import sys; from train_script.pretrained import locate_model; print(locate_model(sys.argv[1]))"
)


def train(model, address, tmp_path):
    return run(
        [str(ROOT / "train_script" / "train.py"), "--task", "demo", "--model", model,
         "--train_limit", "32", "--epochs", "1", "--max_length", "32"],
        address, tmp_path,
    )  # fmt: skip


def run(words, address, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), "SM_NUM_GPUS": "0"}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_model_by_hub_name_is_downloaded_once_and_trains(hub, tmp_path):
    address, asked = hub
    done = train("someone/tiny", address, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["final"] is True
    assert any("model.safetensors" in path for path in asked)
    asked.clear()
    again = run(["-c", LOCATE, "someone/tiny"], "http://127.0.0.1:9", tmp_path)  # the hub is gone
    assert again.returncode == 0, again.stderr
    assert str(tmp_path / "cache") in again.stdout
    assert not asked


def test_model_that_the_hub_does_not_have_is_named(hub, tmp_path):
    done = train("someone/else", hub[0], tmp_path)
    assert done.returncode == 2
    assert "model someone/else is not on the hub" in done.stderr
    assert "Traceback" not in done.stderr


def test_name_that_is_no_hub_name_is_refused(tmp_path):
    done = train("what a/strange/name", "http://127.0.0.1:9", tmp_path)
    assert done.returncode == 2
    assert "is neither a folder nor a name on the hub" in done.stderr
