"""A real Ray cluster on this machine: actors that are killed, a node that comes later, GPUs that are set aside."""

import json
import os
import signal
import warnings

import pytest

from editbench.config import RunConfig
from editbench.loops import carry_out
from editbench.plan import make_plan
from editbench.store import RunStore
from editbench.types import EditbenchError

SUITE = "shapes@1:size=64"
METRICS = "mae:region=keep,psnr:region=all"

WITNESS = """
import json, os, pathlib, time
class Witness:
    mask_access = "none"
    def start(self):
        import ray
        seen = {"pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
        if ray.is_initialized():
            seen["node"] = ray.get_runtime_context().get_node_id()
        pathlib.Path(FOLDER, f"seat-{os.getpid()}.json").write_text(json.dumps(seen))
    def edit(self, requests):
        time.sleep(0.05)
        folder, end = pathlib.Path(FOLDER), time.monotonic() + 60
        while len([*folder.glob("wanted-*")]) > len([*folder.glob("seat-*")]) and time.monotonic() < end:
            time.sleep(0.05)
        with open(pathlib.Path(FOLDER, f"edits-{os.getpid()}"), "a") as file:
            file.write("x" * len(requests))
        return [255 - request.source for request in requests]
"""


@pytest.fixture(scope="module")
def cluster():
    """Two cores on one node, and a GPU that is only said to be there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        import ray
        from ray.cluster_utils import Cluster

        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
        yield started
        ray.shutdown()
        started.shutdown()


@pytest.fixture
def witness(tmp_path):
    """An editor that leaves a note for each process that holds it, and counts its edits."""
    (tmp_path / "witness.py").write_text(f"FOLDER = {str(tmp_path)!r}\n{WITNESS}")
    return f"{tmp_path}/witness.py:Witness"


def plan_for(path, editor, cluster=None, limit=12, **options):
    executor = {} if cluster is None else {"executor": f"ray:{cluster.address}"}
    more = {"metrics": METRICS, "limit": limit, "output_dir": str(path), "isolate": False, **executor}
    return make_plan(RunConfig(SUITE, editor, **{**more, **options}))


def carried_out(plan, after_step=lambda step: None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        for step in carry_out(plan):
            after_step(step)
    return (plan.store.path / "records.jsonl").read_bytes()


def want(path, count):
    """Let all edits wait until so many processes have an editor, or had one."""
    for number in range(count):
        (path / f"wanted-{number}").touch()


def seats(path):
    return [json.loads(note.read_text()) for note in sorted(path.glob("seat-*.json"))]


def test_ray_leaves_the_bytes_of_one_process_and_loads_once_an_actor(tmp_path, cluster, witness):
    want(tmp_path, 2)
    records = carried_out(plan_for(tmp_path / "run", witness, cluster, workers=2, limit=24))
    assert len(seats(tmp_path)) == 2
    assert sorted(tmp_path.glob("edits-*")) and sum(p.stat().st_size for p in tmp_path.glob("edits-*")) == 24
    assert carried_out(plan_for(tmp_path / "alone", witness, limit=24)) == records


def test_an_actor_that_is_killed_costs_nothing(tmp_path, cluster, witness):
    killed = []
    want(tmp_path, 2)  # each has work at hand, and not all is given out: one without would not be missed

    def kill(step):
        if not killed and step.done >= 4:
            killed.append(seats(tmp_path)[0]["pid"])
            want(tmp_path, 3)  # the others do not end the run before another one has come
            os.kill(killed[0], signal.SIGKILL)

    records = carried_out(plan_for(tmp_path / "run", witness, cluster, workers=2, limit=120), kill)
    assert killed and len(seats(tmp_path)) == 3, "another one took its seat"
    assert carried_out(plan_for(tmp_path / "alone", witness, limit=120)) == records


def test_gpus_are_set_aside_and_say_how_many_fit(tmp_path, cluster, witness):
    """Each of two actors has a half of the one GPU."""
    want(tmp_path, 2)
    carried_out(plan_for(tmp_path / "run", witness, cluster, gpus_per_worker=0.5, limit=24))
    assert [seat["gpus"] for seat in seats(tmp_path)] == ["0", "0"]


def test_a_run_that_is_stopped_leaves_no_actor_and_can_go_on_without_ray(tmp_path, cluster, witness):
    plan = plan_for(tmp_path / "run", witness, cluster, workers=2, limit=24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steps = carry_out(plan)
        next(steps)
        steps.close()
    made = len(RunStore(tmp_path / "run").records().records)
    assert 0 < made < 24
    for pid in (seat["pid"] for seat in seats(tmp_path)):
        wait_until_gone(pid)
    records = carried_out(plan_for(tmp_path / "run", witness, limit=24))
    assert records == carried_out(plan_for(tmp_path / "alone", witness, limit=24))


def wait_until_gone(pid):
    import psutil

    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


def test_a_machine_that_comes_later_takes_its_share(tmp_path, cluster, witness):
    """One more actor than there are cores waits for a place, and is not waited for."""
    nodes = []

    def add(step):
        if not nodes and step.done >= 3:
            nodes.append(cluster.add_node(num_cpus=1))
            want(tmp_path, 3)  # nobody goes on before its actor has come

    records = carried_out(plan_for(tmp_path / "run", witness, cluster, workers=3, limit=160), add)
    assert len({seat["node"] for seat in seats(tmp_path)}) == 2 and len(seats(tmp_path)) == 3
    cluster.remove_node(nodes[0])
    assert records.count(b'"edit_status":"ok"') == 160


def test_a_machine_that_goes_takes_nothing_with_it(tmp_path, cluster, witness):
    node = cluster.add_node(num_cpus=2, resources={"late": 1})
    want(tmp_path, 4)
    gone = []

    def remove(step):
        if not gone and step.done >= 8 and len(seats(tmp_path)) == 4:
            gone.append(node)
            cluster.remove_node(node, allow_graceful=False)

    records = carried_out(plan_for(tmp_path / "run", witness, cluster, workers=4, limit=80), remove)
    assert gone
    assert carried_out(plan_for(tmp_path / "alone", witness, limit=80)) == records


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_no_cluster_is_told_at_once(tmp_path, address):
    with pytest.raises(EditbenchError, match=rf"executor ray:{address}: no cluster there \(Connection refused\)"):
        carried_out(plan_for(tmp_path / "run", "identity", executor=f"ray:{address}"))
