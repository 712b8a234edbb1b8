"""A Ray of this process's own."""

from models.spec import ResourcesSpec
from tests.ray_tasks import attempt
from workers.cluster import embedded_cluster
from workers.tasks import remote, result


def test_one_process_may_have_a_ray_after_another(tmp_path):
    for number in range(2):
        with embedded_cluster(ResourcesSpec(workers=1, cpus_per_worker=1)):
            assert result(remote(attempt).remote(str(tmp_path), number, [0])) == number
