"""Commands about a proof: make one, audit one, break one again."""

from pathlib import Path
from typing import Annotated

import typer

from certify.commands.options import AsJson, ModelFile, RunsFolder


def bound(model: ModelFile, as_json: AsJson = False) -> None:
    """Bound how far an ONNX classifier stretches, operator by operator; no data is needed."""
    from certify.checking.bounding import bound_file, print_bounds

    print_bounds(bound_file(model), as_json=as_json)


def verify(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id or folder of a run, or a certificate.json.")
    ],
    model: Annotated[
        Path | None, typer.Option("--model", help="The file that ships, if it is elsewhere.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Images, or a job file; those of the run's job if left out."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Recompute so many rows, not all.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Repeat the draw of a sample.")
    ] = None,
    allow_unchecked: Annotated[
        bool, typer.Option("--allow-unchecked", help="Exit with 0 though parts were not checked.")
    ] = False,
    runs: RunsFolder = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Audit a certificate with a second program that takes nothing in it on trust."""
    from certify.checking.verification import drawn_sample, images_of, report_audit, run_folder
    from models.audit.audit import audit

    folder, drawn = run_folder(run, runs), drawn_sample(sample, seed)
    checks = audit(folder, model=model, data=images_of(folder, data), sample=drawn)
    report_audit(checks, as_json=as_json, allow_unchecked=allow_unchecked)


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
    from certify.checking.replay import replay as replayed
    from certify.runs.outcome import print_replay
    from certify.runs.records import EXIT_STATUS

    found = replayed(counterexample, model or counterexample.parent / "network.onnx")
    print_replay(found, as_json=as_json)
    raise typer.Exit(EXIT_STATUS["refuted"] if found["broken"] else 0)
