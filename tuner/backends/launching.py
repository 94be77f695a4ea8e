"""Starts processes of this machine: their command, their share of the cores, their GPU, their folders."""

import os
import queue
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tuner.machine import gpu_names, usable_cores
from tuner.processes import Event, TrialProcess
from tuner.run_folder import RunFolder
from tuner.sweep import LoadedSweep
from tuner.warm import WarmServer

KEEPS_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""For glibc: what a training step gives back is there for the next one, without the system in between

By default each step had 12,000 pages taken away and given back, a twentieth of its time.
"""


def threads_of(at_once: int) -> int:
    """The cores divided between so many trials."""
    return max(1, usable_cores() // at_once)


class Launcher:
    """What the processes of one sweep have in common."""

    def __init__(self, loaded: LoadedSweep, folder: RunFolder) -> None:
        self.loaded, self.folder = loaded, folder
        self.warm: WarmServer | None = None
        if loaded.uses_own_script:
            self.warm = WarmServer(loaded.script, folder.path / "server.log")
        self.gpus = deque(gpu_names())
        self._on_gpu: list[tuple[str, TrialProcess]] = []

    def start(
        self, number: int, arguments: Sequence[str], place: Path, at_once: int,
        events: "queue.Queue[Event]", marker: str, script: str = "",
    ) -> TrialProcess:  # fmt: skip
        """The script with these arguments as one of so many at once; `place` is its own folder.

        `script` names another one beside our own.
        """
        gpu = self._take_gpu()
        environment = self._environment(place, threads_of(at_once), gpu)
        if self.warm is not None:
            command = self.warm.command(arguments, environment, script)
        else:
            command = [sys.executable, str(self.loaded.script), *arguments]
        process = TrialProcess(number, command, environment, place, events, marker).start()
        if gpu is not None:
            self._on_gpu.append((gpu, process))
        return process

    def _take_gpu(self) -> str | None:
        """Round robin; several trials share a GPU where more run than there are GPUs."""
        if not self.gpus:
            return None
        self._on_gpu = [(gpu, process) for gpu, process in self._on_gpu if process.is_running]
        busy = [gpu for gpu, _ in self._on_gpu]
        gpu = min(self.gpus, key=busy.count)
        self.gpus.remove(gpu)
        self.gpus.append(gpu)
        return gpu

    def _environment(self, place: Path, threads: int, gpu: str | None) -> dict[str, str]:
        """The training contract's variables; threads so that trials do not fight for cores."""
        environment = dict(os.environ) | {
            "SM_MODEL_DIR": str(place / "model"),
            "SM_OUTPUT_DATA_DIR": str(place / "output"),
            "SM_NUM_GPUS": "1" if gpu is not None else "0",
            "CHECKPOINT_DIR": str(place / "checkpoint"),
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        for name in ("SM_CHANNEL_TRAIN", "SM_CHANNEL_VALIDATION", "SM_CHANNEL_MODEL"):
            environment.pop(name, None)
        if self.loaded.sweep.task is not None:
            environment["SM_CHANNEL_TRAINING"] = str(self.folder.data)
        if self.loaded.uses_own_script:
            environment = KEEPS_MEMORY | environment
            environment["TUNER_TOKENS"] = str(self.folder.path / "tokens")
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        return environment

    def close(self) -> None:
        """Ends the server, and with it what it still runs."""
        if self.warm is not None:
            self.warm.close()
