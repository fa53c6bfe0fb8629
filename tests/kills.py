"""Kills a suite again and again, at any moment and at any write, and compares all that it leaves in the end.

`python -m tests.kills N [--seed S]` runs the smoke suite once undisturbed, then in rounds of a
fresh folder each: the same command is killed (SIGKILL, its whole process group) about a dozen times a round
and started again until it is done, N kills in all. Half of the kills come after a drawn time, half at a drawn
write below the folder: before it, or a few milliseconds into it. One line per round; exit code 1 at the first
difference in a number, a weight, a record or a data file. Times, costs and places are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.train import digest

COMMAND = ("odc", "--suite", "smoke", "--benchmarks", "imagenet_knn,voc07_svm,imagenet_linear,clustering")
A_ROUND = 12  # kills, about
DRAWN_EVERY = 8  # rounds that draw the data, too
NICE = 19
PASSING = {"cost", "time", "digest", "env"}  # fields of a record that may differ between two runs
TIMES = {"seconds", "images_per_s", "device_hours"}  # fields of a line of progress and of facts, likewise
LEFT_OUT = ("locks", "fingerprints", "logs", ".lock", "spent.json")  # folders and files without a result
# Runs first in the process to be killed: counts what changes the folder, strikes at the count it was told.
HOOK = """
import atexit, os, runpy, signal, sys
place, at, delay, count = os.environ["KILLS"].split("|")
at, delay, seen = int(at), float(delay), 0
changes = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}

def look(event, args):
    global seen
    if event == "open":
        if not isinstance(args[2], int) or not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event not in changes:
        return
    paths = [os.fsdecode(one) for one in args[:2] if isinstance(one, (str, bytes, os.PathLike))]
    if any(path.startswith(place) and not path.startswith(place + "data") for path in paths):
        seen += 1
        if seen == at and delay:
            signal.setitimer(signal.ITIMER_REAL, delay)
        elif seen == at:
            os.killpg(0, signal.SIGKILL)

def tell():
    with open(count, "w") as file:
        file.write(str(seen))

if count:
    atexit.register(tell)
sys.addaudithook(look)
runpy.run_module("zoo.run", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Blow:
    """One kill: after `seconds`, or at the `at`-th change of the folder, or `delay` seconds into it."""

    seconds: float = math.inf
    at: int = 0
    delay: float = 0.0


@dataclass(frozen=True)
class Whole:
    """The undisturbed run: what it left, changes of the folder and seconds without drawing data; idle:
    seconds of the same command with nothing to do.
    """

    left: dict[str, str]
    changes: int
    seconds: float
    idle: float


def run(out: Path, blow: Blow = Blow(), count: Path | None = None) -> int:
    """Exit code of the command in a folder, below 0 for a signal; killed as the blow says."""
    told = f"{out}{os.sep}|{blow.at}|{blow.delay}|{count or ''}"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "KILLS": told}
    argv = [sys.executable, "-c", HOOK, *COMMAND, "--out", str(out)]
    with (out.parent / "said").open("w") as said:
        process = subprocess.Popen(
            argv, stdout=said, stderr=said, env=env, start_new_session=True, preexec_fn=_nice
        )
    try:
        process.wait(None if blow.seconds == math.inf else blow.seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _nice() -> None:
    os.nice(NICE)


def undisturbed(folder: Path) -> Whole:
    """What every round is compared with, and what a second run without kills takes."""
    place, second = folder / "whole", folder / "second"
    _timed(place, None)
    left, idle = contents(place / "out"), _timed(place, None)
    seconds = _timed(second, place / "out" / "data")
    if differences(left, contents(second / "out")):
        sys.exit(f"two runs without kills differ: {differences(left, contents(second / 'out'))}")
    changes = int((second / "count").read_text())
    shutil.rmtree(second)
    return Whole(left, changes, seconds, idle)


def _timed(place: Path, data: Path | None) -> float:
    begin = time.monotonic()
    _given(place, data)
    if run(place / "out", count=place / "count"):
        sys.exit(f"a run without kills failed:\n{(place / 'said').read_text()}")
    return time.monotonic() - begin


def _given(place: Path, data: Path | None) -> None:
    """The folder of a round, with data that were drawn before."""
    place.mkdir(exist_ok=True)
    if data is not None:
        shutil.copytree(data, place / "out" / "data", copy_function=os.link)


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Files that two folders do not share."""
    return sorted({name for name, _ in set(one.items()) ^ set(other.items())})


def drawn(rng: random.Random, whole: Whole) -> Blow:
    """The next blow: such that about A_ROUND of them fall on one round."""
    if rng.random() < 0.5:
        work = max(0.0, whole.seconds - whole.idle)
        return Blow(seconds=rng.uniform(0.3, 1.0) * whole.idle + rng.uniform(0, 2 * work / A_ROUND))
    return Blow(
        at=rng.randint(1, 1 + 2 * whole.changes // A_ROUND), delay=rng.choice([0.0, rng.uniform(2e-5, 4e-3)])
    )


def round_of(place: Path, rng: random.Random, whole: Whole, left: int, data: Path | None) -> int:
    """Kills, at most `left`, until the command is done in a fresh folder; how many there were. data: drawn
    before; None: drawn in the round.
    """
    _given(place, data)
    kills = 0
    while True:
        code = run(place / "out", drawn(rng, whole) if kills < min(left, 3 * A_ROUND) else Blow())
        if code == 0:
            return kills
        if code not in (-signal.SIGKILL, -signal.SIGALRM):
            sys.exit(f"exit code {code} after {kills} kills in {place}:\n{(place / 'said').read_text()}")
        kills += 1
        for path in sorted((place / "out").rglob("[!.]*.json")):
            json.loads(path.read_text())  # absent or complete


def contents(out: Path) -> dict[str, str]:
    """A digest of everything below a folder that is a result, by its path in it."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if (
            path.is_file()
            and not any(part in LEFT_OUT for part in name.split("/"))
            and path.suffix != ".lock"
        ):
            found[name] = hashlib.sha256(_plain(path, out)).hexdigest()
    return found


def _plain(path: Path, out: Path) -> bytes:
    """The bytes of a file without times, costs and the place of the folder."""
    if path.name == "result.json":
        body = {key: value for key, value in json.loads(path.read_text()).items() if key not in PASSING}
        return _text(body, out)
    if path.suffix == ".jsonl":
        return _text([json.loads(line) for line in path.read_text().splitlines()], out)
    if path.suffix == ".safetensors":  # the order of its metadata is drawn anew by every process that writes
        size, rest = path.read_bytes()[:8], path.read_bytes()[8:]
        end = int.from_bytes(size, "little")
        return _text(json.loads(rest[:end]), out) + rest[end:]
    if path.name == "state.pt":
        return digest(path.parent).encode()
    return path.read_bytes().replace(str(out).encode(), b".")


def _text(body: Any, out: Path) -> bytes:
    return json.dumps(_timeless(body), sort_keys=True).replace(str(out), ".").encode()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, total, rounds = random.Random(asked.seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="kills.") as folder:
        whole = undisturbed(Path(folder))
        print(
            f"undisturbed: {whole.seconds:.0f} s, {whole.changes} changes, {len(whole.left)} files",
            flush=True,
        )
        while total < asked.kills:
            begin, place = time.monotonic(), Path(folder) / f"round{rounds}"
            data = Path(folder) / "whole" / "out" / "data" if rounds % DRAWN_EVERY else None
            kills = round_of(place, rng, whole, asked.kills - total, data)
            total, rounds = total + kills, rounds + 1
            other = differences(whole.left, contents(place / "out"))
            said = f"DIFFERENT: {', '.join(other)}" if other else "the same"
            print(f"round {rounds}: {kills} kills, {time.monotonic() - begin:.0f} s, {said}", flush=True)
            if other:
                kept = Path(tempfile.mkdtemp(prefix="kills.kept."))
                shutil.move(place, kept)
                shutil.move(Path(folder) / "whole", kept)
                print(f"both folders are in {kept}")
                return 1
            shutil.rmtree(place)
    print(f"{total} kills in {rounds} rounds: every number, weight and record is the same")
    return 0


if __name__ == "__main__":
    sys.exit(main())
