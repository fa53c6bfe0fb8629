"""SLURM's own commands: what they print, and what it means where they refuse. No torch."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from pretrain.base.faults import Fault

ANSWER_SECONDS = 120.0
HERE_TO_STAY = {"SLURM_CONF", "SLURM_CLUSTERS"}  # of SLURM's variables; the others are of a job around us
OTHERS = ("SLURM_", "SQUEUE_")  # beginnings of variables: of such a job, of what people want squeue to show

# What SLURM says where asking again later helps; the job may even be in the queue by then.
PASSING = (
    "timed out",
    "Unable to contact",
    "Connection refused",
    "temporarily",
    "Zero Bytes",
    "Slurm backup controller",
)

# Options of sbatch by which jobs are found again, or with which it puts none in the queue.
OURS = {
    "--job-name": "-J",
    "--array": "-a",
    "--output": "-o",
    "--clusters": "-M",
    "--wait": "-W",
    "--test-only": "--test-only",
}


class TooMany(Fault):
    """It takes fewer jobs at a time: upstream where waiting helps, too, bad-config where it does not."""


def require_free(extra: Sequence[str]) -> None:
    """Raises Fault where an option of the user's is one that the zoo finds its jobs again by."""
    for word in extra:
        name = word.partition("=")[0]
        for long, short in OURS.items():
            if name == long or (word.startswith(short) and not word.startswith("--")):
                said = f"--slurm-extra={word}: {long} is what the zoo finds its jobs again by; leave it out"
                raise Fault("bad-config", f"{said} (another cluster is named by SLURM_CLUSTERS)")


def answer(argv: list[str], stdin: str = "") -> str:
    """What a command of SLURM's prints. Raises Fault."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OTHERS) or k in HERE_TO_STAY}
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, env=kept, timeout=ANSWER_SECONDS, check=False
        )
    except FileNotFoundError:
        said = f"there is no {argv[0]} on this machine; start the command where SLURM's commands are"
        raise Fault("dependency-missing", said) from None
    except subprocess.TimeoutExpired:
        raise Fault("upstream", f"{argv[0]} has not answered within {ANSWER_SECONDS:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    said = "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip()) or "no word"
    if argv[0] == "sbatch" and (fault := _too_many(said)) is not None:
        raise fault
    if argv[0] != "sbatch" or any(word in said for word in PASSING):
        raise Fault("upstream", f"SLURM does not answer for now: {said}")
    raise Fault("bad-config", f"SLURM refuses the jobs: {said}; see `sinfo -s` and the --slurm options")


def _too_many(said: str) -> TooMany | None:
    """The fault where sbatch refuses jobs for their number: more than an array may have, or a user.

    Its last line is the same for every limit of an account; the line before it names the limit, which old
    versions do not have.
    """
    if "Invalid job array specification" in said:
        return TooMany("bad-config", f"SLURM takes no array, not even of one job: {said}")
    named = re.findall(r"\b(?:Assoc|QOS|Max)[A-Z]\w+", said)
    if "job submit limit" in said and (not named or any("SubmitJob" in name for name in named)):
        return TooMany("upstream", f"SLURM takes no more jobs for now: {said}")
    return None
