"""The commands: parse, call one function, print.  Words go to stderr, results to stdout."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from certify.job import JobSpec, load_job
from models.errors import CertifyError, IncompleteRunError

EXIT_STATUS = {"passed": 0, "gate_failed": 3, "refuted": 4, "incomplete": 5}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Image classifiers whose every prediction carries a proven L2 radius.",
)

JobFile = Annotated[
    Path, typer.Argument(metavar="JOB_FILE", help="A job file in TOML.", show_default=False)
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX classifier.", show_default=False)
]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Id of the run; continues one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command()
def submit(
    job_file: JobFile,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in train.epochs=3."),
    ] = None,
    run: RunId = None,
    runs: RunsFolder = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check job, data and model, then stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a job from data to a report, on a Ray of this machine's own."""
    job = load_job(job_file, overrides=overrides or ())
    if dry_run:
        _rehearse(job, job_file, folder=job_file.parent)
        return
    text = job_file.read_bytes()
    _carry_out(job, text, folder=job_file.parent, runs=runs, run=run, as_json=as_json)


@app.command()
def evaluate(
    model: ModelFile,
    data: Annotated[
        str,
        typer.Option("--data", help="Images: folder, .npz, Parquet, digits or fashion-mnist."),
    ],
    source: Annotated[
        str | None, typer.Option("--source", help="Kind of the data, where its path misleads.")
    ] = None,
    eps: Annotated[
        list[str] | None, typer.Option("--eps", help="L2 budget, as 0.5 or 36/255; repeat it.")
    ] = None,
    examples: Annotated[
        int | None, typer.Option("--examples", help="Images that are attacked at each ε.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", help="Subtracted from each channel, as 0.5,0.4,0.4.")
    ] = None,
    std: Annotated[
        str | None, typer.Option("--std", help="Divides each channel after that.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Names in the order of the logits, as cat,dog.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of every random number.")] = 0,
    run: RunId = None,
    runs: RunsFolder = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check model and data, then stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Certify, attack and report an ONNX classifier that was trained elsewhere."""
    from certify.evaluation import evaluation_job

    job, text = evaluation_job(
        model,
        data,
        source=source,
        eps=eps,
        examples=examples,
        mean=mean,
        std=std,
        classes=classes,
        seed=seed,
    )
    if dry_run:
        _rehearse(job, model, folder=Path())
        return
    _carry_out(job, text, folder=Path(), runs=runs, run=run, as_json=as_json)


@app.command()
def bound(model: ModelFile, as_json: AsJson = False) -> None:
    """Bound how far an ONNX classifier stretches, operator by operator; no data is needed."""
    from certify.bounding import bound_file, print_bounds

    print_bounds(bound_file(model), as_json=as_json)


@app.command()
def init(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images: a folder, .npz or Parquet; digits if left out."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Job file to write.")] = Path("job.toml"),
) -> None:
    """Write a commented job file to start from."""
    from certify.template import job_template, write_new

    write_new(out, job_template(data, beside=out.parent))
    typer.echo(out)
    typer.echo(f"check it with: certify submit {out} --dry-run", err=True)


@app.command()
def doctor(runs: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    """Say what this installation has, and what is wrong with it."""
    from certify.doctor import examine, print_examination

    findings = examine(runs)
    print_examination(findings, as_json=as_json)
    if findings["faults"]:
        raise typer.Exit(1)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run that has ended.")],
    runs: RunsFolder = Path("runs"),
) -> None:
    """Make the report of a run again, from its artefacts alone."""
    from certify.publish import results_of
    from certify.run_dir import RunDir
    from reports.page import render_page

    run_dir = RunDir(runs, run)
    run_dir.write("report.html", render_page(results_of(run_dir)))
    typer.echo(run_dir.at("report.html"))


@app.command()
def replay(
    counterexample: Annotated[
        Path, typer.Argument(metavar="COUNTEREXAMPLE", help="counterexample.npz of a refuted run.")
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The ONNX file; network.onnx beside it if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the break of a certificate again, from the files alone."""
    from certify.outcome import print_replay
    from certify.replay import replay as replayed

    found = replayed(counterexample, model or counterexample.parent / "network.onnx")
    print_replay(found, as_json=as_json)
    raise typer.Exit(EXIT_STATUS["refuted"] if found["broken"] else 0)


@app.command()
def verify(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or folder of a run, or a certificate.json.")
    ],
    model: Annotated[
        Path | None, typer.Option("--model", help="The file that ships, if it is elsewhere.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The images, as .npz; those of the run's job if left out."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Recompute so many rows, not all.")
    ] = None,
    runs: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Audit a certificate with a second program that takes nothing in it on trust."""
    from certify.verification import images_of, print_audit, run_folder
    from models.audit.audit import audit
    from models.audit.documents import npz_images

    folder = run_folder(run, runs)
    images = images_of(folder) if data is None else npz_images(data)
    checks = audit(folder, model=model, data=images, sample=sample)
    print_audit(checks, as_json=as_json)


def main() -> NoReturn:
    """Run a command; a failure that is no bug is told in one line."""
    try:
        app()
    except CertifyError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    sys.exit(0)


def _rehearse(job: JobSpec, file: Path, *, folder: Path) -> None:
    """Everything that can be known before a run: the data is there and the model fits it."""
    from certify.submission import rehearse_here

    described = rehearse_here(job, folder)
    typer.echo(f"{file}: in order; {described}")


def _carry_out(
    job: JobSpec, text: bytes, *, folder: Path, runs: Path, run: str | None, as_json: bool
) -> NoReturn:
    """Run a job to its end, print what came out, and end with the verdict's exit status."""
    from certify.interruption import listen
    from certify.outcome import print_outcome
    from certify.run_dir import new_run_id
    from certify.submission import run_here

    listen()
    try:
        summary, run_dir = run_here(
            job, text, folder=folder, runs=runs, run=run or new_run_id(job.name)
        )
    except KeyboardInterrupt:
        raise IncompleteRunError("interrupted; the run's id and --run continue it") from None
    print_outcome(summary, report=run_dir.at("report.html"), as_json=as_json)
    raise typer.Exit(EXIT_STATUS[summary["verdict"]])
