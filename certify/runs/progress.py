"""Progress for whoever waits: bars on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from certify.runs.interruption import obey

QUIET_SECONDS = 30.0
"""Seconds between two lines of one stage, where there is no terminal."""
RECORD_SECONDS = 1.0
"""Seconds between two records of how far a stage is."""


@dataclass
class StageProgress:
    """How far one stage is."""

    name: str
    total: int
    unit: str
    console: Console
    record: Callable[[int], None]
    bars: Progress | None = None
    task: TaskID | None = None
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    spoke: float = field(default_factory=time.monotonic)
    recorded: float = -RECORD_SECONDS

    def advance(self, count: int = 1, *, note: str = "") -> None:
        """Say that `count` more units are done."""
        obey()
        self.done += count
        if time.monotonic() - self.recorded >= RECORD_SECONDS:
            self.recorded = time.monotonic()
            self.record(self.done)
        if self.bars is not None and self.task is not None:
            self.bars.update(self.task, completed=self.done, note=note)
        elif time.monotonic() - self.spoke >= QUIET_SECONDS:
            self.spoke = time.monotonic()
            left = (self.spoke - self.started) / max(self.done, 1) * (self.total - self.done)
            self.console.print(
                f"{self.name}: {self.done}/{self.total} {self.unit}, {left:.0f} s left {note}",
                highlight=False,
            )


class Reporter:
    """Opens a bar or a line for each stage, on stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    def say(self, text: str) -> None:
        """One line for the user."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def stage(
        self, name: str, *, total: int, unit: str, record: Callable[[int], None]
    ) -> Iterator[StageProgress]:
        """Follow a stage from its start to its end.

        Args:
            name: of the stage.
            total: units of work in it.
            unit: what is counted, in the plural.
            record: told how many are done, about once a second.
        """
        started = time.monotonic()
        bars = self._bars(unit) if self.console.is_terminal else None
        task = None if bars is None else bars.add_task(name, total=total, note="")
        progress = StageProgress(name, total, unit, self.console, record, bars, task)
        with bars or nullcontext():
            try:
                yield progress
            finally:
                record(progress.done)
        self.say(f"{name:<8} {time.monotonic() - started:6.1f} s   {progress.done} {unit}")

    def _bars(self, unit: str) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
            transient=True,
        )
