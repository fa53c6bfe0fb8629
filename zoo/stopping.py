"""How a command ends before it is done: by a signal, by a fault; one sentence and an exit code each."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from pretrain.base import files, process
from pretrain.base.faults import Fault, Reason, printable
from zoo.plan.job import FULL

# Of a terminal, a lost connection, a scheduler that takes the machine back.
SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGQUIT,
    signal.SIGXCPU,
)
CODES: dict[Reason, int] = {"data-missing": 4, "dependency-missing": 4, "disk-full": FULL}
WRONG_USAGE = 2


def listen() -> None:
    """From now on every signal of `SIGNALS` ends the process in order: locks go, children are stopped.

    Below nohup a lost connection ends nothing, as people expect of it.
    """
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turns what ends a command into one sentence and an exit code.

    2 wrong usage, 4 data or a package is missing, 6 the disk is full, 128 + n stopped by signal n.
    """
    _print_any_name()
    try:
        yield
    except Fault as fault:
        _say(f"error: {fault}")
        sys.exit(CODES.get(fault.reason, WRONG_USAGE))
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (OSError, RuntimeError) as error:
        _end(error)
    except SystemExit as ended:
        if isinstance(ended.code, int) and ended.code - 128 in SIGNALS:
            name = signal.Signals(ended.code - 128).name
            _say(
                f"stopped by {name}: what was finished is kept, the running job goes on where it was; continue with"
            )
            _say(f"    {_command()}")
        raise


def _end(error: OSError | RuntimeError) -> NoReturn:
    """Of what the system refuses: a further thread, room on a disk, a name that is too long."""
    if (barred := process.barred(error)) is not None:
        _say(f"error: {barred}")
        sys.exit(WRONG_USAGE)
    if not isinstance(error, OSError):
        raise error
    if error.errno in files.FULL:
        _say(f"error: no space to write {printable(str(error.filename or 'what is printed'), 200)}")
        sys.exit(FULL)
    _say(f"error: {printable(str(error.filename or ''), 200)}: {error.strerror or error}")
    sys.exit(WRONG_USAGE)


def _print_any_name() -> None:
    """Names of files that are no UTF-8, as old archives have them, go to stdout byte by byte from now on, as
    in the C locale; in others Python refuses to print them.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")


def _say(text: str) -> None:
    if int(os.environ.get("RANK", "0")) == 0:
        with suppress(OSError):  # nobody can read it, the exit code is all that is left
            print(text, file=sys.stderr)


def _command() -> str:
    """The command line that people typed."""
    program = os.path.basename(sys.argv[0])
    started = f"python -m zoo.{program.removesuffix('.py')}" if program.endswith(".py") else program
    return shlex.join([*started.split(), *sys.argv[1:]])
