"""Every script of this folder at a size that two cores do in minutes: python -m tests.bench [NAME...]

One table at the end: what each said last, which is its ratio (estimates measures nothing and has none), and
the seconds that it took. Sizes of docs/performance.md are larger; these show that a script still runs, and a
ratio that is far off.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

SMALL: dict[str, tuple[str, ...]] = {
    "ap": ("--rows", "1000", "--columns", "200", "--some", "10"),
    "estimates": (),
    "feeding": ("--n", "64", "--rounds", "2"),
    "kmeans": ("--n", "20000", "--k", "1000", "--iterations", "5"),
    "knn": ("--n", "20000", "--queries", "500"),
    "linear": ("--arch", "resnet10_narrow", "--size", "32", "--batch", "64", "--classes", "10"),
    "odc_memory": ("--images", "100000", "--clusters", "1000"),
    "semi": ("--images", "32"),
    "svm": ("--n", "400", "--d", "512", "--classes", "5", "--ks", "1", "8"),
    "throughput": ("--n", "5000", "--steps", "5"),
}


def ran(name: str) -> tuple[bool, float, str]:
    """Whether a script ended well, its seconds, its last line; what it says is passed on."""
    start = time.perf_counter()
    argv = [sys.executable, "-m", f"tests.bench.{name}", *SMALL[name]]
    print("$", " ".join(["python", *argv[1:]]), flush=True)
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return done.returncode == 0, time.perf_counter() - start, " ".join((lines or ["nothing"])[-1].split())


def main() -> None:
    """Exit code 1 where a script failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(SMALL)}; all without any")
    names = parser.parse_args().names or list(SMALL)
    if unknown := [name for name in names if name not in SMALL]:
        parser.error(f"no script {', '.join(unknown)}; there are {', '.join(SMALL)}")
    rows = {name: ran(name) for name in names}
    print("| script | | seconds | says |\n|---|---|---|---|")
    for name, (well, seconds, said) in rows.items():
        print(f"| {name} | {'ok' if well else 'FAILED'} | {seconds:.0f} | {said} |")
    raise SystemExit(any(not well for well, _, _ in rows.values()))


if __name__ == "__main__":
    main()
