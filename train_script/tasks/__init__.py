"""The tasks, by name. A new one is a file beside this one and a line in TASKS.

A task turns a folder, a file or the hub into `Splits`. It never offers test data for validation.
"""

from train_script.errors import BadInput, did_you_mean
from train_script.tasks import cola, demo, file, mrpc
from train_script.tasks.base import Examples, Splits, Task, TaskOptions
from train_script.tasks.prepared import (
    fingerprint,
    is_prepared,
    label_key,
    load_splits,
    read_prepared,
    write_prepared,
)

TASKS: dict[str, Task] = {task.name: task for task in (mrpc.TASK, cola.TASK, file.TASK, demo.TASK)}


def find_task(name: str) -> Task:
    """The task of this name; BadInput with the nearest name otherwise."""
    if name not in TASKS:
        raise BadInput(f"task {name!r} is unknown{did_you_mean(name, TASKS)}")
    return TASKS[name]


def load_task(name: str, options: TaskOptions) -> Splits:
    """The splits of a task: from a prepared folder as they are, otherwise read, limited and split."""
    task = find_task(name)
    if options.data and is_prepared(options.data):
        return read_prepared(options.data, expected_task=name)
    return load_splits(task, options)


__all__ = [
    "TASKS", "Examples", "Splits", "Task", "TaskOptions",
    "find_task", "fingerprint", "label_key", "load_task", "write_prepared",
]  # fmt: skip
