"""Which trials a sweep makes, round after round: all at once, or as Optuna learns from them.

A round is fixed by the sweep and by the results of the rounds before, in their order; so it is the
same for any number of workers, and the same again when a sweep goes on after an interruption.
"""

import json
from collections.abc import Generator
from typing import TYPE_CHECKING

from certify.jobs.space import Axis, Choice, Values
from certify.jobs.sweep import Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Score = tuple[float, float]
"""Clean accuracy, and certified accuracy at the sweep's ε: both are to be large."""
Rounds = Generator[list[Values], list[Score | None], None]

ROUND = 4
STARTUP = 10
"""Trials that Optuna draws at random before it learns from them."""


def rounds(sweep: Sweep) -> Rounds:
    """Trials to make, and to be sent their scores; None is sent for a trial that failed."""
    if sweep.spec.method == "optuna":
        yield from _learned(sweep)
    else:
        yield list(sweep.combinations())


def name_of(values: Values) -> str:
    """The same for equal trials alone."""
    return json.dumps(values, sort_keys=True)


def _learned(sweep: Sweep) -> Rounds:
    """Optuna's rounds; a combination that it proposes again is answered without a trial.

    Source: Ozaki et al., "Multiobjective Tree-Structured Parzen Estimator", Journal of Artificial
    Intelligence Research 73, 2022; here with the liar that keeps the trials of a round apart.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=sweep.example.seed, n_startup_trials=STARTUP, constant_liar=True
    )
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    distributions = {axis.key: _distribution(axis) for axis in sweep.axes}
    scores: dict[str, Score | None] = {}
    left = sweep.spec.trials or 0
    while left > 0:
        asked = [study.ask(distributions) for _ in range(min(left, sweep.spec.round or ROUND))]
        left -= len(asked)
        proposed = [
            {axis.key: _value(axis, trial.params[axis.key]) for axis in sweep.axes}
            for trial in asked
        ]
        new = {name_of(values): values for values in proposed if name_of(values) not in scores}
        found = (yield list(new.values())) if new else []
        scores |= dict(zip(new, found, strict=True))
        for trial, values in zip(asked, proposed, strict=True):
            score = scores[name_of(values)]
            if score is None:
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, score)


def _distribution(axis: Axis) -> "BaseDistribution":
    from optuna import distributions

    if isinstance(axis, Choice):
        return distributions.CategoricalDistribution(tuple(range(len(axis.values))))
    if axis.whole:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return distributions.FloatDistribution(float(axis.low), float(axis.high), log=axis.log)


def _value(axis: Axis, found: float) -> object:
    """A proposal as a job has it: a value of a list, or six digits of a number."""
    if isinstance(axis, Choice):
        return axis.values[int(found)]
    if axis.whole:
        return int(found)
    return min(max(float(f"{found:.6g}"), axis.low), axis.high)
