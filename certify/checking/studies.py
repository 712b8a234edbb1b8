"""A study from its name to its folder: numbers, figure and page, and what to say of them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from certify.runs.interruption import listen, obey
from certify.runs.run_dir import RunDir
from certify.submitting.evaluation import data_keys
from models.errors import GateError
from models.spec import DataSpec
from models.studies.registry import STUDIES, Study, study_of
from reports.words import measured
from workers.storage.disk import Disk

ALL = "all"


def chosen_studies(name: str) -> tuple[Study, ...]:
    """The study of a name, or all of them.

    Raises:
        InvalidInputError: If there is no such study.
    """
    return STUDIES if name == ALL else (study_of(name),)


def list_studies(*, as_json: bool) -> None:
    """Print every study and its claim."""
    if as_json:
        told = [{"name": study.name, "claim": study.claim} for study in STUDIES]
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for study in STUDIES:
        typer.echo(f"{study.name:<12} {study.claim}")


def carry_out_all(
    studies: Sequence[Study], *, quick: bool, seed: int, out: Path, data: str | None = None
) -> Iterator[dict[str, Any]]:
    """Run studies one after another; each is written to its folder before it is given.

    Args:
        studies: which ones.
        quick: whether their short forms.
        seed: of every random number.
        out: folder of their folders.
        data: images to run them on in place of their own: a path, or the name of built-in data.

    Raises:
        CertifyError: If one cannot be run or written.
    """
    from reports.studies import index_page, standalone_figure, study_page
    from workers.studying import carry_out, images_of, room_for

    own = None if data is None else DataSpec.model_validate(data_keys(data, None))
    images = [images_of(study, quick=quick, own=own) for study in studies]
    folders = [RunDir(out, study.name) for study in studies]
    for folder in folders:
        folder.create()
    finished = []
    with room_for(studies, quick=quick):
        listen()  # Ray takes SIGTERM for itself
        for study, folder, needed in zip(studies, folders, images, strict=True):
            typer.echo(f"{study.name}: {study.claim}", err=True)
            found = carry_out(study, quick=quick, seed=seed, advance=_advance, images=needed)
            folder.write_json("study.json", found)
            folder.write("figure.svg", standalone_figure(found))
            folder.write("study.html", study_page(found))
            finished.append(found)
            yield found
    if len(finished) > 1:
        Disk(out).write("index.html", index_page(finished).encode())


def tell(found: dict[str, Any], out: Path) -> None:
    """Say on stderr what came out, and on stdout where the page lies."""
    for each in found["expectations"]:
        value = measured(each["found"], expected=each["expected"])
        mark = "met    " if each["holds"] else "NOT MET"
        typer.echo(f"  {mark}  {each['name']}: {value}; expected {each['expected']}", err=True)
    typer.echo(out / found["name"] / "study.html")


def refuse_unborne(findings: Sequence[dict[str, Any]]) -> None:
    """End with a gate's status where a claim is not borne out.

    Raises:
        GateError: With the studies and how many of their expectations are not met.
    """
    faults = [
        f"{found['name']} ({sum(not each['holds'] for each in found['expectations'])} of "
        f"{len(found['expectations'])} expectations are not met)"
        for found in findings
        if not found["borne_out"]
    ]
    if faults:
        raise GateError("not borne out: " + ", ".join(faults))


def _advance(done: int, total: int) -> None:
    obey()
    typer.echo(f"  run {done} of {total}", err=True)
