"""Train a run to its end, and finish and save the step whatever interrupts it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gpt.model import find_gpt
from gpt.runs.checkpoint import TrainingState
from gpt.runs.estimate import forward_flops
from gpt.runs.run import MemoryRun, Run
from gpt.runs.team import Work, Workers
from gpt.training import NotFiniteError, Objective, fit, learning_rate
from nanograd.parallel.ranks import MixedMachinesError, NoTeamError, reworded

CHOSEN = Workers()  # by rule
RISEN = 1.02  # a validation loss this many times the best has risen; less may be chance


def run_training(
    run: Run[Any, Any],
    objective: Objective,
    command: str = "",
    finish: Callable[[], None] | None = None,
    workers: Workers = CHOSEN,
) -> bool:
    """Train a run from its current step to its end, then call `finish`, and release the lock of its folder.

    A run that is finished already is only passed to `finish`, which makes what such a run lacks. Return False if a signal
    stopped the run, after printing how to resume it with `command`.

    Raises ArithmeticError, OSError or MemoryError; each names the checkpoint that is left.
    """
    state, was_finished = run.state, run.is_finished()
    resume = f"python -m gpt {command} --resume {run.folder}" if command else f"gpt.train(resume={str(run.folder)!r})"
    try:
        if not was_finished:
            note_warmup(run)
            team = workers.team(run.config.shards or 1, work_of(run))
            with stop_between_steps(run):
                fit(
                    run.model, run.optimizer, objective, run.config,
                    after_step=run.after_step, start=state.step, elapsed=state.elapsed_s, team=team, write=run.writer(),
                )  # fmt: skip
        report_end(run, f"; go on with: {resume}" if command else "")
        if run.stop_signal not in (None, signal.SIGINT) or not run.is_finished():
            return False
        if has_risen(state) and not was_finished:
            source, remedy = "examples", "more examples or fewer steps"
            if run.task is None:
                source, remedy = "text", f"more text, fewer steps or {'--dropout 0.1' if command else 'dropout=0.1'}"
            rise = f"best val {state.best_val_loss:.4f} at step {state.best_step}, and it has risen since"
            print(f"{rise}: the model learns the {source} by heart; {remedy}")
        if finish is not None:
            finish()
        if was_finished:
            print(f"\nthe run is finished, at step {state.step}; go on with a larger --max-steps")
        return True
    except MixedMachinesError as error:
        raise ValueError(f"{error}, or allow it with --mixed-machines") from None
    except (ArithmeticError, OSError, MemoryError, KeyboardInterrupt) as error:
        if isinstance(error, NoTeamError):
            error.args = (f"{error}; take --workers-as threads",)
        raise (error if isinstance(run, MemoryRun) else name_rest(error, run, resume)) from error.__cause__
    finally:
        with suppress(OSError):
            run.progress.end_line()
        run.unlock()


def work_of(run: Run[Any, Any]) -> Work:
    """Return what is left to do, if every window is full."""
    shape, config = find_gpt(run.model).config, run.config
    tokens = config.batch_size * shape.context_length
    steps = (config.max_steps - run.state.step) * config.grad_accum_steps
    return Work(tokens, shape.d_model, 3 * forward_flops(shape) * tokens * steps)


def note_warmup(run: Run[Any, Any]) -> None:
    """Say so if the learning rate never comes to its highest value."""
    if (n := run.config.warmup_steps) >= (last := run.config.max_steps):
        highest = f"{learning_rate(last - 1, run.config):.1e}, and lr is {run.config.lr:.1e}"
        print(f"note      the warmup of {n} steps is not over at step {last}: the rate ends at {highest}")


def has_risen(state: TrainingState) -> bool:
    """Whether the last validation loss is clearly above the best."""
    last, best = state.val_loss, state.best_val_loss
    return last is not None and best is not None and last > best * RISEN


def report_end(run: Run[Any, Any], way_on: str) -> None:
    """Print why training ended before its last step, if it did; raise the error of an output that cannot be written."""
    try:
        run.progress.end_line()
        if run.stop_asked and not (run.stop_signal == signal.SIGINT and run.is_finished()):
            print(f"\nstopped after step {run.state.step}{way_on}", flush=True)
        elif run.stopped_early:
            best = run.state.best_step
            print(f"early stop after step {run.state.step}: nothing was better than step {best}")
    except OSError as error:
        run.output_error = error
    if run.output_error is not None:
        if run.stop_signal in (None, signal.SIGINT):
            raise run.output_error
        for stream in (sys.stdout, sys.stderr):  # the terminal is gone: flushing at exit would fail, and hide the code
            with suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def name_rest(error: BaseException, run: Run[Any, Any], resume: str) -> BaseException:
    """Say, in an error that ends a run or before it, which checkpoint is left and how to go on; return the error."""
    lost = run.state.step - run.saved_step
    rest = f"{run.folder} has the checkpoint of step {run.saved_step}"
    if run.is_finished() and not lost:
        rest = f"{run.folder} is trained and saved, but its last files are missing; make them with: {resume}"
    elif not isinstance(error, NotFiniteError):
        steps = f"; the {lost} steps after it are lost" if lost > 1 else "; the step after it is lost" if lost else ""
        rest += f"{steps}; go on with: {resume}"
    if isinstance(error, (KeyboardInterrupt, BrokenPipeError)):  # they are reported without words
        with suppress(OSError):
            print(f"\n{rest}", file=sys.stderr)
    elif isinstance(error, OSError) and error.strerror:
        error.add_note(rest)
    elif isinstance(error, Exception):
        return reworded(error, f"{str(error) or 'make the batch, the context or the model smaller'}; {rest}")
    return error


@contextmanager
def stop_between_steps(run: Run[Any, Any]) -> Iterator[None]:
    """Let Ctrl-C stop the run after the current step, and a second Ctrl-C at once; in a thread, signals do not arrive.

    SIGTERM and SIGHUP do the same for a run with a folder, unless they are ignored, as by nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: Any) -> None:
        run.stop_asked, run.stop_signal = True, signum
        for number, handler in previous.items():
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else handler)
        then = "" if isinstance(run, MemoryRun) else ", then saving"
        again = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
        with suppress(OSError, RuntimeError):  # a closed terminal; a signal in the middle of another line
            print(f"\nfinishing the step{then}; {again} again stops at once", file=sys.stderr)

    names = ["SIGINT"] if isinstance(run, MemoryRun) else ["SIGINT", "SIGTERM", "SIGHUP"]  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    previous = {n: signal.getsignal(n) for n in numbers if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
