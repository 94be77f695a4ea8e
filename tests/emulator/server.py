"""The HTTP endpoint: SageMaker's requests go to `service`, all others to moto."""

import collections
import json
import secrets
import tempfile
import threading
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests import PATIENCE
from tests.emulator.service import Refused, Service

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/tuner"
BUCKET = f"sagemaker-{REGION}-123456789012"


class _Silent(WSGIRequestHandler):
    def log(self, *args: Any) -> None:
        """Requests are counted, not printed."""


class Emulator:
    """A running endpoint; a context manager. `requests` counts what was asked, by operation."""

    def __init__(self) -> None:
        self.requests: collections.Counter[str] = collections.Counter()
        self.all_requests = 0
        self.throttle: collections.Counter[str] = collections.Counter()
        self.broken: collections.Counter[str] = collections.Counter()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._server = make_server(
            "127.0.0.1", 0, self._app, threaded=True, request_handler=_Silent
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._making, self._clients = threading.Lock(), dict[str, Any]()
        self.service = Service(Path(self._folder.name), self.client)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Emulator":
        self._thread.start()
        self.reset()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._folder.cleanup()

    def reset(self) -> None:
        """Nothing is left of what was asked before; the bucket and the log group are there."""
        self.service.end()
        self.service.clear()
        import urllib.request

        urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/moto-api/reset", method="POST"), timeout=PATIENCE
        )
        where = {"LocationConstraint": REGION}
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        self.client("logs").create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
        for counter in (self.requests, self.throttle, self.broken):
            counter.clear()
        self.all_requests = 0

    def environment(self) -> dict[str, str]:
        """The variables that lead any AWS client, in any process, to this endpoint."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAGEMAKER_ROLE": ROLE,
        }

    def client(self, service: str) -> Any:
        """A boto3 client of this endpoint; its requests are counted as well."""
        with self._making:  # a client may be used by many threads; to make one takes half a second
            if service not in self._clients:
                self._clients[service] = boto3.Session().client(
                    service, region_name=REGION, endpoint_url=self.url,
                    aws_access_key_id="testing", aws_secret_access_key="testing",
                )  # fmt: skip
            return self._clients[service]

    def fire(self, schedule: str) -> str:
        """What EventBridge does at a slot of a schedule: it sends the payload; the firing's number."""
        target = self.client("scheduler").get_schedule(Name=schedule)["Target"]
        assert (
            target["Arn"] == "arn:aws:scheduler:::aws-sdk:sagemaker:createHyperParameterTuningJob"
        )
        number = secrets.token_hex(8)
        payload = target["Input"].replace("<aws.scheduler.execution-id>", number)
        assert "<aws.scheduler" not in payload
        self.client("sagemaker").create_hyper_parameter_tuning_job(**json.loads(payload))
        return number

    def count(self, *operations: str) -> int:
        """How often these operations of SageMaker were asked for; all of them where none is named."""
        named = operations or tuple(self.requests)
        return sum(self.requests[name] for name in named)

    def _app(self, environ: dict[str, Any], start_response: Any) -> Any:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        self.all_requests += 1
        if not target.startswith("SageMaker."):
            return self._moto(environ, start_response)
        operation = target.removeprefix("SageMaker.")
        self.requests[operation] += 1
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, answer = "200 OK", {}
        try:
            if self.broken[operation] > 0:
                self.broken[operation] -= 1
                status, answer = "500 Internal Server Error", {"__type": "InternalFailure"}
            elif self.throttle[operation] > 0:
                self.throttle[operation] -= 1
                raise Refused("ThrottlingException", "Rate exceeded")
            else:
                answer = self.service.answer(operation, json.loads(body or b"{}"))
        except Refused as exc:
            status, answer = "400 Bad Request", {"__type": exc.code, "message": exc.message}
        content = json.dumps(answer).encode()
        start_response(
            status,
            [
                ("Content-Type", "application/x-amz-json-1.1"),
                ("Content-Length", str(len(content))),
                ("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000"),
            ],
        )
        return [content]
