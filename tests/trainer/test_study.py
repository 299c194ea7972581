"""Plans, units and their processes: what is run is what the plan says, once, and can be stopped at any time."""

import gzip
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock

from edit_grpo_ref.checkpoint import FILE, encode, for_editing, read
from edit_grpo_ref.config import Config, NftConfig
from edit_grpo_ref.options import configure
from edit_grpo_ref.rewards import load_rewards
from edit_grpo_ref.study.plan import Unit
from edit_grpo_ref.study.plan_file import load_plan, read_plan
from edit_grpo_ref.study.run import Clock, _fits, run
from edit_grpo_ref.study.unit import Folders, carry_out, compute, is_done, read_facts
from edit_grpo_ref.train import train
from edit_grpo_ref.train_nft import train as train_nft
from editbench.record_files import read_records
from editbench.registry import create
from editbench.suites import load_suite
from editbench.types import EditbenchError

METRICS = ["composite", "success", "target:mae,region=edit", "mae:region=keep", "seam", "leak_profile"]


def told(**methods):
    """A plan whose units take a second: base and region credit, or other methods."""
    base = {"about": "…", "part": "criterion", "seeds": 1, "program": "none"}
    region = {"about": "…", "part": "rest", "seeds": 1, "weights": [0.2], "options": {"credit": "region"}}
    return {
        "board": "study@1",
        "common": {"steps": 2, "prompts": 2, "samples": 2, "denoising_steps": 2, "validation": "none", "moments": 1},
        "evaluation": {"suite": "shapes@1:size=64", "each": 1, "metrics": list(METRICS)},
        "methods": {"base": base, "region": region, **methods},
        "axes": {},
        "criteria": {"only": {"about": "…", "methods": ["region"], "against": ["base"], "seeds": [0, 1]}},
    }


def small(**methods):
    return read_plan(told(**methods), "small", "tiny-cpu")


# --------------------------------------------------------------------------------------------------------- plans


@pytest.mark.parametrize("quick", [False, True])
def test_the_plans_of_the_package_load_and_their_units_have_names_of_their_own(quick):
    plan = load_plan(None, quick, "tiny-cpu")
    labels = [unit.label for unit in plan.units()]
    assert len(set(labels)) == len(labels) == len({plan.fingerprint(unit) for unit in plan.units()})
    for unit in plan.units():
        if plan.methods[unit.method].program == "none":
            create("editor", plan.editor(unit))


def test_the_plan_of_learning_rates_and_the_stress_have_the_budget_of_the_study():
    full, tuning = load_plan(None), load_plan(Path(str(files("edit_grpo_ref.study"))) / "tuning.yaml")
    for plan, unit in [(tuning, u) for u in tuning.units()] + [(full, u) for u in full.units("stress") if not u.seed]:
        config = plan.config(unit)
        if config is not None:
            load_suite(config.suite)
            load_rewards({"edit": config.reward_edit, "keep": config.reward_keep})
            longer = 5 if unit.method.endswith("_long") else 1
            assert config.steps * config.prompts * config.samples == 720 * longer == full.common["steps"] * 60 * longer


def test_the_full_plan_has_the_size_that_its_criteria_need():
    plan = load_plan(None)
    first, second = plan.criteria.values()
    assert set(first.counted) & set(second.counted) == set(), "a criterion is not judged by runs that it was made from"
    for told in (first, second):
        assert len(told.counted) >= 8
        for name in (*told.methods, *told.against, "base"):
            assert plan.methods[name].part == "criterion" and plan.methods[name].seeds > told.counted[-1]
        assert all(len(plan.methods[n].weights) >= 4 for n in (*told.methods, *told.against) if n != "dense_placebo")
    for name, method in plan.methods.items():
        assert method.seeds >= 3, name
    budgets = {
        (config.steps, config.prompts, config.samples, config.updates, config.denoising_steps, long)
        for unit in (*plan.units("criterion"), *plan.units("rest"))
        if (config := plan.config(unit)) is not None
        for long in [unit.method.endswith("_long")]
    }
    assert len(budgets) == 2, "one budget, and one five times as large for those that are named so"


def change(data, path, value):
    *parents, last = path.split("/")
    for name in parents:
        data = data[name]
    data[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metods", {}, "unknown key 'metods': did you mean 'methods'"),
        ("common/stepz", 3, "common: unknown key 'stepz': did you mean 'steps'"),
        ("methods/region/wieghts", [1], "method region: unknown key 'wieghts': did you mean 'weights'"),
        ("methods/region/options/credti", "region", "method region: unknown option 'credti': did you mean 'credit'"),
        ("methods/region/options/credit", "regoin", "method region: credit: "),
        ("methods/region/options/beta", 1.0, "method region: unknown option 'beta'"),
        ("methods/region/weights", [0.2, 1.2], r"weights \[0.2, 1.2\], expected different ones from 0 to 1"),
        ("methods/region/weights", [0.2, 0.2], "expected different ones"),
        ("methods/region/program", "trian", "region.program"),
        ("methods/region/seeds", 0, "expected at least 1"),
        ("methods/base/learning_rate", 1.0, "method base trains nothing"),
        ("criteria/only/against", ["bsae"], "criterion only needs method 'bsae': did you mean 'base'"),
        ("criteria/only/lower_at_success", ["ring"], "evaluation.metrics lack 'ring'"),
        ("criteria/only/sedes", 3, "criterion only: unknown key 'sedes': did you mean 'seeds'"),
        ("stress/conditions/none/mehtods", {}, "condition none: unknown key 'mehtods': did you mean 'methods'"),
        ("stress/methods", {"regoin": [0.1]}, "condition none: unknown method 'regoin': did you mean 'region'"),
        ("stress/methods", {"region": [0.1]}, r"condition none: weights \[0.1\] of region, expected some of \[0.2\]"),
        ("stress/conditions/none/options", {"cros": 1}, "method region_none: unknown option 'cros'"),
        ("evaluation/each", "two", "evaluation.each"),
        ("methods", [], "methods: list, expected"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_before_anything_runs(path, value, message):
    data = told()
    conditions = {"none": {"about": "…", "options": {}}}
    data["stress"] = {"seeds": 1, "methods": {"region": [0.2]}, "conditions": conditions}
    change(data, path, value)
    with pytest.raises(EditbenchError, match=message):
        read_plan(data, "bad", None)


def test_a_file_that_is_no_plan_is_named(tmp_path):
    (tmp_path / "p.yaml").write_text("a: [")
    with pytest.raises(EditbenchError, match=r"p\.yaml: malformed YAML"):
        load_plan(tmp_path / "p.yaml")
    with pytest.raises(EditbenchError, match="No such file"):
        load_plan(tmp_path / "q.yaml")


def test_early_units_are_whole_sweeps_and_the_criterion_comes_first():
    plan = load_plan(None)
    units = plan.units()
    parts = [plan.methods[unit.method].part for unit in units]
    assert parts == sorted(parts, key=["criterion", "rest", "stress"].index)
    seeds = [unit.seed for unit in plan.units(part="criterion")]
    assert seeds == sorted(seeds)
    assert {unit.method for unit in plan.units(methods=("region", "dense"))} == {"region", "dense"}
    with pytest.raises(EditbenchError, match="unknown method 'regoin': did you mean 'region'"):
        plan.units(methods=("regoin",))


def test_options_of_a_unit_are_those_of_its_method_over_the_common_ones():
    plan = small(nft={**told()["methods"]["region"], "program": "train-nft", "learning_rate": 0.5})
    config = plan.config(Unit("nft", 0.2, 3))
    assert isinstance(config, NftConfig) and (config.seed, config.weight, config.learning_rate) == (3, "0.2", 0.5)
    assert (config.steps, config.credit, config.moments) == (2, "region", 1)
    assert isinstance(plan.config(Unit("region", 0.2, 0)), Config)
    assert plan.config(Unit("base", None, 0)) is None


def test_the_fingerprint_is_of_what_records_depend_on():
    first = small().fingerprint(Unit("region", 0.2, 0))
    for path, value, same in (
        ("common/steps", 3, False),
        ("methods/region/options/cross", 0.5, False),
        ("evaluation/each", 2, False),
        ("common/validate_every", 5, True),
        ("axes/reference", [0.5, 0.5], True),
        ("methods/region/seeds", 5, True),
    ):
        data = told()
        change(data, path, value)
        assert (read_plan(data, "other", "tiny-cpu").fingerprint(Unit("region", 0.2, 0)) == first) is same, path


def test_best_of_n_chooses_by_the_rewards_of_training():
    plan = small(best={"about": "…", "part": "rest", "seeds": 1, "program": "none", "best_of": 4, "weights": [0.25]})
    unit = Unit("best", 0.25, 0)
    editor = create("editor", plan.editor(unit))
    assert editor.count == 4
    assert editor.reward == "0.25*(-[target:mae,region=edit]) + 0.75*(-[mae:region=keep])"
    assert compute(plan, unit)["reward_calls"] == 4 * 12


# --------------------------------------------------------------------------------------------- forward passes


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Config, {}),
        (Config, {"window": "all", "updates": 2}),
        (Config, {"window": "dance", "kl_edit": 0.1, "kl_keep": 0.1}),
        (NftConfig, {"moments": 3}),
        (NftConfig, {"moments": 9, "kl": 0.0, "updates": 2}),
    ],
)
def test_forward_passes_are_those_that_are_made(kind, options, monkeypatch, told):
    import edit_grpo_ref.session as session

    config, made = configure(kind, None, told(**options)), []
    load = session.load_policy

    def counting(spec):
        policy = load(spec)
        predict = policy.predict
        object.__setattr__(policy, "predict", lambda x, *rest: (made.append(len(x)), predict(x, *rest))[1])
        return policy

    monkeypatch.setattr(session, "load_policy", counting)
    monkeypatch.setattr(session, "Watch", lambda *_, **__: None)
    (train if kind is Config else train_nft)(config)

    class Plan:
        methods = {"m": None}  # noqa: RUF012

        def config(self, unit):
            return config

    assert compute(Plan(), Unit("m", None, 0))["forward_passes"] == sum(made)


# ---------------------------------------------------------------------------------------------------------- units


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path / "out", tmp_path / "work", "study@1")


def test_a_unit_gives_the_same_records_anywhere_and_they_name_no_path(folders, tmp_path):
    plan, unit = small(), Unit("region", 0.2, 0)
    others = Folders(tmp_path / "elsewhere" / "out", tmp_path / "elsewhere" / "work", "study@1")
    assert not is_done(plan, unit, folders)
    for place in (folders, others):
        assert carry_out(plan, unit, place) and is_done(plan, unit, place)
    assert folders.records(unit).read_bytes() == others.records(unit).read_bytes()
    file = read_records(folders.records(unit))
    assert file.header.editor.spec.startswith("grpo:region-w0.2-s0.safetensors,sha256=")
    assert file.header.editor.label == unit.label and set(file.header.editor.trained_on) == {METRICS[2], METRICS[3]}
    assert len(file.records) == 12
    texts = [gzip.decompress(folders.records(unit).read_bytes()).decode(), folders.facts(unit).read_text()]
    assert not any(str(tmp_path) in text or "/" in text.replace("reward/", "").replace("1/px", "") for text in texts)
    facts, again = (read_facts(place.facts(unit)) for place in (folders, others))
    assert facts["compute"].pop("seconds") and again["compute"].pop("seconds")
    assert facts == again
    assert facts["compute"] == {"updates": 2, "reward_calls": 8, "forward_passes": 2 * 4 * (2 + 1)}
    assert [step for step, _ in facts["curves"]["reward/edit"]] == [1, 2]


def test_records_of_other_options_are_not_taken_for_these(folders):
    unit = Unit("base", None, 0)
    assert carry_out(small(), unit, folders)
    data = told()
    data["evaluation"]["metrics"].append("far_change")
    with pytest.raises(EditbenchError, match="was made with other options"):
        is_done(read_plan(data, "other", "tiny-cpu"), unit, folders)
    folders.facts(unit).unlink()
    with pytest.raises(EditbenchError, match="belongs to the records of the same name"):
        is_done(small(), unit, folders)


def test_a_checkpoint_for_editing_is_the_average_and_nothing_of_its_place(told, tmp_path):
    for name in ("one", "two"):
        train(configure(Config, None, told(output_dir=str(tmp_path / name), policy="tiny", prompts=1, samples=2)))
    found = read(tmp_path / "one")
    files = [encode(for_editing(read(tmp_path / name), "unit")) for name in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) < 3e6
    (tmp_path / FILE).write_bytes(files[0])
    slim = read(tmp_path)
    assert slim.parameters.keys() == found.ema.keys() and not slim.ema and not slim.optimizer and not slim.rng
    assert all(torch.equal(slim.parameters[name], value) for name, value in found.ema.items())
    assert any(not torch.equal(found.parameters[name], value) for name, value in found.ema.items())


def test_time_is_that_of_the_same_method_and_no_unit_starts_that_would_end_late():
    more = told()["methods"]
    clock = Clock(small(a=more["region"], b=more["region"], c=more["base"]))
    unit, other, untrained = Unit("a", None, 0), Unit("b", None, 0), Unit("c", None, 0)
    assert clock.left([unit], 2) is None and _fits(clock, unit, time.monotonic(), 1)
    clock.add("base", 10.0)
    clock.add("a", 30.0)
    clock.add("a", 50.0)
    # nothing is known of b but that it trains like a, and of c but that it does not train, like the base
    assert clock.left([unit, unit, other, untrained], 2) == (40 + 40 + 40 + 10) / 2
    assert _fits(clock, unit, time.monotonic(), 1) and not _fits(clock, unit, time.monotonic() - 25, 1)
    assert _fits(clock, untrained, time.monotonic() - 25, 1)
    clock.add("b", 90.0)
    assert not _fits(clock, other, time.monotonic(), 1) and _fits(clock, other, time.monotonic(), None)


# ------------------------------------------------------------------------------------------------------ processes


COMMAND = (sys.executable, "-m", "edit_grpo_ref", "study")


def study(*arguments):
    """Run the program to its end."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=200)


@contextmanager
def started(plan, output):
    """Start the program, and go on once a unit is being trained; give its process and that unit's folder."""
    arguments = ["--plan", str(plan), "--output-dir", str(output), "--methods", "region", "--workers", "1"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        begun = until(lambda: [p for p in output.glob("work/units/*/train/log.jsonl") if p.stat().st_size > 500])
        yield process, begun[0].parent


def until(condition):
    """Wait for something to be true and return it."""
    deadline = time.monotonic() + 100
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found
    return found


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


def test_the_program_runs_a_part_reports_goes_on_and_checks(written, tmp_path):
    """The quick study cut down: the first call makes one unit, the second the other; the third compares."""
    plan, out = written(told()), tmp_path / "out"
    first = study("--plan", plan, "--output-dir", out, "--part", "criterion")
    assert first.returncode == 0, first.stderr
    assert "[1/1] base-s0: edit 0." in first.stdout and "criterion cannot be judged" in first.stdout
    second = study("--plan", plan, "--output-dir", out, "--workers", 2)
    assert "1 of 2 units are done" in second.stdout and "[2/2] region-w0.2-s0" in second.stdout
    names = ["base-s0.jsonl.gz", "region-w0.2-s0.jsonl.gz"]
    assert sorted(path.name for path in (out / "records" / "study@1").iterdir()) == names
    noted = [json.loads(line) for line in (out / "work" / "units.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in noted] == ["done", "done"]
    assert study("--plan", plan, "--output-dir", out, "--check").returncode == 0
    (out / "study" / "RESULTS.md").write_text("better")
    check = study("--plan", plan, "--output-dir", out, "--check")
    assert "RESULTS.md is not what the records give" in check.stdout and check.returncode == 5


def test_a_unit_that_fails_is_told_and_tried_again_and_others_go_on(folders, capsys):
    bad = {**told()["methods"]["region"], "options": {"reward_edit": "-[sucess]"}}
    plan = small(bad=bad)
    units = [Unit("bad", 0.2, 0), Unit("base", None, 0)]
    for calls in (1, 2):
        outcome = run(plan, units, folders, 1, None)
        assert (outcome.done, outcome.total, list(outcome.failed)) == (1, 2, ["bad-w0.2-s0"])
        assert "unknown metric 'sucess': did you mean 'success'" in outcome.failed["bad-w0.2-s0"]
        lines = [json.loads(line) for line in (folders.work / "units.jsonl").read_text().splitlines()]
        assert [line["outcome"] for line in lines].count("failed") == calls
    assert "bad-w0.2-s0 failed: " in capsys.readouterr().out


def test_a_stopped_study_has_saved_its_units_and_ended_its_processes(written, tmp_path):
    data = told()
    data["common"] |= {"steps": 5000, "save_every": 5000, "prompts": 1}
    with started(written(data), tmp_path / "out") as (process, folder):
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "issue the same command again" in text
    assert 0 < read(folder).step < 5000
    with FileLock(folder / ".lock", timeout=0):  # nobody trains there any more
        pass
    assert not list(tmp_path.glob("out/records/**/*.gz"))


def test_units_of_a_killed_study_save_and_end(written, tmp_path):
    data = told()
    data["common"] |= {"steps": 5000, "save_every": 5000, "prompts": 1}
    with started(written(data), tmp_path / "out") as (process, folder):
        process.kill()
    until((folder / FILE).is_file)


def test_the_study_needs_no_torch_to_say_what_is_wrong(tmp_path):
    script = (
        "import sys\nfrom edit_grpo_ref.cli import app\n"
        "try:\n    app(['study', '--methods', 'regoin'])\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert "did you mean 'region'" in done.stderr
    assert not set(done.stdout.split()) & {"torch", "scipy", "jinja2"}
    assert list(Path(tmp_path).iterdir()) == []
