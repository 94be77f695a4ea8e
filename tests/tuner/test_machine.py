"""What the machine offers, within the limits of a container."""

import os

import psutil
import pytest

from tuner import machine


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    """Files as a container has them, in place of ours."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text + "\n")

    return write


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64), ({"cpu.max": "max 100000"}, 64), ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1), ({"cpu.max": "nonsense"}, 64),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
    ],
)  # fmt: skip
def test_cores_are_those_that_a_container_is_given(cgroup, files, cores):
    cgroup(files)
    assert machine.usable_cores() == cores


def test_memory_is_what_a_container_has_left(cgroup):
    assert machine.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.3)
    cgroup({"memory.max": "max", "memory.current": "100"})
    assert machine.free_memory() > 1e6
    cgroup({"memory.max": "4000000", "memory.current": "1000000"})
    assert machine.free_memory() == 3e6
    cgroup(
        {
            "memory.max": "max",
            "memory/memory.limit_in_bytes": "2000",
            "memory/memory.usage_in_bytes": "500",
        }
    )
    assert machine.free_memory() == 1500
