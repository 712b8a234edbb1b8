"""The figures of a run, each derived from rows, in an order that no honest run can break.

On the same examples: certified accuracy ≤ robust accuracy under attack ≤ clean accuracy.  The
left half fails where an attack broke a certificate, and that is what `refuted` means; the right
half fails where the two tables speak of different models.  A summary that breaks the order
without saying `refuted` is refused: one of its tables is wrong.
"""

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa

from models.errors import CertifyError
from reports.changes import Searched, search_figures
from reports.rows import Attacked, Examples, attacked_at, certified_at, fates_at, read_certificates

VERDICTS = ("passed", "gate_failed", "refuted", "incomplete")


def summarise(  # noqa: PLR0913 - one argument a thing that a run has found
    *,
    run: str,
    verdict: str,
    certificates: pa.Table,
    attacks: pa.Table,
    radius_attacks: pa.Table,
    eps: tuple[float, ...],
    lipschitz_bound: float,
    violations: int,
    seconds: dict[str, float],
    gates: list[dict[str, Any]],
    searched: Searched | None = None,
) -> dict[str, Any]:
    """The contents of summary.json.

    Args:
        run: id of the run.
        verdict: passed, gate_failed, refuted or incomplete.
        certificates: a row a test example.
        attacks: a row an example and ε, the same examples at every ε; one that is certified
            there may be left alone, and then names no attack.
        radius_attacks: a row an example that was attacked inside its own radius.
        eps: budgets to report, L2 in input units; given back in rising order.
        lipschitz_bound: proven for all logits together, in logits per input unit.
        violations: certificates that an attack broke.
        seconds: time taken, by stage.
        gates: `gate`, `found` and `passed` of each gate of the job.
        searched: what was looked for beside attacks at an ε, where that was done.

    Returns:
        Accuracies are fractions.  The lists `certified_accuracy`, `certified_accuracy_float32`
        (null if no example has such a radius), `certified_accuracy_attacked` and
        `robust_accuracy` stand beside `eps`.  `mean_certified_radius` is over all test examples:
        a right one counts with its radius, a wrong one with 0.  `left_alone` counts, beside `eps`,
        examples that no attack was spent on since they are certified there, and `rivals_left_out`
        the rivals of others that targeted attacks did not aim at, being proven out of reach.
        `rejected_claims` counts breaks that an attack claimed, of right examples, and that the
        recheck did not confirm.  `search` holds the figures of `reports.changes`, or null.  In an
        incomplete run the attacked examples are those attacked at every ε; without any, the
        figures on them are null.

    Raises:
        CertifyError: If a table is empty, an ε has no or other attacked examples, the order fails,
            or the verdict contradicts violations or gates.
    """
    _refuse_bad_request(verdict, violations=violations, gates=gates, eps=eps)
    if not lipschitz_bound >= 0:  # a NaN too; infinity is a legal bound
        raise CertifyError(f"expected a Lipschitz bound of at least 0, found {lipschitz_bound}")
    eps = tuple(sorted(float(each) for each in eps))
    examples = read_certificates(certificates)
    attacked = [attacked_at(attacks, each, examples=len(examples)) for each in eps]
    attacked = _on_the_same_examples(attacked, eps=eps, incomplete=verdict == "incomplete")
    for each, at_eps in zip(eps, attacked, strict=True):
        _refuse_broken_order(examples, at_eps, each, refuted=verdict == "refuted")

    rows = attacked[0].row
    claims = [(at.claimed & at.robust & examples.correct[at.row]).sum() for at in attacked]
    float32 = None
    if not np.isnan(examples.radius_float32).all():
        float32 = [_mean(certified_at(examples, each, column="radius_float32")) for each in eps]
    return {
        "run": run,
        "verdict": verdict,
        "violations": int(violations),
        "test_examples": len(examples),
        "clean_accuracy": _mean(examples.correct),
        "eps": list(eps),
        "certified_accuracy": [_mean(certified_at(examples, each)) for each in eps],
        "certified_accuracy_float32": float32,
        "mean_certified_radius": float(np.where(examples.correct, examples.radius, 0.0).mean()),
        "attacked_examples": len(rows),
        "attacks": _names(attacks),
        "left_alone": [int((at.left_alone & at.robust).sum()) for at in attacked],
        "rivals_left_out": [int(at.left_out.sum()) for at in attacked],
        "radius_attacked_examples": len(radius_attacks),
        "clean_accuracy_attacked": _mean(examples.correct[rows]),
        "certified_accuracy_attacked": [_mean(certified_at(examples, each)[rows]) for each in eps],
        "robust_accuracy": [_mean(at.robust) for at in attacked],
        "rejected_claims": int(sum(claims)),
        "search": searched and search_figures(searched, examples, attacked, eps),
        "lipschitz_bound": float(lipschitz_bound),
        "gates": [dict(gate) for gate in gates],
        "seconds": {stage: float(taken) for stage, taken in seconds.items()},
    }


def _refuse_bad_request(
    verdict: str, *, violations: int, gates: list[dict[str, Any]], eps: tuple[float, ...]
) -> None:
    if verdict not in VERDICTS:
        raise CertifyError(f"verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    if violations < 0 or (violations > 0) != (verdict == "refuted"):
        raise CertifyError(
            f"{violations} broken certificates and the verdict {verdict!r} contradict each other; "
            "accepted is 'refuted' with at least one, and any other verdict with none"
        )
    failed = [str(gate["gate"]) for gate in gates if not gate["passed"]]
    if verdict == "passed" and failed:
        raise CertifyError(f"the verdict is 'passed', and a gate fails: {', '.join(failed)}")
    if verdict == "gate_failed" and not failed:
        raise CertifyError("the verdict is 'gate_failed', and no gate fails")
    if not eps or len(set(eps)) < len(eps) or not all(math.isfinite(e) and e > 0 for e in eps):
        raise CertifyError(f"expected ε that are positive and differ, found {list(eps)}")


def _on_the_same_examples(
    attacked: list[Attacked], *, eps: tuple[float, ...], incomplete: bool
) -> list[Attacked]:
    """Attack rows on one set of examples; in an incomplete run, those attacked at every ε."""
    if not incomplete:
        for each, at_eps in zip(eps, attacked, strict=True):
            if not len(at_eps.row):
                raise CertifyError(f"no example was attacked at ε {each}")
            if not np.array_equal(at_eps.row, attacked[0].row):
                raise CertifyError(
                    f"at ε {each} {len(at_eps.row)} examples were attacked, not the "
                    f"{len(attacked[0].row)} of ε {eps[0]}; accepted are the same at every ε"
                )
        return attacked
    everywhere = attacked[0].row
    for at_eps in attacked[1:]:
        everywhere = np.intersect1d(everywhere, at_eps.row)
    return [at_eps.kept(np.isin(at_eps.row, everywhere)) for at_eps in attacked]


def _refuse_broken_order(
    examples: Examples, attacked: Attacked, eps: float, *, refuted: bool
) -> None:
    """Certified implies robust implies right, example by example: more than the three means.

    A break at a distance below the radius counts too, where the radius is not above ε.
    """
    fates = fates_at(examples, attacked, eps)
    right = examples.correct[attacked.row]  # what is wrong as it is needs no attack
    untried = attacked.left_alone & right & ~certified_at(examples, eps)[attacked.row]
    if untried.any():
        raise CertifyError(
            f"row {attacked.row[untried][0]} was not attacked at ε {eps}, and is not certified "
            "there; accepted is one of both"
        )
    against_proof = fates.refuted & (not refuted)
    against_tables = fates.wrong & attacked.robust
    if against_proof.any() or against_tables.any():
        place = int(np.flatnonzero(against_proof | against_tables)[0])
        row = int(attacked.row[place])
        certified = certified_at(examples, eps)[attacked.row].mean()
        clean = examples.correct[attacked.row].mean()
        raise CertifyError(
            f"the order certified ≤ robust ≤ clean fails at ε {eps}, first at row {row} (radius "
            f"{examples.radius[row]:.6g}, distance {attacked.distance[place]:.6g}): found "
            f"{certified:.2%}, {attacked.robust.mean():.2%} and {clean:.2%} of the same "
            f"{len(attacked.row)} examples"
        )


def _names(attacks: pa.Table) -> list[str]:
    """Names of the attacks that ran, in the order in which the table first names them."""
    lists = attacks["attacks"].unique().to_pylist()
    return list(
        dict.fromkeys(name for each in lists for name in re.split(r"[\s,;+]+", each) if name)
    )


def _mean(of: np.ndarray) -> float | None:
    return float(of.mean()) if len(of) else None
