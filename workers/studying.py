"""Run studies: the runs of one side by side as tasks, where it has more than one.

A run's outcome depends on its setting, the seed and the images alone, and each computes on one
processor, so that neither their order nor the number of workers changes a digit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from models.spec import DataSpec, ResourcesSpec
from models.splits import Dataset
from models.studies.registry import Outcome, Setting, Study, study_of
from workers.cluster import embedded_cluster
from workers.data import load_data
from workers.shards import as_completed
from workers.tasks import remote, share, threads


@contextmanager
def room_for(studies: Sequence[Study], *, quick: bool) -> Iterator[None]:
    """A Ray of this process's own where a study has many runs; nothing where none has.

    Raises:
        ClusterError: If Ray does not start.
    """
    if all(len(study.code.runs(quick=quick)) == 1 for study in studies):
        yield
        return
    with embedded_cluster(ResourcesSpec()):
        yield


def carry_out(
    study: Study, *, quick: bool, seed: int, advance: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run a study to its finding, inside `room_for`.

    Args:
        study: which one.
        quick: whether its short form.
        seed: of every random number.
        advance: told how many runs are over, and of how many.

    Returns:
        What `study.json` holds.

    Raises:
        CertifyError: If a run fails, or the study's images are not there.
    """
    code, data = study.code, images_of(study, quick=quick, seed=seed)
    settings = code.runs(quick=quick)
    outcomes: list[Outcome] = [{}] * len(settings)
    if len(settings) == 1:
        outcomes = [_run(study.name, settings[0], seed, data)]
    else:
        run, shared = remote(_run), share(data)
        calls = [partial(run.remote, study.name, setting, seed, shared) for setting in settings]
        for done, (place, outcome) in enumerate(as_completed(calls), start=1):
            outcomes[place] = outcome
            advance(done, len(settings))
    return {
        "name": study.name,
        "claim": study.claim,
        "quick": quick,
        "seed": seed,
        "images": study.source_of(quick=quick),
        "sources": list(study.sources),
        "reading": list(code.READING),
        **code.conclude(outcomes, quick=quick).to_json(),
    }


def images_of(study: Study, *, quick: bool, seed: int) -> Dataset | None:
    """The images that a study asks for; None where it asks for none.

    Raises:
        DataError: If they are not there.
    """
    source = study.source_of(quick=quick)
    if source is None:
        return None
    spec = DataSpec.model_validate({"source": source})
    return load_data(spec, seed=seed, folder=Path())


def _run(name: str, setting: Setting, seed: int, data: Dataset | None) -> Outcome:
    threads(1)
    return study_of(name).code.run(setting, seed=seed, data=data)
