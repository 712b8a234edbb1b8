"""Quick forms of studies, run here and without Ray, each once to a test process."""

import copy
import functools
from pathlib import Path

import torch

from models.spec import DataSpec
from models.studies.registry import study_of
from workers.data import load_data


@functools.cache
def digits():
    return load_data(DataSpec(source="digits"), seed=0, folder=Path())


@functools.cache
def _quick_outcomes(name):
    study = study_of(name)
    data = None if study.source_of(quick=True) is None else digits()
    torch.set_num_threads(1)
    return [study.code.run(setting, seed=0, data=data) for setting in study.code.runs(quick=True)]


def quick_outcomes(name):
    """What the runs of a study's quick form gave; a copy, to be spoiled at will."""
    return copy.deepcopy(_quick_outcomes(name))


def conclude(name, outcomes):
    return study_of(name).code.conclude(outcomes, quick=True)


def unmet(finding):
    return [each.name for each in finding.expectations if not each.holds]
