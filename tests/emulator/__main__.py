"""Serves the emulator until Ctrl-C and says which variables lead a client to it."""

import shlex
import time

from tests.emulator import Emulator

if __name__ == "__main__":
    with Emulator() as emulator:
        for name, value in emulator.environment().items():
            print(f"export {name}={shlex.quote(value)}")
        print("# SageMaker, S3, STS and Logs at the address above, until Ctrl-C", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
