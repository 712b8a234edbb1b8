"""Run studies: the runs of one side by side as tasks, where it has more than one.

A run's outcome depends on its setting, the seed and the images alone, and each computes on one
processor, so that neither their order nor the number of workers changes a digit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from models.errors import InvalidInputError
from models.spec import DataSpec, ResourcesSpec
from models.splits import Dataset
from models.studies.registry import STUDIES, Outcome, Setting, Study, study_of
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
    study: Study,
    *,
    quick: bool,
    seed: int,
    advance: Callable[[int, int], None],
    images: DataSpec | None,
) -> dict[str, Any]:
    """Run a study to its finding, inside `room_for`.

    Args:
        study: which one.
        quick: whether its short form.
        seed: of every random number.
        advance: told how many runs are over, and of how many.
        images: what `images_of` gives for it.

    Returns:
        What `study.json` holds.

    Raises:
        CertifyError: If a run fails, or the study's images are not there.
    """
    data = None if images is None else load_data(images, seed=seed, folder=Path())
    code = study.code
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
        "images": None if images is None else images.path or images.source,
        "sources": list(study.sources),
        "reading": list(code.READING),
        **code.conclude(outcomes, quick=quick).to_json(),
    }


def images_of(study: Study, *, quick: bool, own: DataSpec | None = None) -> DataSpec | None:
    """The images that a study runs on; None where it needs none.

    Args:
        study: which one.
        quick: whether its short form.
        own: images in place of the study's.

    Raises:
        InvalidInputError: If it is given images and needs none.
    """
    source = study.source_of(quick=quick)
    if source is None:
        if own is not None:
            names = ", ".join(each.name for each in STUDIES if each.images)
            raise InvalidInputError(f"{study.name} runs without images; accepted are {names}")
        return None
    return own or DataSpec.model_validate({"source": source})


def _run(name: str, setting: Setting, seed: int, data: Dataset | None) -> Outcome:
    threads(1)
    return study_of(name).code.run(setting, seed=seed, data=data)
