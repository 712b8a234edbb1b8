"""Evaluate a model that was trained elsewhere: a whole run, or a row an image."""

from pathlib import Path
from typing import Annotated

import typer

from certify.commands.options import Address, AsJson, ModelFile, NoWait, RunId, RunsFolder


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
    seed: Annotated[int | None, typer.Option("--seed", help="Of every random number.")] = None,
    batch: Annotated[
        bool,
        typer.Option("--batch", help="Class, margin and proven radius of every image, no more."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Worker processes side by side.")
    ] = None,
    run: RunId = None,
    runs: RunsFolder = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check model and data, then stop.")
    ] = False,
    address: Address = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Certify, attack and report an ONNX classifier that was trained elsewhere.

    With --batch, or with --address, nothing is attacked: all images of a folder or of Parquet
    files are streamed, and each has a row with its class, margin and proven radius.
    """
    from certify.commands.running import carry_out, rehearse
    from certify.submitting.evaluation import evaluation_job

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
        batch=batch or address is not None,
        workers=workers,
    )
    if dry_run:
        rehearse(job, model, folder=Path())
        return
    carry_out(
        job,
        text,
        folder=Path(),
        runs=runs,
        run=run,
        address=address,
        follow=not no_wait,
        as_json=as_json,
    )
