"""The words of a certificate: what its numbers claim, the same in each one of this format.

Whoever writes a certificate and whoever audits one share these and nothing else, so that a
certificate in other words is refused.
"""

import json
from collections.abc import Sequence

FORMAT = "certify certificate 1"
NORM = "L2"
DOMAIN = "float32 images in [0, 1]"
SEMANTICS = {
    "radius": (
        "in exact arithmetic, every real image closer than this in L2 to the certified float32 "
        "image has the same class"
    ),
    "radius_float32": (
        "every float32 image closer than this in L2 has the same class in a float32 runtime that "
        "computes operator by operator as the file says"
    ),
    "output radius": (
        "the column radius as a float32 runtime computes it, lowered by a slack measured on the "
        "certified examples; for a new image rely on the output radius_float32"
    ),
}


def model_metadata(
    *, classes: Sequence[str], lipschitz_bound: float, job_sha256: str, program_sha256: str
) -> dict[str, str]:
    """What the sealed file says of itself, by key.

    Args:
        classes: names in the order of the logits.
        lipschitz_bound: of the logits, in logits per unit of input.
        job_sha256: of the job that it was made for.
        program_sha256: of the program that was bounded.
    """
    return {
        "input_range": "[0, 1]",
        "classes": json.dumps(list(classes), ensure_ascii=False),
        "lipschitz_bound": repr(lipschitz_bound),
        "job_sha256": job_sha256,
        "program_sha256": program_sha256,
        "radius": SEMANTICS["output radius"],
    }
