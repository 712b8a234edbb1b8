"""A sweep from its first trial to its report."""

import math
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os.path import relpath
from pathlib import Path
from typing import Any

from certify.jobs.job import JobSpec
from certify.jobs.space import Values
from certify.jobs.sweep import Sweep
from certify.runs.interruption import obey
from certify.runs.run import Run
from certify.runs.run_dir import RunDir
from certify.stages.proposals import Rounds, Score, rounds
from certify.stages.trial import Trial, chain, on_validation
from models.errors import CertifyError, JobError
from reports.front import judged
from reports.sweep import render_sweep
from workers import trials as side
from workers.shards import run_chains
from workers.storage.places import is_url

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Search:
    """One execution of a sweep.

    Attributes:
        sweep: what is asked for.
        run: the sweep's own folder and record, an example of its jobs, and the data.
        origin: where relative paths of the job begin.
        trials: those that were proposed so far.
    """

    sweep: Sweep
    run: Run
    origin: Path
    trials: list[Trial] = field(default_factory=list)


def run_sweep(search: Search) -> dict[str, Any]:
    """Make every trial that has not been made, then the report.

    Returns:
        The summary.

    Raises:
        CertifyError: If no trial could be certified, or the cluster or the disk gives up.
    """
    run, proposals = search.run, rounds(search.sweep)
    parts = side.share_parts(run.dataset)
    proposed = next(proposals)
    with run.recorded("trials"):
        while True:
            first = len(search.trials)
            for values in proposed:
                search.trials.append(_trial(search, len(search.trials) + 1, values))
            _make(search, search.trials[first:], parts)
            answer = [_score(trial, search.sweep.eps) for trial in search.trials[first:]]
            following = _next_round(proposals, answer)
            if following is None:
                break
            proposed = following
    with run.recorded("report"):
        summary = summarise(search)
        run.dir.write_json(SUMMARY, summary)
        run.dir.write("report.html", render_sweep(summary))
    ended = [trial for trial in summary["trials"] if trial["failed"] is None]
    if not ended:
        raise CertifyError(
            f"all {len(search.trials)} trials failed; the first: {summary['trials'][0]['failed']}"
        )
    front = sum(trial["dominated_by"] is None for trial in ended)
    run.note(
        "SUCCEEDED", reason=f"{len(search.trials)} trials, {front} not dominated", exit_status=0
    )
    return summary


def summarise(search: Search) -> dict[str, Any]:
    """What every trial came to, in shares of the validation part, and which others beat it."""
    job, found = search.run.job, []
    for trial in search.trials:
        result = trial.result()
        row: dict[str, Any] = {
            "trial": trial.number,
            "run": trial.run.dir.run,
            "values": trial.values,
            "failed": result.get("failed"),
        }
        if row["failed"] is None:
            row |= {
                "clean_accuracy": result["correct"] / result["examples"],
                "certified_accuracy": [n / result["examples"] for n in result["certified"]],
                "lipschitz_bound": result["lipschitz_bound"],
                "epochs": result["epochs"],
                "training_seconds": result["training_seconds"],
            }
        found.append(row)
    judging = job.eps.index(search.sweep.eps)
    return {
        "run": search.run.dir.run,
        "name": job.name,
        "method": search.sweep.spec.method,
        "eps": list(job.eps),
        "judging": judging,
        "part": "validation",
        "examples": len(search.run.dataset.validation),
        "trials": judged(found, judging=judging),
    }


def sweep_report(run_dir: RunDir) -> str:
    """The report of a sweep again, from its summary alone.

    Raises:
        JobError: If it has not ended.
    """
    if not run_dir.has(SUMMARY):
        raise JobError(
            f"no report can be made of {run_dir.where()}; accepted is a run that has ended"
        )
    return render_sweep(run_dir.read_json(SUMMARY))


def _make(search: Search, new: list[Trial], parts: tuple[Any, Any]) -> None:
    """Run trials side by side to their ends; those that have ended are left alone."""
    run = search.run
    waiting = [trial for trial in new if not trial.over]
    begun: list[Generator[Any, Any, None]] = []

    def chains() -> Iterator[Generator[Any, Any, None]]:
        for trial in waiting:
            begun.append(chain(trial, parts))
            yield begun[-1]

    total, before = len(search.trials), len(search.trials) - len(waiting)
    with run.follow("trials", total=total, unit="trials") as progress:
        progress.advance(before)
        room = side.side_by_side(run.job.resources)
        try:
            for _ in run_chains(chains(), at_once=room, deadline=math.inf):
                ended = sum(trial.over for trial in search.trials)
                progress.advance(ended - progress.done)
            progress.advance(total - progress.done)
        except BaseException as fault:  # the trials that it cuts off say so in their records
            wish = KeyboardInterrupt(str(fault) or "interrupted")
            for each in begun:
                with suppress(KeyboardInterrupt, StopIteration):
                    each.throw(wish)
            raise


def _trial(search: Search, number: int, values: Values) -> Trial:
    run_dir = RunDir(search.run.dir.path.parent, f"{search.run.dir.run}-{number:03d}")
    job = _findable(search.sweep.job(values), search.origin, run_dir)
    dataset = on_validation(search.run.dataset)
    run = replace(search.run, job=job, dataset=dataset, dir=run_dir)
    return Trial(run, search.run.dir.run, number, values, search.origin)


def _findable(job: JobSpec, origin: Path, run_dir: RunDir) -> JobSpec:
    """The job with its data where the trial's own file, in its own folder, finds them."""
    if job.data.path is None or is_url(job.data.path):
        return job
    path = Path(job.data.path).expanduser()
    if not path.is_absolute():
        path = origin / path
        if not run_dir.shared:  # a step up from a link leads out of the folder that it names
            path = Path(relpath(path, run_dir.path.resolve()))
    return job.model_copy(update={"data": job.data.model_copy(update={"path": str(path)})})


def _score(trial: Trial, eps: float) -> Score | None:
    result = trial.result()
    if "failed" in result:
        return None
    certified = result["certified"][result["eps"].index(eps)]
    return result["correct"] / result["examples"], certified / result["examples"]


def _next_round(proposals: Rounds, answer: list[Score | None]) -> list[Values] | None:
    obey()
    try:
        return proposals.send(answer)
    except StopIteration:
        return None
