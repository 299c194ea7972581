import subprocess
import sys
import textwrap
import threading

import pytest

from editbench.config import RunConfig
from editbench.durable import StorageError
from editbench.journal import events
from editbench.loops import carry_out
from editbench.plan import make_plan


def plan_of(tmp_path, **options):
    options = {"editor": "identity", "suite": "shapes@1:size=64", "limit": 6, "metrics": "mae:region=keep", **options}
    return make_plan(RunConfig.from_mapping({"output_dir": str(tmp_path / "run"), **options}))


def test_who_stops_a_run_is_told_that_what_was_finished_could_not_be_written(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    stopped, append = threading.Event(), plan.store.append

    def full(lines):
        if any(event["type"] != "start" for event in lines):
            stopped.wait(30)
            raise StorageError("cannot append: No space left on device")
        return append(lines)

    monkeypatch.setattr(plan.store, "append", full)
    steps = carry_out(plan)
    assert next(steps).done == 1
    stopped.set()
    with pytest.raises(StorageError, match="No space left on device; 0 of 6 edits are safe"):
        steps.close()
    assert "editbench-keeper" not in {thread.name for thread in threading.enumerate()}


def test_a_program_that_ends_in_the_middle_of_a_run_ends_and_keeps_what_was_finished(tmp_path):
    program = f"""
    from editbench.config import RunConfig
    from editbench.loops import carry_out
    from editbench.plan import make_plan

    options = {{"editor": "identity", "suite": "shapes@1:size=64", "limit": 6, "metrics": "mae:region=keep"}}
    steps = carry_out(make_plan(RunConfig.from_mapping({{**options, "output_dir": {str(tmp_path / "run")!r}}})))
    assert next(steps).done == 1
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
    assert [event["type"] for event in events(tmp_path / "run" / "journal")] == ["start", "edit", "score"]


def test_edits_are_safe_where_the_journals_of_other_shards_cannot_be_read(tmp_path, monkeypatch):
    plan = plan_of(tmp_path, shard="1/2")
    read_into = plan.store.read_into

    def failing(ledger, number_of, again=False):
        if again:
            raise StorageError("cannot read the journal: Input/output error")
        read_into(ledger, number_of)

    monkeypatch.setattr(plan.store, "read_into", failing)
    with pytest.raises(StorageError, match="Input/output error; 3 of 6 edits are safe"):
        list(carry_out(plan))
