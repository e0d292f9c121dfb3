"""Carry out a run: to its end, to the end of its patience, or until Ctrl-C."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpt.runs.run import EarlyStop, Interrupted, Run
from gpt.training import NotFiniteError, Objective, fit


def supervise(run: Run[Any, Any], objective: Objective, command: str) -> bool:
    """Train a run from where it is; return False where it was interrupted, after saying how to go on with `command`.

    Raises NotFiniteError, which names the checkpoint that is left.
    """
    position = run.position
    try:
        with stop_between_steps(run):
            fit(
                run.model, run.optimizer, objective, run.config,
                log=run.log, start=position.step, elapsed=position.elapsed_s,
            )  # fmt: skip
    except Interrupted:
        print(f"\nstopped after step {position.step}; go on with: python -m gpt {command} --resume {run.folder}")
        return False
    except EarlyStop:
        run.progress.end_line()
        print(f"early stop after step {position.step}: nothing was better than step {position.best_step}")
    except NotFiniteError as error:
        raise NotFiniteError(f"{error}; {run.folder} has the checkpoint of step {run.saved_step}") from None
    finally:
        run.progress.end_line()
    return True


@contextmanager
def stop_between_steps(run: Run[Any, Any]) -> Iterator[None]:
    """Let Ctrl-C ask for a stop after the step, and a second one stop at once."""

    def ask(signum: int, frame: Any) -> None:
        run.stop_asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\nfinishing the step, then saving; Ctrl-C again stops at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
