"""The plan of 10⁸ edits agrees with arithmetic where there is some, and its program with the code that it measures."""

import math
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest

PROGRAM = Path(__file__).parent / "benchmarks" / "plan_of_scale.py"
plan = SimpleNamespace(**run_path(str(PROGRAM)))
NEVER = 1e15
"""Hours."""


@pytest.mark.parametrize("writer", [0.0, 0.001, 0.1])
def test_without_failures_a_pool_takes_what_gpus_or_its_writer_take(writer):
    fleet = plan.Fleet(64, 1.5, writer=writer, node_hours=NEVER)
    made = plan.in_one_pool(10**8, fleet, seed=0)
    assert made.seconds == pytest.approx(plan.without_failures(10**8, fleet))
    assert made.nodes_lost == made.lost_gpu_seconds == 0
    assert (made.seconds > 10**8 * 1.5 / 64 + 1000) == (writer == 0.1)


def test_without_failures_shards_take_what_gpus_take():
    fleet = plan.Fleet(64, 1.5, node_hours=NEVER)
    made = plan.in_shards(10**8, fleet, seed=0)
    assert made.seconds == pytest.approx(plan.without_failures(10**8, fleet))
    assert made.gpu_seconds == pytest.approx(64 * made.seconds)


@pytest.mark.parametrize("name", ["in_one_pool", "in_shards"])
@pytest.mark.parametrize("chunk", [1, 32])
def test_failures_cost_half_a_chunk_each_and_are_as_many_as_the_law_says(name, chunk):
    """Within four standard errors: the workers of a node are lost at one instant, evenly distributed over a chunk."""
    fleet = plan.Fleet(512, 8.0, chunk, node_hours=100)
    made = getattr(plan, name)(10**8, fleet, seed=1)
    lived = 10**8 * fleet.edit + made.lost_gpu_seconds  # GPU seconds of work
    lost = lived / plan.GPUS_A_NODE / 3600 / fleet.node_hours
    assert abs(made.nodes_lost - lost) <= 4 * math.sqrt(lost)
    expected = plan.expected_loss(fleet, made.nodes_lost)
    error = plan.GPUS_A_NODE * chunk * fleet.edit / math.sqrt(12 * made.nodes_lost)
    assert abs(made.lost_gpu_seconds - expected) <= 4 * error * made.nodes_lost
    assert made.seconds > plan.without_failures(10**8, fleet)


def test_the_time_of_a_pool_is_work_and_what_is_away_after_failures():
    """In the long run a node is there for its mean life of each mean life and replacement."""
    fleet = plan.Fleet(512, 8.0, chunk=32, node_hours=0.5)
    made = plan.in_one_pool(10**8, fleet, seed=2)
    there = 1800 / (1800 + fleet.replace + fleet.start)
    work = (10**8 * fleet.edit + made.lost_gpu_seconds) / fleet.gpus
    assert made.lost_gpu_seconds > 0.05 * 10**8 * fleet.edit
    assert made.seconds == pytest.approx(work / there, rel=0.01)


def test_the_time_of_shards_is_work_and_what_is_away_after_failures():
    fleet = plan.Fleet(512, 8.0, chunk=32, node_hours=0.5)
    made = plan.in_shards(10**7, fleet, seed=2)
    away = plan.GPUS_A_NODE * made.nodes_lost * (fleet.replace + fleet.start) + fleet.gpus * fleet.start
    assert made.lost_gpu_seconds > 0.05 * 10**7 * fleet.edit
    assert made.gpu_seconds == pytest.approx(10**7 * fleet.edit + made.lost_gpu_seconds + away)
    assert made.seconds > made.gpu_seconds / fleet.gpus


def test_a_pool_that_waits_for_its_writer_loses_no_time_to_failures():
    fleet = plan.Fleet(4096, 1.5, writer=0.01, node_hours=100)
    made = plan.in_one_pool(10**8, fleet, seed=3)
    assert made.nodes_lost > 100
    assert made.seconds == pytest.approx(plan.without_failures(10**8, fleet))
    assert made.lost_gpu_seconds < made.nodes_lost * plan.GPUS_A_NODE * fleet.edit


def test_the_same_seed_is_the_same_run():
    fleet = plan.Fleet(64, 30.0)
    runs = [plan.in_one_pool(10**7, fleet, seed).nodes_lost for seed in (0, 0, 1, 2, 3)]
    assert runs[0] == runs[1] and len(set(runs)) > 1


def test_the_page_has_the_assumptions_of_the_program():
    text = plan.PAGE.read_text()
    section = text[text.index(plan.BEGIN) : text.index(plan.END)]
    assert plan.table(plan.ASSUMED_HEAD, plan.ASSUMED) in section


def test_every_cost_is_measured_by_the_code_there_is(tmp_path, monkeypatch):
    """With few edits: figures mean nothing then, but each is there and the tables are made of them."""
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    import unit_costs

    monkeypatch.setattr(unit_costs, "PIXELS", "mae:region=keep,seam")
    monkeypatch.setattr(unit_costs, "DISTINCT", 16)
    monkeypatch.setattr(unit_costs, "MANY", 1000)
    monkeypatch.setattr(unit_costs, "ANSWER_SECONDS", 0.05)
    costs = unit_costs.measure(tmp_path)
    assert costs.keys() == plan.MEASURED.keys()
    assert costs["syncs"] == 3, "an edit, its folder, and the journal"
    assert costs["objects put"] == 2
    assert 200_000 < costs["PNG bytes"] < 800_000
    for make in (plan.measured, plan.results, plan.storage, plan.bends):
        assert make(costs).startswith("| ")
