"""Chains: turns that start from the suite's picture, or from what the editor made of the turn before."""

import dataclasses
import json
import re

import numpy as np
import pytest

import editbench
from editbench.chains import own_chains
from editbench.config import RunConfig
from editbench.images import decode
from editbench.leaderboards import load
from editbench.loops import carry_out
from editbench.merge import merge_runs
from editbench.plan import make_plan, plan_of_run
from editbench.report.gallery import write_gallery
from editbench.store import RunStore
from editbench.types import Content, EditbenchError, Scenario

TURNS = {"a": 3, "b": 1, "c": 2}


@dataclasses.dataclass(frozen=True)
class Sessions:
    """Three sessions and a single scenario, every picture a grey level of its own."""

    broken: str = ""
    identity = "sessions"
    licence = "none"

    @property
    def name(self):
        return "sessions"

    def _rows(self):
        # Turns of the sessions are mixed, as sets that list turns by picture do.
        return [("a", 1), ("c", 1), ("a", 2), ("b", 1), (None, 1), ("c", 2), ("a", 3)]

    def __len__(self):
        return len(self._rows())

    def __getitem__(self, index):
        chain, turn = self._rows()[index]
        name = f"{chain or 'single'}-{turn}"

        def content():
            if name == self.broken:
                raise EditbenchError("cannot be read")
            mask = np.zeros((24, 32), bool)
            mask[4:12, 6:20] = True
            return Content(np.full((24, 32, 3), 10 * index, np.uint8), mask)

        return Scenario(name, chain or "single", "edit", f"turn {turn}", content, chain=chain, turn=turn)

    def __iter__(self):
        return (self[index] for index in range(len(self)))


def brighter(source, instruction, mask, seed):
    return source + np.uint8(1)


class FailsOn:
    mask_access = "none"

    def __init__(self, instruction):
        self.instruction = instruction

    def edit(self, requests):
        return [RuntimeError("no") if r.instruction == self.instruction else r.source + 1 for r in requests]


@pytest.fixture
def suite(monkeypatch):
    def use(broken=""):
        monkeypatch.setattr("editbench.suites.create", lambda kind, spec: Sessions(broken))

    use()
    return use


def run(editor, path, **options):
    return editbench.run(editor, "sessions", ["mae:region=all"], output_dir=str(path), label="e", **options)


def levels(path):
    store = RunStore(path)
    return {
        key[0]: int(store.edits.read_edit(cell.edit["edit_sha256"])[0, 0, 0])
        for key, cell in store.cells().items()
        if cell.edit["edit_status"] == "ok"
    }


def test_by_default_every_turn_starts_from_the_suites_picture(suite, tmp_path):
    run(brighter, tmp_path / "run")
    assert levels(tmp_path / "run") == {
        "a-1": 1, "c-1": 11, "a-2": 21, "b-1": 31, "single-1": 41, "c-2": 51, "a-3": 61,
    }  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_own_chain_goes_on_from_the_output_before(suite, tmp_path, batch_size):
    made = run(brighter, tmp_path / "run", chain="own", batch_size=batch_size)
    assert levels(tmp_path / "run") == {
        "a-1": 1, "c-1": 11, "a-2": 2, "b-1": 31, "single-1": 41, "c-2": 12, "a-3": 3,
    }  # fmt: skip
    records = made.records()
    assert records.header.suite.name == "sessions[chain=own]"
    assert records.header.suite.identity != Sessions.identity
    # What it was given is what it should have kept: one level of 255 everywhere, in every turn.
    assert {round(r.values["mae:region=all"] * 255, 6) for r in records.records} == {1}
    assert {r.scenario_id: r.turn for r in records.records}["a-3"] == 3


def test_repeats_have_chains_of_their_own(suite, tmp_path):
    def seeded(source, instruction, mask, seed):
        return source + np.uint8(1 + seed % 5)

    run(seeded, tmp_path / "run", chain="own", repeats=2)
    store = RunStore(tmp_path / "run")
    for (name, repeat), cell in store.cells().items():
        if name in ("a-2", "a-3", "c-2"):
            before = store.cells()[f"{name[0]}-{int(name[2]) - 1}", repeat]
            assert cell.edit["given_sha256"] == before.edit["edit_sha256"]


def test_after_a_turn_without_output_the_chain_ends_and_all_of_it_is_counted(suite, tmp_path):
    made = run(FailsOn("turn 2"), tmp_path / "run", chain="own")
    found = {r.scenario_id: (r.edit_status, r.reason) for r in made.records().records}
    assert found["a-1"][0] == "ok"
    assert found["a-2"] == ("editor_error", "RuntimeError: no")
    assert found["a-3"] == ("output_missing", "the turn before ended as editor_error")
    assert found["c-2"][0] == "editor_error"


def test_a_turn_that_cannot_be_read_is_not_the_editors_fault_and_nor_are_those_after_it(suite, tmp_path):
    suite(broken="a-1")
    made = run(brighter, tmp_path / "run", chain="own")
    found = {r.scenario_id: r.edit_status for r in made.records().records}
    assert [found[f"a-{turn}"] for turn in (1, 2, 3)] == ["input_invalid"] * 3
    assert found["c-2"] == "ok"


def test_a_turn_made_again_makes_the_later_ones_again(suite, tmp_path):
    run(FailsOn("turn 1"), tmp_path / "run", chain="own")
    assert levels(tmp_path / "run") == {}
    run(FailsOn("turn 3"), tmp_path / "run", chain="own", retry_on_error=1)
    assert levels(tmp_path / "run") == {"a-1": 1, "c-1": 11, "a-2": 2, "b-1": 31, "single-1": 41, "c-2": 12}
    run(FailsOn("none of them"), tmp_path / "run", chain="own", retry_on_error=2)
    assert levels(tmp_path / "run")["a-3"] == 3


def test_shards_hold_whole_chains_and_merge_to_the_same_records(suite, tmp_path):
    run(brighter, tmp_path / "whole", chain="own")
    for index in (1, 2):
        run(brighter, tmp_path / f"shard-{index}", chain="own", shard=f"{index}/2")
    assert set(levels(tmp_path / "shard-1")) | set(levels(tmp_path / "shard-2")) == set(levels(tmp_path / "whole"))
    assert merge_runs(tmp_path / "merged", [tmp_path / "shard-1", tmp_path / "shard-2"]) == []
    whole, merged = ((tmp_path / name / "records.jsonl").read_bytes() for name in ("whole", "merged"))
    assert whole == merged


def test_an_own_chain_can_be_scored_later(suite, tmp_path):
    run(brighter, tmp_path / "run", chain="own")
    for _ in carry_out(plan_of_run(tmp_path / "run", "psnr:region=all"), edit=False):
        pass
    values = {r.values["psnr:region=all"] for r in RunStore(tmp_path / "run").records().records}
    assert len(values) == 1


def test_the_gallery_shows_what_a_turn_was_given(suite, tmp_path):
    run(brighter, tmp_path / "run", chain="own")
    page = write_gallery(tmp_path / "run", own_chains(Sessions()), tmp_path / "report")
    edits = json.loads(re.search(r'id="edits">(.*?)</script>', page.read_text(), re.DOTALL)[1])
    card = next(edit for edit in edits if edit["id"] == "a-2")
    shown = [decode(page.parent / card[name]).image[0, 0, 0] for name in ("source", "output")]
    assert shown == [1, 2]


def test_another_chain_mode_is_another_run(suite, tmp_path):
    run(brighter, tmp_path / "run")
    with pytest.raises(EditbenchError, match="chain=own"):
        run(brighter, tmp_path / "run", chain="own")


def test_own_chains_need_chains_and_whole_ones(suite):
    with pytest.raises(EditbenchError, match=r"has no chains: leave --chain own away"):
        own_chains(load_suite_shapes())
    with pytest.raises(EditbenchError, match=r"has turns 1, 3 of chain 'a', expected 1, 2, …"):
        own_chains(editbench.suites.select_ids(Sessions(), ["a-1", "a-3"]))
    with pytest.raises(EditbenchError, match="chain"):
        make_plan(RunConfig.from_mapping({"suite": "sessions", "editor": "identity", "chain": "owned"}))


def load_suite_shapes():
    from editbench.suites.shapes import Shapes

    return Shapes()


def test_a_board_by_turn_has_a_table_for_each(suite, tmp_path):
    run(FailsOn("turn 2"), tmp_path / "one", chain="own")
    boards = load([tmp_path / "one"], by="turn")
    assert [(board.suite.name, board.suite.scenarios) for board in boards] == [
        ("sessions[chain=own][turn=1]", 4),
        ("sessions[chain=own][turn=2]", 2),
        ("sessions[chain=own][turn=3]", 1),
    ]
    assert [board.rows[0].statuses for board in boards] == [{"ok": 4}, {"editor_error": 2}, {"output_missing": 1}]
    assert [board.suite.name for board in load([tmp_path / "one"], by="category")] == [
        "sessions[chain=own][category=edit]"
    ]
