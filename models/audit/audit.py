"""An audit of a run: nothing that its certificate says is taken on trust.

"Holds" means: with bounds that this program proved itself, by other methods than the prover's, no
number of the certificate is certainly wrong.  A claimed bound may be below the audit's own by the
allowance of `bounds.allowance`; radii are judged with the larger of the two.  What is not
recomputed is listed as "not checked", never as holding.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.audit.bounds import confirmed_bounds, confirmed_errors
from models.audit.descriptions import check_descriptions
from models.audit.documents import Documents, read_documents
from models.audit.evaluation import evaluate
from models.audit.graph import Graph, read_graph
from models.audit.images import Images, certified_images
from models.audit.outputs import check_outputs, check_refusals
from models.audit.radii import check_radii
from models.audit.sealed import check_sealed, read_sealed
from models.errors import VerificationError

HOLDS, NOT_CHECKED = "holds", "not checked"


@dataclass(frozen=True)
class Check:
    """One line of an audit."""

    name: str
    verdict: str
    figure: str

    def to_json(self) -> dict[str, Any]:
        """As texts."""
        return asdict(self)


@dataclass(frozen=True)
class Sample:
    """Rows that are drawn to be recomputed.

    Attributes:
        rows: how many.
        seed: of the draw.  Whoever knows it beforehand can forge the other rows.
    """

    rows: int
    seed: int


def audit(
    folder: Path,
    *,
    model: Path | None = None,
    data: Images | None = None,
    sample: Sample | None = None,
) -> Iterator[Check]:
    """Check everything that can be checked with what is given, one thing after the other.

    Args:
        folder: holds `certificate.json` and its neighbours.
        model: the file that ships, if it is elsewhere.
        data: the test part that was certified.
        sample: which rows to recompute; all if left out.

    Raises:
        VerificationError: Naming the first thing that does not hold.
    """
    try:
        yield from _checks(folder, model, data, sample)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
        reason = " ".join(str(fault).split())
        raise VerificationError(f"files: a document lacks, or misshapes, {reason}") from None
    except (MemoryError, RecursionError):
        raise VerificationError("files: a document asks for more memory than there is") from None


def _checks(
    folder: Path, model: Path | None, data: Images | None, sample: Sample | None
) -> Iterator[Check]:
    documents = read_documents(folder, model)
    count = len(documents.rows["index"])
    yield Check("files", HOLDS, f"{count} rows; hashes, counts and words are as claimed")
    sealed = read_sealed(documents.model)
    graph = read_graph(documents.model)
    if list(graph.shape) != documents.certificate.input_shape:
        raise VerificationError("operators: model.onnx takes images of another shape")
    check_descriptions(documents.model, documents.proof)
    yield Check("operators", HOLDS, f"{len(graph.steps)} steps")
    factors, pairs = confirmed_bounds(graph, documents.bounds)
    logits, _ = evaluate(graph, np.zeros((2, *graph.shape), np.float32), factors)  # every form fits
    if logits.shape != (2, len(pairs)):
        raise VerificationError(f"operators: model.onnx gives {logits.shape[1:]} logits")
    bound = documents.proof.lipschitz_bound
    yield Check("bounds", HOLDS, f"{len(factors)} factors, logits at most {bound:.6g}")
    errors = confirmed_errors(graph, documents.bounds)
    yield Check("rounding errors", HOLDS, f"A and B of {errors}")
    check_sealed(sealed, documents, pairs)
    check_refusals(documents.model, graph.shape)
    yield Check("sealed file", HOLDS, f"{len(sealed.outputs)} formulas, {len(pairs)} classes")
    if data is None:
        words = "the data was not found; give it with --data"
        yield Check("data, predictions, radii, outputs", NOT_CHECKED, words)
    else:
        yield from _row_checks(documents, graph, factors, pairs, data=data, sample=sample)


def _row_checks(
    documents: Documents,
    graph: Graph,
    factors: list[float],
    pairs: np.ndarray,
    *,
    data: Images,
    sample: Sample | None,
) -> Iterator[Check]:
    """The table, row by row, and what the file answers to its images."""
    images, rows = certified_images(data, documents), documents.rows
    yield Check("data", HOLDS, f"{len(images)} images of {data.origin}, all of its test part")
    drawn = ""
    if sample is not None and sample.rows < len(images):
        generator = np.random.default_rng(sample.seed)
        chosen = np.sort(generator.choice(len(images), sample.rows, replace=False))
        drawn = f", drawn from {len(images)} with seed {sample.seed}"
        images, rows = images[chosen], {name: column[chosen] for name, column in rows.items()}
    float32 = documents.bounds["float32"]
    confirmed = check_radii(graph, images, rows, factors=factors, pairs=pairs, float32=float32)
    yield Check("radii", HOLDS, f"{confirmed} of {len(images)} rows confirmed outright{drawn}")
    measured = documents.certificate.sealed_radius
    shortfall = check_outputs(
        documents.model,
        images,
        rows,
        claimed=measured.largest_shortfall,
        slack=measured.slack,
    )
    yield Check("outputs", HOLDS, f"at most {shortfall:.2g} below the table")
