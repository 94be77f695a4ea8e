"""A closed-form stand-in for a training script: the same contract, milliseconds instead of minutes.

score = 1 - (log10(x) + 3)² - 0.1·k + noise(seed); best at x = 1e-3, k = 1.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, required=True)
parser.add_argument("--k", type=int, default=1)
parser.add_argument("--mode", default="well")
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--evaluations", type=int, default=4)
parser.add_argument("--noise", type=float, default=0.0)
parser.add_argument("--seed", type=int, required=True)
options = parser.parse_args()

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if options.mode == "polite" else 143))
if options.mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if options.mode == "parent":
    subprocess.Popen(["sleep", "600"])
if options.mode == "fails":
    print("some context\nerror: this configuration cannot work", file=sys.stderr)
    sys.exit(1)
if options.mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if options.mode == "silent":
    sys.exit(0)
score = 1 - (math.log10(options.x) + 3) ** 2 - 0.1 * options.k
score += random.Random(options.seed).gauss(0, options.noise)
for i in range(1, options.evaluations + 1):
    time.sleep(options.sleep)
    fraction = i / options.evaluations
    value = score if options.mode != "nan" else math.nan
    print(json.dumps({"epoch": i, "fraction": fraction, "score": value}), flush=True)
