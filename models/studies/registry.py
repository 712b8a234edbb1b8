"""The studies by name: what each claims, who said it, and where the code is.

Nothing is loaded but this list until a study is run.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from models.errors import InvalidInputError
from models.splits import Dataset
from models.studies.finding import Finding

FACES = "Béthune et al., “Pay attention to your loss”, NeurIPS 2022, arXiv:2104.05097"
HKR = "Serrurier et al., CVPR 2021, arXiv:2006.06520"
SORTING = "Anil, Lucas and Grosse, ICML 2019, arXiv:1811.05381"
Setting = dict[str, Any]
"""What one run of a study is told: numbers and words by name."""
Outcome = dict[str, Any]
"""What one run found: numbers, words and lists by name."""


@runtime_checkable
class Code(Protocol):
    """The file of a study: pure functions of their arguments."""

    READING: tuple[str, ...]
    """How to read the numbers and the figure; paragraphs."""

    def runs(self, *, quick: bool) -> Sequence[Setting]:
        """What is to be run; the runs do not depend on each other."""

    def run(self, setting: Setting, *, seed: int, data: Dataset | None) -> Outcome:
        """One run; `data` is what the study's `images` name."""

    def conclude(self, outcomes: Sequence[Outcome], *, quick: bool) -> Finding:
        """The finding, from the outcomes in the order of the runs."""


@dataclass(frozen=True)
class Study:
    """A claim of the theory and where it is put to the test.

    Attributes:
        name: to type.
        claim: one sentence.
        sources: where it is from.
        images: sources of images of the quick and of the long form, where there are any.
    """

    name: str
    claim: str
    sources: tuple[str, ...]
    images: tuple[str, str] | None = None

    @property
    def code(self) -> Code:
        """The study's file, loaded with all that it needs."""
        module = importlib.import_module(f"models.studies.{self.name.replace('-', '_')}")
        return cast(Code, module)

    def source_of(self, *, quick: bool) -> str | None:
        """The source of images of a form; None where the study needs none."""
        return None if self.images is None else self.images[0 if quick else 1]


STUDIES = (
    Study(
        "boundary",
        "Any decision boundary can be fitted by a 1-Lipschitz network: the constraint takes none "
        "away.",
        (FACES, SORTING),
    ),
    Study(
        "separable",
        "Classes that do not touch can be told apart by a 1-Lipschitz network without an error; "
        "a small temperature trades that away for margin.",
        (FACES,),
    ),
    Study(
        "weak-critic",
        "The most certifiable classifier may be nearly useless: of two interleaved classes the "
        "1-Lipschitz function of the largest mean margin errs almost as often as a coin.",
        (FACES,),
    ),
    Study(
        "divergence",
        "Unconstrained networks have no least log-loss, so their weights grow without end; "
        "1-Lipschitz ones have one, and settle there.",
        (FACES,),
        images=("digits", "digits"),
    ),
    Study(
        "temperature",
        "The temperature of the cross-entropy is the Lipschitz bound in disguise: it decides "
        "which 1-Lipschitz classifier is best, and whether outliers are fetched or given up.",
        (FACES,),
    ),
    Study(
        "transport",
        "Classifying by a 1-Lipschitz function is optimal transport: the largest mean margin is "
        "the Wasserstein-1 distance of the classes, and the losses lie between it and the hinge.",
        (FACES, HKR),
    ),
    Study(
        "tightness",
        "For a signed distance the certificate is exact: no attack needs more than the certified "
        "radius, and none succeeds with less.",
        (FACES, HKR),
        images=("digits", "digits"),
    ),
    Study(
        "front",
        "The dials of a loss move a classifier along the front between accuracy and robustness: "
        "the temperature τ, the hinge’s margin m, HKR’s α.",
        (FACES, HKR),
        images=("digits", "fashion-mnist"),
    ),
    Study(
        "consistency",
        "The gap between training and test loss closes with data for a fixed loss, sooner at a "
        "small temperature τ; random labels can be fitted all the same.",
        (FACES,),
        images=("digits", "fashion-mnist"),
    ),
    Study(
        "capacity",
        "Classifiers that answer only above a margin have a finite VC dimension, which the margin "
        "sets and the architecture does not.",
        (FACES,),
    ),
)
"""In the order of `certify study all`."""


def study_of(name: str) -> Study:
    """The study of a name.

    Raises:
        InvalidInputError: If there is none.
    """
    for study in STUDIES:
        if study.name == name:
            return study
    names = ", ".join(study.name for study in STUDIES)
    raise InvalidInputError(f"study {name!r} is not known; accepted are {names}, all, list")
