"""A closed-form stand-in for a training script: the same contract, milliseconds instead of minutes.

score = 1 - (log10(rate) + 3)² - 0.1·depth + noise(seed); best at rate = 1e-3, depth = 1.
"""

import argparse
import json
import math
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, required=True)
parser.add_argument("--depth", type=int, default=1)
parser.add_argument("--mode", default="well")
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--evaluations", type=int, default=4)
parser.add_argument("--noise", type=float, default=0.0)
parser.add_argument("--loss", type=float, default=0.0)
parser.add_argument("--checkpoint", default="false")
parser.add_argument("--seed", type=int, required=True)
options = parser.parse_args()


def on_term(*_):
    if options.mode == "saves":
        time.sleep(5)
    sys.exit(0 if options.mode == "polite" else 143)


signal.signal(signal.SIGTERM, on_term)
if options.mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", file=sys.stderr, flush=True)
if options.mode == "parent":
    subprocess.Popen(["sleep", "600"])
if options.mode == "daemon":  # a child that leaves the process group
    subprocess.Popen(["sleep", "601"], start_new_session=True)
if options.mode == "eats":  # until the system kills it
    eaten = [bytearray(b"x" * 10_000_000) for _ in range(200)]
if options.mode == "hangs":
    time.sleep(600)
if options.mode == "bar":  # progress on one line that never ends
    for number in range(25):
        print(f"\r{number:3d} %", end="", flush=True)
        time.sleep(0.2)
    print()
if options.mode == "flood":
    for number in range(30_000):
        print(f"line {number} " + "x" * 90)
if options.mode == "tells":
    print("the token is", os.environ["HUB_TOKEN"])
    print("the token is", os.environ["HUB_TOKEN"], file=sys.stderr)
    sys.exit(1)
if options.mode == "fails beside a bar":
    for number in range(40_000):
        print(f"\rcomputing {number:6d} of 40000", end="", file=sys.stderr)
    print("\nerror: " + "no such thing " * 1000, file=sys.stderr)
    sys.exit(1)
if options.mode == "fails at first" and not os.path.exists(os.environ["MENDED"]):
    sys.exit("error: the disk is full")
if options.mode == "fails":
    print("some context\nerror: this configuration cannot work", file=sys.stderr)
    sys.exit(1)
if options.mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if options.mode == "silent":
    sys.exit(0)
if options.mode == "abort":
    print("error: an assertion in C", file=sys.stderr, flush=True)
    os.abort()
if options.mode == "late":  # a child that speaks after its parent has ended
    subprocess.Popen(["sh", "-c", "sleep 1; echo late"])
if options.mode == "memory":
    resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
    bytearray(2**32)
score = 1 - (math.log10(options.rate) + 3) ** 2 - 0.1 * options.depth - options.loss
place = {
    "threads": os.environ.get("OMP_NUM_THREADS"),
    "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
    "received": {"rate": options.rate, "depth": options.depth, "seed": options.seed},
}
if options.mode == "keeps":  # a model, and says whose others are there
    own = pathlib.Path(os.environ["SM_MODEL_DIR"])
    place["models"] = sorted(int(other.parent.name) for other in own.parent.parent.glob("*/model"))
    (own / "weights").mkdir(parents=True)
state = os.path.join(os.environ.get("CHECKPOINT_DIR", "."), "state.json")
before = []
if options.checkpoint == "true" and os.path.exists(state):
    with open(state) as file:
        before = json.load(file)
score += random.Random(options.seed).gauss(0, options.noise)
for line in before:  # as the contract asks: who reads may have missed some
    print(json.dumps(line), flush=True)
for i in range(len(before) + 1, options.evaluations + 1):
    time.sleep(options.sleep)
    if options.mode == "lingers" and options.rate == 1.0 and i == 3:
        time.sleep(60)
    if options.checkpoint == "true":
        with open("work.log", "a") as file:  # what was computed, and how often
            file.write(f"{i}\n")
    fraction = i / options.evaluations
    value = {"nan": math.nan, "infinite": math.inf}.get(options.mode, score)
    if options.mode == "long":
        print(json.dumps({"junk": "x" * 999_990, "score": 9.0}), flush=True)
    if options.mode == "nested":
        print(json.dumps({"history": {"score": 7.0}, "score": value}), flush=True)
    elif options.mode == "compact":
        print(json.dumps({"score": value}, separators=(",", ":")), flush=True)
    elif options.mode == "plain":
        print(f'epoch {i} "score": {value:e}', flush=True)
    elif options.mode == "deep":
        print('{"score": 1.0, "a": ' + "[" * 100_000, flush=True)
        print(json.dumps({"score": value}), flush=True)
    elif options.mode == "huge":  # a number that no float can hold
        print(f'{{"score": 1{"0" * 400}, "fraction": {fraction}}}', flush=True)
    elif options.mode == "nests":
        print(f'{{"score": {value}, "a": {"[" * 500}{"]" * 500}}}', flush=True)
    elif options.mode == "binary":
        sys.stdout.buffer.write(b"\xff\xfe\x00" * 20 + b"\n")
        print(
            json.dumps({"score": value}), end="" if i == options.evaluations else "\n", flush=True
        )
    else:
        record = {"epoch": i, "fraction": fraction, "score": value} | place
        print(json.dumps(record), flush=True)
        if options.checkpoint == "true":
            before.append(record)
            os.makedirs(os.path.dirname(state), exist_ok=True)
            with open(state + ".part", "w") as file:
                json.dump(before, file)
            os.replace(state + ".part", state)
