"""Conformal e-values: evidence against a right solution that may be averaged over runs and tested over a batch.

An e-value is a number from 0 whose mean is at most 1 where the solution is right, so that large ones speak against it.
As a test of one solution it is far weaker than the monitor's rank (2 % of alarms where 10 % are allowed), which is why
the monitor does not use it. Vovk and Wang, E-values: calibration, combination and applications, 2021; Wang and Ramdas,
False discovery rate control with e-values, 2022.

Legend: n0 calibrated problems, B solutions of a batch.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from surestep.arrays import BoolArray, FloatArray
from surestep.guarantees.monitoring.monitor import Monitor


def conformal_e_value(monitor: Monitor, largest: float) -> float:
    """e = (n0 + 1) T_new / (Σ T_i + T_new), of mean exactly 1 where the new solution is exchangeable with the n0.

    Args:
        monitor: whose largest values are the T_i; with several a problem, each with its weight.
        largest: the largest value of the new solution so far (`MonitorRun.largest`). It only grows, so the e-value is
            valid whenever one stops.

    Returns:
        From 0 to n0 + 1; 1 where all T are 0, and without a calibrated solution.

    >>> monitor = Monitor.fit([[0.9], [0.8], [0.9]], ["a", "b", "c"], alpha=0.5)
    >>> round(conformal_e_value(monitor, -0.2), 6)
    2.666667
    """
    log_new = float(monitor.statistic.log_evidence(np.array(largest)))
    log_old = monitor.statistic.log_evidence(np.array(monitor.largest, np.float64))
    scale = max([log_new, *log_old.tolist()])
    if math.isinf(scale):
        return 1.0
    new = math.exp(log_new - scale)
    old = float(np.sum(np.exp(log_old - scale) * np.array(monitor.weights)))
    return (monitor.num_problems + 1) * new / (old + new)


def merged_e_value(values: npt.ArrayLike) -> float:
    """The mean of e-values of one hypothesis, an e-value whatever their dependence.

    >>> merged_e_value([4.0, 0.5, 0.0])
    1.5
    """
    return float(np.mean(np.asarray(values, np.float64)))


def alarms_in_a_batch(values: npt.ArrayLike, rate: float) -> BoolArray:
    """Which of B solutions to stop so that at most `rate` of the stopped are right, in expectation.

    Benjamini and Hochberg's procedure on 1 / e, valid whatever the dependence between them.

    Args:
        values: e-values, (B,).
        rate: in (0, 1).

    >>> alarms_in_a_batch([40.0, 1.0, 25.0], 0.1).tolist()
    [True, False, True]
    """
    e_B: FloatArray = np.asarray(values, np.float64)
    largest_first = np.argsort(-e_B, kind="stable")
    passed = np.flatnonzero(e_B[largest_first] * np.arange(1, e_B.size + 1) >= e_B.size / rate * (1 - 1e-12))
    chosen = np.zeros(e_B.size, dtype=np.bool_)
    if passed.size:
        chosen[largest_first[: passed[-1] + 1]] = True
    return chosen
