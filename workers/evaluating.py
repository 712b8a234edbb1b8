"""Batch evaluation through Ray Data: pieces of a stream go to actors that hold the model.

Only the numbers of pieces go in and only the rows of the answer come out, some 30 bytes an image:
pixels never enter the object store, since each actor reads its own piece from where the data lies.
Pieces come back in any order; which of them are left is for the caller to know.
"""

import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from models.errors import CertifyError, ClusterError, first_line
from workers.answering import Answer, answer_piece, fault_of, told_fault
from workers.sources.stream import Piece
from workers.streamed_data import Streamed
from workers.tasks import reserved_part, share

IN_FLIGHT = 2
"""Pieces that an actor has at a time: one that it answers and one that waits."""
FIELDS = ("number", "rows", "table", "seconds", "peak")


def answer_pieces(
    graph: bytes, streamed: Streamed, pieces: Iterable[Piece], *, actors: int
) -> Iterator[Answer]:
    """Answer pieces on so many actors, of one processor each.

    Args:
        graph: as `answering_graph` gives it.
        streamed: the data.
        pieces: those that are left to do.
        actors: how many run side by side.

    Yields:
        Answers as they come.

    Raises:
        CertifyError: What an actor refused, or that the cluster gave up.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    left = list(pieces)
    if not left:
        return
    _keep_quiet()
    numbers = ray.data.from_items(
        [{"number": piece.number} for piece in left], override_num_blocks=len(left)
    )
    placed = {} if reserved_part() is None else {"scheduling_strategy": reserved_part()}
    answers = numbers.map_batches(
        _Answering,
        fn_constructor_args=(share((graph, streamed, {piece.number: piece for piece in left})),),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            size=min(actors, len(left)), max_tasks_in_flight_per_actor=IN_FLIGHT
        ),
        num_cpus=1,
        **placed,
    )
    try:
        rows = iter(answers.iter_rows())
        with _silent_start():
            first = list(itertools.islice(rows, 1))
        for row in itertools.chain(first, rows):
            if row["fault"]:
                raise fault_of(row["fault"], row["message"])
            yield Answer(**{name: row[name] for name in FIELDS})
    except RayTaskError:
        raise  # a bug
    except RayError as fault:
        raise ClusterError(f"the evaluation was given up: {first_line(fault)}") from None


class _Answering:
    """An actor that holds the model and answers one piece after the other."""

    def __init__(self, shared: Any) -> None:
        import ray

        self._graph, self._streamed, self._pieces = ray.get(shared)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (number,) = batch["number"]
        nothing = {"rows": 0, "table": b"", "seconds": 0.0, "peak": 0, "fault": "", "message": ""}
        found: dict[str, Any] = nothing | {"number": int(number)}
        try:
            answer = answer_piece(self._graph, self._streamed, self._pieces[int(number)])
            found |= vars(answer)
        except CertifyError as fault:  # Ray Data would wrap it in a report of its own
            found["fault"], found["message"] = told_fault(fault)
        return {name: [value] for name, value in found.items()}


def _keep_quiet() -> None:
    """Ray Data tells of its plans and bars on stderr, which is ours."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


@contextmanager
def _silent_start() -> Iterator[None]:
    """Keep what compiled code writes to stderr from the user, for as long as the block lasts.

    Ray's core warns of every actor of Ray Data's that its arguments could be lost.  They cannot:
    this process holds them.  No setting of its log spares the line without another in its place.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
