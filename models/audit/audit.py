"""An audit of a run: nothing that its certificate says is taken on trust.

"Holds" means: with bounds that this program proved itself, by other methods than the prover's, no
number of the certificate is certainly wrong.  A claimed bound may be below the audit's own by the
allowance of `bounds.ALLOWED` a step; radii are judged with the larger of the two.  What is not
recomputed is listed as "not checked", never as holding.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.audit.bounds import confirmed_bounds, confirmed_errors
from models.audit.documents import Images, certified_images, read_documents
from models.audit.evaluation import evaluate
from models.audit.graph import read_graph
from models.audit.radii import check_outputs, check_radii, check_tables
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


def audit(
    folder: Path,
    *,
    model: Path | None = None,
    data: Images | None = None,
    sample: int | None = None,
) -> list[Check]:
    """Check everything that can be checked with what is given.

    Args:
        folder: holds `certificate.json` and its neighbours.
        model: the file that ships, if it is elsewhere.
        data: the certified images, and perhaps others.
        sample: how many rows to recompute, chosen with seed 0; all if left out.

    Raises:
        VerificationError: Naming the first thing that does not hold.
    """
    try:
        return _checks(folder, model, data, sample)
    except (LookupError, TypeError, ValueError, AttributeError) as fault:
        raise VerificationError(f"files: a document lacks, or misshapes, {fault}") from None


def _checks(
    folder: Path, model: Path | None, data: Images | None, sample: int | None
) -> list[Check]:
    documents = read_documents(folder, model)
    rows = documents.rows
    count = len(rows["index"])
    done = [Check("files", HOLDS, f"{count} rows; hashes and counts are as claimed")]
    graph = read_graph(documents.model)
    done.append(Check("operators", HOLDS, f"{len(graph.steps)} steps"))
    factors, pairs = confirmed_bounds(graph, documents.bounds)
    evaluate(graph, np.zeros((2, *graph.shape), np.float32), factors)  # every form fits
    bound = documents.bounds["lipschitz_bound"]
    done.append(Check("bounds", HOLDS, f"{len(factors)} factors, logits at most {bound:.6g}"))
    check_tables(graph, documents, pairs)
    done.append(Check("tables in the file", HOLDS, f"{len(pairs)} classes"))
    errors = confirmed_errors(graph, documents.bounds)
    done.append(Check("rounding errors", HOLDS, f"A and B of {errors}"))
    if data is None:
        done.append(
            Check(
                "predictions, radii, outputs",
                NOT_CHECKED,
                "the data was not found; give it with --data",
            )
        )
        return done
    images = certified_images(data, documents)
    if sample is not None and sample < count:
        chosen = np.sort(np.random.default_rng(0).choice(count, sample, replace=False))
        images, rows = images[chosen], {name: column[chosen] for name, column in rows.items()}
    float32 = documents.bounds["float32"]
    confirmed = check_radii(graph, images, rows, factors=factors, pairs=pairs, float32=float32)
    done.append(Check("data", HOLDS, "hash and labels are as claimed"))
    done.append(Check("radii", HOLDS, f"{confirmed} of {len(images)} rows confirmed outright"))
    shortfall = check_outputs(documents.model, graph, images, rows)
    done.append(Check("sealed file", HOLDS, f"at most {shortfall:.2g} below the table"))
    return done
