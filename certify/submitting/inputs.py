"""What a job is given: its images, and the model where somebody else trained it."""

from pathlib import Path

from certify.jobs.job import JobSpec
from certify.runs.run import stored_model
from certify.runs.run_dir import RunDir
from certify.stages.training import lesson_of
from models.model_spec import OnnxSpec
from models.splits import Dataset
from workers.data import load_data
from workers.foreign import Foreign, read_foreign
from workers.training import rehearse


def read_inputs(
    job: JobSpec, folder: Path, *, run_dir: RunDir | None = None
) -> tuple[JobSpec, Dataset, Foreign | None]:
    """The images of a job, and the model where somebody else trained it.

    Args:
        job: what is asked for.
        folder: where relative paths of the job begin.
        run_dir: of the run, which may hold the model.

    Returns:
        The job, which then speaks of one foreign file and no other; its data; its model.

    Raises:
        CertifyError: If they are refused.
    """
    if isinstance(job.model, OnnxSpec):
        foreign = _foreign(job, job.model, folder, stored_model(run_dir))
        return job.with_model_hash(foreign.sha256), foreign.dataset, foreign
    return job, load_data(job.data, seed=job.seed, folder=folder), None


def rehearse_job(job: JobSpec, folder: Path) -> str:
    """Load the data, build the model, run one forward pass.

    Returns:
        What was found, in a few words.

    Raises:
        CertifyError: If the data or the model is refused.
    """
    if isinstance(job.model, OnnxSpec):
        return _described(_foreign(job, job.model, folder, None))
    dataset = load_data(job.data, seed=job.seed, folder=folder)
    rehearse(lesson_of(job, dataset), dataset)
    return (
        f"{len(dataset.train)} training, {len(dataset.validation)} validation and "
        f"{len(dataset.test)} test images of {_kind(dataset)}; "
        f"a forward pass of the {job.model.architecture} works"
    )


def _foreign(job: JobSpec, model: OnnxSpec, folder: Path, stored: bytes | None) -> Foreign:
    streamed = job.evaluate is not None
    return read_foreign(model, job.data, folder=folder, stored=stored, streamed=streamed)


def _described(foreign: Foreign) -> str:
    ending = " and ".join(foreign.imported.ending)
    left_out = f"; certified is what its {ending} reads" if ending else ""
    test = foreign.dataset.test if foreign.streamed is None else foreign.streamed
    return (
        f"{len(test)} test images of {_kind(foreign.dataset)}; every operator of "
        f"the model has a rule{left_out}"
    )


def _kind(dataset: Dataset) -> str:
    shape = "×".join(str(side) for side in dataset.input_shape)
    return f"{shape} in {len(dataset.classes)} classes"
