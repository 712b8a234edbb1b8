"""The job of `certify evaluate`: somebody else's model, and images to certify it on."""

from pathlib import Path
from typing import Any

from certify.jobs.job import STREAMED, JobSpec, check_job
from certify.jobs.template import kind_of_data, name_from
from models.errors import JobError
from reports.words import toml
from workers.storage.places import is_url

BUILT_IN = ("digits", "fashion-mnist")
COMMAND = "certify evaluate"


def evaluation_job(  # noqa: PLR0913 (an option each)
    model: Path,
    data: str,
    *,
    source: str | None = None,
    eps: list[str] | None = None,
    examples: int | None = None,
    mean: str | None = None,
    std: str | None = None,
    classes: str | None = None,
    seed: int | None = None,
    batch: bool = False,
    workers: int | None = None,
) -> tuple[JobSpec, bytes]:
    """A job from the options of the command, and the same as a job file.

    Args:
        model: the ONNX file.
        data: a path, or the name of built-in data.
        source: kind of the data; found from the path if left out.
        eps: budgets, each a number or a fraction.
        examples: how many images to attack.
        mean: numbers with commas between them, subtracted from the channels.
        std: numbers with commas between them, by which the channels are divided.
        classes: names with commas between them, in the order of the logits.
        seed: of every random number.
        batch: whether to evaluate in a batch: a row an image, and nothing is attacked.
        workers: processes side by side.

    Raises:
        JobError: With every fault.
    """
    keys: dict[str, Any] = {
        "name": name_from(model),
        "data": data_keys(data, source),
        "model": {"architecture": "onnx", "path": str(model)},
    }
    for role, text in (("mean", mean), ("std", std)):
        if text is not None:
            keys["model"][role] = _numbers(role, text)
    if classes is not None:
        keys["model"]["classes"] = [name.strip() for name in classes.split(",")]
    if batch:
        _refuse_unstreamed(keys["data"]["source"])
        _refuse_unused({"--eps": eps, "--examples": examples, "--seed": seed})
        keys["evaluate"] = {}
    if workers is not None:
        keys["resources"] = {"workers": workers}
    if seed is not None:
        keys["seed"] = seed
    if eps:
        keys["certify"] = {"eps": list(eps)}
    if examples is not None:
        keys["attack"] = {"examples": examples}
    job = check_job(keys, place=COMMAND)
    return job, toml(job.resolved()).encode()


def data_keys(data: str, source: str | None) -> dict[str, str]:
    """The table `data` of a job, from a path or a name; the kind is found if it is left out.

    Raises:
        JobError: If there is nothing of a known kind.
    """
    if source is None and data in BUILT_IN and not Path(data).exists():
        return {"source": data}
    if source in BUILT_IN and data == source:
        return {"source": data}
    if is_url(data) and source is None:
        kinds = [kind for kind in ("parquet", "npz") if data.endswith(f".{kind}")]
        if not kinds:
            raise JobError(
                f"{COMMAND}: {data}: the kind of data cannot be told from a URL without a file's "
                "name; accepted is --source parquet, folder or npz"
            )
        source = kinds[0]
    return {"source": source or kind_of_data(Path(data)), "path": data}


def _refuse_unstreamed(source: str) -> None:
    if source not in STREAMED:
        raise JobError(
            f"{COMMAND}: --data: found data of kind {source!r} with a batch evaluation; accepted "
            f"with --batch and --address are {' and '.join(STREAMED)}"
        )


def _refuse_unused(options: dict[str, object]) -> None:
    given = [name for name, value in options.items() if value is not None and value != []]
    if given:
        raise JobError(
            f"{COMMAND}: {' and '.join(given)} is refused with a batch evaluation, which attacks "
            "nothing; accepted without --batch and --address"
        )


def _numbers(role: str, text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise JobError(
            f"{COMMAND}: --{role}: found {text!r}; accepted are numbers with commas between them, "
            "one, or one to a channel"
        ) from None
