"""What the trials of a sweep share: the parts in the cluster's memory, and its processors.

A trial computes on as many processors as one worker has, so its digits do not depend on how many
trials run side by side.
"""

from dataclasses import replace
from typing import Any

from models.spec import ResourcesSpec
from models.splits import Dataset
from workers.cluster import all_cpus
from workers.lessons import Lesson
from workers.tasks import share


def share_parts(dataset: Dataset) -> tuple[Any, Any]:
    """References to the training and the validation part, where all workers can read them."""
    return share(dataset.train), share(dataset.validation)


def of_one_worker(told: Lesson, resources: ResourcesSpec) -> Lesson:
    """The same lesson on the processors of one worker."""
    return replace(told, workers=1, threads=resources.cpus_per_worker or 1)


def side_by_side(resources: ResourcesSpec) -> int:
    """How many trials there is room for."""
    return max(1, all_cpus(resources) // (resources.cpus_per_worker or 1))
