"""What this machine offers to trials: cores and GPUs; and what ran here: versions, code hash."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

CGROUP = Path("/sys/fs/cgroup")
"""The limits of our container, where there is one"""


def usable_cores() -> int:
    """Cores that this process may use (a container may have fewer than the machine)."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        numbers = [number for file in files for number in _limits(file)]
        if len(numbers) == 2 and numbers[0] > 0:
            own = min(own, max(1, round(numbers[0] / numbers[1])))
    return own


def free_memory() -> float:
    """Bytes that more processes can have, within the limits of a container."""
    free = float(psutil.virtual_memory().available)
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, now = _limits(most), _limits(used)
        if limit and now:
            free = min(free, limit[0] - now[0])
    return free


def _limits(name: str) -> list[float]:
    """The numbers in one of the container's files; empty where it has none or no limit."""
    try:
        return [float(word) for word in (CGROUP / name).read_text().split()]
    except (OSError, ValueError):  # "max": no limit
        return []


def gpu_names() -> list[str]:
    """The ids of the GPUs that trials may use, without loading torch; empty where there are none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs
        return []
    return found.stdout.split() if found.returncode == 0 else []


def describe() -> dict[str, Any]:
    """The machine and the versions that a report names."""
    versions = {}
    for package in ("torch", "transformers", "optuna", "scikit-learn", "tuner"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": len(gpu_names()),
        "packages": versions,
    }


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights, as transformers names them."""
    return sorted([*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")])


def weights_hash(folder: Path) -> str:
    """SHA-256 over the files of a model's weights."""
    digest = hashlib.sha256()
    for file in weight_files(folder):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def code_hash(script: Path) -> str:
    """SHA-256 over the script and, where it is part of a package, the package's Python files."""
    folder = script.parent
    files: Iterable[Path] = [script]
    if (folder / "__init__.py").exists():
        files = sorted(folder.rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
