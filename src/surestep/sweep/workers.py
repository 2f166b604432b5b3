"""Workers: threads that take slots, each with runs in processes of their own, until none is left or all are stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import optuna

from surestep.lock import Holder
from surestep.stop_signals import Interrupted
from surestep.sweep.plan import SweepPlan
from surestep.sweep.slots import is_elsewhere, is_waiting, running, study_of_worker, take_over_dead, worker_of
from surestep.sweep.stop import StopRequest
from surestep.sweep.trial import TrialFailedError, Trials, TrialStoppedError

_POLL_S = 0.5


def run_workers(
    plan: SweepPlan,
    storage: optuna.storages.RDBStorage,
    trials: list[Trials],
    *,
    me: Holder,
    stop: StopRequest,
    say: Callable[[str], None],
) -> Interrupted | None:
    """Let each of `trials` work in a thread until no slot is left; the signal that stopped them, or None.

    Raises:
        Exception: what a worker raised; the others are stopped first.
    """
    raised: list[BaseException] = []
    ended = [threading.Event() for _ in trials]

    def work(one: Trials, end: threading.Event) -> None:
        try:
            _work(plan, storage, one, me=me, say=say)
        except BaseException as error:  # to be raised where it is seen
            raised.append(error)
            stop.ask()
        finally:
            storage.remove_session()
            end.set()

    for one, end in zip(trials, ended, strict=True):
        threading.Thread(target=work, args=(one, end)).start()
    stopped: Interrupted | None = None
    # Not by `Thread.join`: interrupted there, Python 3.11 takes a thread that still runs for one that has ended.
    while not all(end.is_set() for end in ended):
        try:
            for end in ended:
                end.wait(_POLL_S)
        except Interrupted as signal:
            say("stopping: each run finishes its step and saves" if stopped is None else "stopping at once")
            stopped = stopped or signal
            stop.ask()
    if raised:
        raise raised[0]
    return stopped


def _work(
    plan: SweepPlan, storage: optuna.storages.RDBStorage, trials: Trials, *, me: Holder, say: Callable[[str], None]
) -> None:
    """Take slots until none waits; where other workers may have died, wait until that is known."""
    study = study_of_worker(plan, storage)
    grace_s = 2.0 * (storage.heartbeat_interval or 0)
    idle_since: float | None = None
    while not trials.stop.is_asked:
        take_over_dead(study, me=me, grace_s=grace_s)
        if is_waiting(study):
            idle_since = None
            _try_next(study, trials)
            continue
        idle_since = time.monotonic() if idle_since is None else idle_since
        # A process of this machine is seen to run; of one elsewhere its next heartbeat would tell.
        unsure = [t for t in running(study) if is_elsewhere(t, me) and not _is_seen(worker_of(t))]
        if not unsure or time.monotonic() - idle_since > grace_s:
            return
        trials.stop.wait(_POLL_S)


def _try_next(study: optuna.Study, trials: Trials) -> None:
    try:
        study.optimize(trials, n_trials=1, catch=(TrialFailedError, TrialStoppedError))
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError) as error:
        if isinstance(error, ValueError) and "Cannot tell a" not in str(error):
            raise
        # While this machine slept, say, another worker took the trial for dead: its slot is tried again.
        trials.say("a trial was taken over by another worker, since this one had fallen silent")


def _is_seen(holder: Holder | None) -> bool:
    return holder is not None and holder.is_here() and holder.is_running()


def environments(workers: int, *, gpus: list[str], cores: int) -> list[Mapping[str, str]]:
    """What each worker's runs find in their environment: its GPU, in turn, where there are several, and its cores.

    >>> environments(3, gpus=["0", "1"], cores=12)[2]
    {'OMP_NUM_THREADS': '4', 'CUDA_VISIBLE_DEVICES': '0'}
    >>> environments(1, gpus=["0", "1"], cores=12)
    [{}]
    """
    if workers == 1:
        return [{}]
    threads = {"OMP_NUM_THREADS": str(max(1, cores // workers))}
    if len(gpus) < 2:
        return [threads] * workers
    return [{**threads, "CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} for number in range(workers)]
