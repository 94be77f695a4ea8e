"""One training job in a folder laid out like /opt/ml, run by AWS's own training toolkits.

There is no container here: SAGEMAKER_BASE_DIR names the folder, and paths below /opt/ml in the
request's environment are moved into it.
"""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SECONDS_TO_END = 5.0
GPUS = {"ml.g4dn.12xlarge": 2}
"""Instance types that get so many processes of torchrun; here each is a process on the CPU."""


class Container:
    """The folder, the process and what it printed."""

    def __init__(self, root: Path, request: dict[str, Any], client: Callable[[str], Any]) -> None:
        self.root, self.request, self.client = root, request, client
        self.name: str = request["TrainingJobName"]
        self.lines: list[str] = []
        self.metrics: dict[str, float] = {}
        self.history: dict[str, list[float]] = {}
        self.interrupted = self.timed_out = False
        self._process: subprocess.Popen[bytes] | None = None
        self._flushed = 0
        self._starts = 0
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Writes what SageMaker writes before a container starts; downloads the channels."""
        config = self.root / "input" / "config"
        config.mkdir(parents=True)
        for part in ("model", "output/data", "checkpoints", "code"):
            (self.root / part).mkdir(parents=True)
        self._write(config / "hyperparameters.json", self._hyperparameters())
        resources = self.request["ResourceConfig"]
        # One host, whatever the request asks: a second one would need a machine of its own. It is
        # called localhost because the toolkit waits until the name resolves.
        self._write(
            config / "resourceconfig.json",
            {
                "current_host": "localhost", "hosts": ["localhost"],
                "current_instance_type": resources["InstanceType"],
                "current_group_name": "homogeneousCluster",
                "instance_groups": [
                    {"instance_group_name": "homogeneousCluster", "hosts": ["localhost"],
                     "instance_type": resources["InstanceType"]}
                ],
                "network_interface_name": "lo",
            },
        )  # fmt: skip
        channels = self.request.get("InputDataConfig") or []
        self._write(
            config / "inputdataconfig.json",
            {
                channel["ChannelName"]: {
                    "TrainingInputMode": "File", "S3DistributionType": "FullyReplicated",
                    "RecordWrapperType": "None",
                }
                for channel in channels
            },
        )  # fmt: skip
        for channel in channels:
            target = self.root / "input" / "data" / channel["ChannelName"]
            target.mkdir(parents=True)
            self._download(channel["DataSource"]["S3DataSource"]["S3Uri"], target)

    def _hyperparameters(self) -> dict[str, str]:
        given = dict(self.request.get("HyperParameters") or {})
        processes = GPUS.get(self.request["ResourceConfig"]["InstanceType"])
        if processes and "sagemaker_torch_distributed_enabled" in given:
            given["sagemaker_mpi_num_of_processes_per_host"] = str(processes)
        return given

    def train(self, limit_seconds: float) -> int:
        """Runs the toolkit until the script ends; its exit status."""
        if "CheckpointConfig" in self.request:
            self._download(self.request["CheckpointConfig"]["S3Uri"], self.root / "checkpoints")
        shutil.rmtree(self.root / "output", ignore_errors=True)
        (self.root / "output" / "data").mkdir(parents=True)
        self.flush_log()
        self._starts += 1  # each start has a log stream of its own
        with self._lock:
            self._process = process = subprocess.Popen(
                [sys.executable, "-c", "from sagemaker_training.cli.train import main; main()"],
                cwd=self.root, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        timer = threading.Timer(limit_seconds, self._time_out)
        timer.start()
        assert process.stdout
        with process.stdout:
            for raw in process.stdout:
                self._read(raw.decode("utf-8", "replace").rstrip("\n"))
        status = process.wait()
        timer.cancel()
        self.kill()  # what the script left behind ends with its container
        if "CheckpointConfig" in self.request:
            self._upload(self.root / "checkpoints", self.request["CheckpointConfig"]["S3Uri"])
        return status

    def _environment(self) -> dict[str, str]:
        root = str(self.root)
        own = {
            name: value.replace("/opt/ml", root)
            for name, value in (self.request.get("Environment") or {}).items()
        }
        endpoint = self.client("s3").meta.endpoint_url
        binaries = str(Path(sys.executable).parent)
        return {
            "PATH": f"{binaries}:/usr/bin:/bin",
            "HOME": root,
            "LANG": "C.UTF-8",
            "TRAINING_JOB_NAME": self.name,
            "SAGEMAKER_BASE_DIR": root,
            **self._framework(),
            "SM_STUDIO_LOCAL_MODE": "true",
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": endpoint,
            "S3_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INDEX": "1",  # all that requirements.txt names is here already,
            "PIP_NO_DEPS": "1",  # and what those need: to look it up takes longer than a trial
            **own,
        }

    def _framework(self) -> dict[str, str]:
        """AWS's PyTorch image runs the PyTorch toolkit; an image of your own, the plain one."""
        if "pytorch" not in self.request["AlgorithmSpecification"]["TrainingImage"]:
            return {}
        return {"SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main"}

    def _read(self, line: str) -> None:
        self.lines.append(line)
        for definition in self.request["AlgorithmSpecification"].get("MetricDefinitions") or []:
            found = re.search(definition["Regex"], line)
            if found:
                with suppress(ValueError):
                    value = float(found.group(1))
                    if value == value:  # not NaN, which is no JSON number
                        name = definition["Name"]
                        self.history.setdefault(name, []).append(value)
                        # The API's values are of single precision.
                        self.metrics[name] = struct.unpack("f", struct.pack("f", value))[0]
        if len(self.lines) - self._flushed > 50:
            self.flush_log()

    def flush_log(self) -> None:
        """Sends what is new to CloudWatch Logs."""
        logs, group = self.client("logs"), "/aws/sagemaker/TrainingJobs"
        stream = f"{self.name}/algo-1-{1_700_000_000 + self._starts}"
        fresh, self._flushed = self.lines[self._flushed :], len(self.lines)
        if not fresh:
            return
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
        now = round(time.time() * 1000)
        for start in range(0, len(fresh), 1000):
            events = [
                {"timestamp": now, "message": line[:200_000] or " "}
                for line in fresh[start : start + 1000]
            ]
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    def upload(self) -> None:
        """model.tar.gz and output.tar.gz, as SageMaker makes them."""
        base = f"{self.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"
        for name, folder in (("model", self.root / "model"), ("output", self.root / "output/data")):
            packed = self.root / f"{name}.tar.gz"
            with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
                for path in sorted(folder.iterdir()):
                    tar.add(path, path.name)
            bucket, key = _split(f"{base}/{name}.tar.gz")
            self.client("s3").upload_file(str(packed), bucket, key)

    def failure_reason(self, status: int) -> str:
        """DescribeTrainingJob's FailureReason: what the toolkit wrote, or the status."""
        written = self.root / "output" / "failure"
        said = written.read_text(errors="replace") if written.is_file() else ""
        return f"AlgorithmError: {said}, exit code: {status}"

    def terminate(self) -> None:
        """SIGTERM to every process of the container, SIGKILL some seconds later."""
        self._signal(signal.SIGTERM)
        timer = threading.Timer(SECONDS_TO_END, self.kill)
        timer.daemon = True
        timer.start()

    def interrupt(self) -> None:
        """Takes the machine away, as spot does."""
        self.interrupted = True
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to every process of the container."""
        self._signal(signal.SIGKILL)

    def _time_out(self) -> None:
        self.timed_out = True
        self.terminate()

    def _signal(self, number: signal.Signals) -> None:
        with self._lock, suppress(ProcessLookupError, PermissionError):
            if self._process is not None:
                os.killpg(self._process.pid, number)

    def _download(self, uri: str, target: Path) -> None:
        bucket, prefix = _split(uri)
        s3 = self.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                path = target / entry["Key"].removeprefix(prefix).lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, entry["Key"], str(path))

    def _upload(self, folder: Path, uri: str) -> None:
        bucket, prefix = _split(uri)
        for path in folder.rglob("*"):
            if path.is_file():
                key = f"{prefix.rstrip('/')}/{path.relative_to(folder)}"
                self.client("s3").upload_file(str(path), bucket, key)

    @staticmethod
    def _write(path: Path, content: Any) -> None:
        path.write_text(json.dumps(content))


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
