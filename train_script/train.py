"""Fine-tune a pre-trained encoder: by hand, under the tuner, or in a SageMaker container.

The contract (docs/training-contract.md): `--name value` flags and SM_* variables in; one JSON line
per evaluation on stdout; a last line that repeats the result; checkpoints; a clean stop on SIGTERM.
Exit status: 0 finished, 1 the training went wrong, 2 bad input, 143 stopped by SIGTERM.
"""

import sys
from pathlib import Path

if not __package__:  # started as a file: make `train_script` importable, and not its parts
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import os
from collections.abc import Callable

from train_script.config import TrainConfig, parse_arguments
from train_script.contract import STOPPED, Stopped, StopRequest, emit, say
from train_script.errors import BadInput, ScriptError
from train_script.imports import kept_for_good
from train_script.prepared import splits_of
from train_script.pretrained import locate_model


def run(config: TrainConfig) -> None:
    """One whole training run from a checked configuration; prints the result's line.

    Raises Stopped after SIGTERM (checkpoint written) and TrainingFailed when the loss is not finite.
    """
    stop = StopRequest().listen()
    splits = splits_of(config)
    locate_model(config.model)  # before seconds of imports: it may be a typing error
    with kept_for_good():
        from train_script.fit import Fit

    result = Fit(config, splits, stop).run()
    if result is not None:  # in all but the first of several processes
        emit(result)
        say(f"model saved to {config.model_dir}")


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    return guarded(lambda: run(parse_arguments(sys.argv[1:] if arguments is None else arguments)))


def guarded(work: Callable[[], None]) -> int:
    """The exit status; every foreseen fault is one sentence on stderr, never a traceback."""
    try:
        work()
    except Stopped as exc:
        if _speaks("RANK"):
            say(str(exc))
        return STOPPED
    except BadInput as exc:
        if _speaks("LOCAL_RANK"):  # each machine has files of its own
            say(f"error: {exc}")
        return exc.exit_status
    except ScriptError as exc:
        if _speaks("RANK"):
            say(f"error: {exc}")
        return exc.exit_status
    except (MemoryError, RuntimeError) as exc:
        if (
            isinstance(exc, MemoryError)
            or "out of memory" in str(exc)
            or "can't allocate" in str(exc)
        ):
            say(
                "error: out of memory; accumulation 2 or gradient_checkpointing on needs less for the same "
                "batch, a smaller batch_size or max_length too"
            )
            return 1
        raise
    except ModuleNotFoundError as exc:
        say(f"error: the package {exc.name} is not installed: make setup")
        return 2
    except OSError as exc:
        if exc.errno is None:
            raise
        say(f"error: {exc.strerror}: {exc.filename or 'while writing'}")
        return 1
    return 0


def _speaks(number: str) -> bool:
    """Whether this process says what others say as well, by its number as torchrun set it."""
    return os.environ.get(number, "0") == "0"


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # skips seconds of tear-down in the libraries' threads
