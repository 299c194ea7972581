"""The command line, checkpoints as editors of the harness, evaluation, calibration, the log and its pictures."""

import io
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import editbench as eb
from edit_grpo_ref import evaluate as evaluation
from edit_grpo_ref import log
from edit_grpo_ref.calibrate import calibrate, residual_noise
from edit_grpo_ref.checkpoint import FILE
from edit_grpo_ref.config import Config
from edit_grpo_ref.data import in_split
from edit_grpo_ref.editor import GrpoEditor
from edit_grpo_ref.log import Log, draw_grid
from edit_grpo_ref.options import configure
from edit_grpo_ref.policies import load_policy
from edit_grpo_ref.rollout import Sampling
from edit_grpo_ref.train import train
from editbench.registry import create, spec_of
from editbench.suites import load_suite
from editbench.types import Composite, EditbenchError, Editor, EditRequest, Task

HERE = Path(__file__).parent
POLICY = f"{HERE / 'toy_policy.py'}:Toy"
SUITE = f"{HERE / 'toy_suite.py'}:Squares"
METRICS = "mae:region=keep,target:mae,region=edit"


def program(*arguments, cwd=None):
    command = [sys.executable, "-m", "edit_grpo_ref", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_pretraining_makes_weights_that_a_policy_reads(tmp_path):
    done = program("pretrain", "--output", tmp_path / "w.safetensors", "--steps", 2, "--scenes", 24)
    assert done.returncode == 0, done.stderr
    assert "2/2: loss 0." in done.stdout and f"tiny:weights={tmp_path}" in done.stdout
    assert len(load_policy(f"tiny:weights={tmp_path / 'w.safetensors'}").trainable()) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--recipe", "tiy"], "did you mean 'tiny'?"), (["--steps", 0], "--steps")]
)
def test_pretraining_says_what_is_wrong_with_its_options(arguments, words, tmp_path):
    done = program("pretrain", "--output", tmp_path / "w.safetensors", *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


LOADED = """
import sys
from edit_grpo_ref.cli import app
try:
    app({arguments})
except SystemExit as end:
    assert end.code == 0, end.code
print(' '.join(sys.modules))
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["pretrain", "--help"], ["train", "--help"], ["eval", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_does_not_wait_for_torch(arguments):
    done = subprocess.run([sys.executable, "-c", LOADED.format(arguments=arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "pandas", "diffusers", "PIL", "scipy"}
    if arguments == ["--version"]:
        assert done.stdout.startswith(f"edit-grpo-ref {eb.__version__}")


def test_importing_the_package_loads_nothing():
    code = "import sys, edit_grpo_ref; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "editbench.types"}


def test_every_option_is_a_flag_with_a_description():
    from typer.testing import CliRunner

    from edit_grpo_ref.cli import app

    shown = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "400", "TERM": "dumb"}).output
    for name in Config.__dataclass_fields__:
        assert re.search(rf"--{name.replace('_', '-')}\b", shown), name
    assert "whose rewards are compared" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--policy", "tinny"], 2, "edit-grpo-ref: unknown policy 'tinny': did you mean 'tiny'?"),
        (["train", "--preset", "tiny"], 2, "unknown preset 'tiny': did you mean 'tiny-cpu'?"),
        (["train", "--reward-keep", "1 - [mea:region=keep]"], 2, "at character 5: unknown metric 'mea': did you mean"),
        (["train", "--suite", "shapes@1"], 2, "suite 'shapes@1' is a benchmark"),
        (["train", "--credit", "regoin"], 2, "credit: 'regoin', expected global_sum, advantage_sum, region or dense: "),
        (["train-nft", "--old", "slwo"], 2, "old: 'slwo', expected current, slow or late: did you mean 'slow'?"),
        (["train", "--samples", "1"], 2, "samples: 1, expected 2 to"),
        (["eval", "nowhere"], 2, "no checkpoint 'nowhere'"),
        (["eval", "base", "--reward", "[mae:region=keep]"], 2, "chooses among edits, expected --best-of N with it"),
        (["train", "--output-dir", "/proc/nowhere/run"], 4, "cannot write"),
    ],
)
def test_errors_are_one_line_and_have_a_code(arguments, code, message, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from edit_grpo_ref.cli import app

    monkeypatch.chdir(tmp_path)
    if arguments[0].startswith("train"):
        arguments = [*arguments, *(["--policy", POLICY] if "--policy" not in arguments else [])]
        arguments += ["--validation", "none"] + ([] if "--suite" in arguments else ["--suite", SUITE])
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert done.exit_code == code
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.startswith("edit-grpo-ref: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["eval", "base", "--best-of", "0"], ["calibrate", "--scenarios", "0"]])
def test_nothing_is_measured_on_nothing(arguments):
    from typer.testing import CliRunner

    from edit_grpo_ref.cli import app

    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300", "TERM": "dumb"})
    assert done.exit_code == 2 and arguments[-2] in done.stderr and "greater than or equal to 1" in done.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A short run with a split, made from the command line."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    flags = ["--policy", POLICY, "--suite", f"{SUITE}:count=16", "--split", "0.5", "--validation", SUITE]
    flags += ["--steps", 4, "--prompts", 2, "--samples", 3, "--denoising-steps", 4, "--grid-every", 2]
    done = program("train", *flags, "--learning-rate", "1e-2", "--validate-on", "3", "--output-dir", folder)
    assert done.returncode == 0, done.stderr
    assert f"edit-grpo-ref eval {folder}" in done.stdout and re.search(
        r"step 4/4: reward -[.\d]+/-[.\d]+, σA [.\d]+/[.\d]+, clip 0/0, KL 0/0, zero variance 0/0", done.stderr
    )
    return folder


# ----------------------------------------------------------------------------------------------------- editor


def test_a_checkpoint_is_an_editor_of_the_harness(checkpoint, tmp_path):
    """Through the entry point, as anybody would."""
    arguments = ["run", "--suite", "shapes@1:size=32", "--editor", f"grpo:{checkpoint}", "--limit", "3", "--json"]
    arguments += ["--metrics", METRICS, "--output-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "editbench", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["statuses"] == {"ok": 3}
    editor = json.loads((tmp_path / "run" / "records.jsonl").read_text().splitlines()[0])["editor"]
    seen = f"suite:{SUITE}:count=16[split=0.5]"
    assert editor["trained_on"] == ["mae:region=keep", "target:mae,region=edit", seen]
    assert editor["mask_access"] == "none"
    digest = spec_of(GrpoEditor(str(checkpoint)))[-12:]
    assert editor["spec"] == f"grpo:{checkpoint},sha256={digest}"


def requests(sizes=(32, 48, 32)):
    for number, size in enumerate(sizes):
        scenario = load_suite(f"shapes@1:size={size}")[number]
        yield Task(scenario, 0, seed=number).request("none")


def test_an_edit_depends_on_the_request_alone(checkpoint):
    editor = GrpoEditor(str(checkpoint))
    assert isinstance(editor, Editor)
    together = editor.edit(list(requests()))
    alone = [editor.edit([request])[0] for request in requests()]
    assert [image.shape for image in together] == [(32, 32, 3), (48, 48, 3), (32, 32, 3)]
    for left, right in zip(together, alone, strict=True):
        assert np.abs(left.astype(int) - right).max() <= 1  # another batch rounds otherwise
    first = next(requests())
    other = EditRequest(first.source, first.instruction, seed=99)
    assert not np.array_equal(editor.edit([other])[0], together[0])


def test_the_average_is_what_edits(checkpoint):
    ema, last = GrpoEditor(str(checkpoint)), GrpoEditor(str(checkpoint), weights="last")
    assert spec_of(last).startswith(f"grpo:{checkpoint},weights=last,sha256=") or "weights=last" in spec_of(last)
    assert not np.array_equal(ema.edit(list(requests()))[0], last.edit(list(requests()))[0])
    more = GrpoEditor(str(checkpoint), steps=9)
    assert not np.array_equal(ema.edit(list(requests()))[0], more.edit(list(requests()))[0])


def test_a_spec_names_the_weights_it_began_with(checkpoint, tmp_path):
    path = tmp_path / "copy.safetensors"
    path.write_bytes((checkpoint / FILE).read_bytes())
    spec = spec_of(GrpoEditor(str(path)))
    assert spec_of(create("editor", spec.replace("grpo:", "edit_grpo_ref.editor:GrpoEditor:"))) is not None
    GrpoEditor(str(path), sha256=spec[-12:])
    with pytest.raises(EditbenchError, match="it was trained on since"):
        GrpoEditor(str(path), sha256="0" * 12)
    with pytest.raises(EditbenchError, match="no checkpoint 'gone'"):
        GrpoEditor("gone")


# --------------------------------------------------------------------------------------------------- evaluation


def test_what_a_checkpoint_has_seen_is_not_what_it_is_scored_on(checkpoint):
    suite = f"{SUITE}:count=16"
    ids = evaluation.unseen(str(checkpoint), suite, held_out=True, allow_overlap=False)
    assert set(ids) == {s.id for s in load_suite(suite) if not in_split(s, 0.5)} and 0 < len(ids) < 16
    with pytest.raises(EditbenchError, match="--held-out for what its --split left, or --allow-overlap"):
        evaluation.unseen(str(checkpoint), suite, held_out=False, allow_overlap=False)
    assert evaluation.unseen(str(checkpoint), suite, held_out=False, allow_overlap=True) == ()
    assert evaluation.unseen(str(checkpoint), "shapes@1", held_out=False, allow_overlap=False) == ()
    with pytest.raises(EditbenchError, match="of which shapes@1 holds nothing out"):
        evaluation.unseen(str(checkpoint), "shapes@1", held_out=True, allow_overlap=False)
    assert evaluation.unseen("base", "shapes@1", held_out=False, allow_overlap=False) == ()


@pytest.mark.parametrize(
    ("suites", "same"),
    [
        (("shapes@1", "shapes@1:size=64"), True),
        (("edit_grpo_ref.scenes:Scenes", "edit_grpo_ref.scenes:Scenes:split=train,size=32"), True),
        (("edit_grpo_ref.scenes:Scenes", "edit_grpo_ref.scenes:Scenes:split=validation"), False),
        (("shapes@1", "photos@1"), False),
    ],
)
def test_a_size_makes_no_scenario_new(suites, same):
    assert evaluation._same_scenarios(*suites) is same


def test_best_of_n_and_paste_back(checkpoint, tmp_path):
    suite = load_suite(f"{SUITE}:count=4")
    spec = evaluation.editor_spec(str(checkpoint), None, 4, "-[mae:region=keep]", paste=True)
    editor = create("editor", spec.replace("grpo:", "edit_grpo_ref.editor:GrpoEditor:"))
    seen = f"suite:{SUITE}:count=16[split=0.5]"
    assert isinstance(editor, Composite) and editor.trained_on == ("mae:region=keep", seen, "target:mae,region=edit")
    best = editor.editor
    for scenario in suite:
        task = Task(scenario, 0, 0)
        chosen = best.answer(task)

        def error(image, scenario=scenario):
            return np.abs(image.astype(int) - scenario.source)[scenario.region("keep")].mean()

        one = evaluation.BestOf(best.editor, best.reward, count=1).answer(task)
        assert error(chosen) <= error(one)
        pasted = editor.compose(scenario, chosen)
        assert error(pasted) == 0 and np.array_equal(pasted[scenario.mask], chosen[scenario.mask])


def test_eval_prints_a_board(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "editor_spec", lambda path, *rest: f"edit_grpo_ref.editor:GrpoEditor:{path}")
    evaluation.evaluate(str(checkpoint), f"{SUITE}:count=16", held_out=True, metrics=METRICS)
    (run,) = (tmp_path / "runs").glob("*/short")
    assert "mae" in capsys.readouterr().out
    header = json.loads((run / "records.jsonl").read_text().splitlines()[0])
    assert header["editor"]["label"] == "short" and header["suite"]["scenarios"] < 16


# -------------------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize(
    ("kind", "scale", "stochastic", "expected"),
    [
        ("flow_sde", 0.9, 6, 0.372),
        ("dance_sde", 0.3, 6, 0.164),
        ("flow_sde", 0.9, 5, 0.0),
        ("cps", 0.8, 6, 0.0),
        ("ode", 0.0, 0, 0.0),
    ],
)
def test_residual_noise_has_the_known_values(kind, scale, stochastic, expected):
    """FLUX Kontext at 512 pixels and 6 steps, worked out beforehand: an ODE tail and CPS leave none, others do."""
    levels = torch.tensor([1.0, 0.904, 0.790, 0.653, 0.484, 0.273, 0.0])
    policy = types.SimpleNamespace(prediction="velocity", levels=lambda steps, condition: levels)
    sampling = Sampling(kind, 6, scale, tuple(range(stochastic)))
    assert residual_noise(policy, sampling, {}) == pytest.approx(expected, abs=1e-3)


def test_spread_is_that_of_the_keep_region(told, monkeypatch):
    """Noise inside the mask, which here is what is darker than the ground, does not count."""

    def noisy_inside(self, x0, condition):
        pictures = condition["picture"].numpy().copy()
        dark = pictures[..., 0] < 90
        pictures[dark] += np.random.default_rng(0).integers(0, 99, (dark.sum(), 3), dtype=np.uint8)
        return list(pictures)

    monkeypatch.setattr(type(load_policy(POLICY)), "decode", noisy_inside)
    row = calibrate(configure(Config, None, told()), scenarios=2)[0]
    assert row.keep_spread == 0 and row.reward_std_keep == 0 and row.psnr_keep == 100 and row.reward_std_edit > 0


def test_calibrate_measures_the_sampler(told):
    rows = calibrate(configure(Config, None, told(samples=6)), scenarios=4)
    by_name = {row.sampler: row for row in rows}
    ode, configured = by_name["ODE"], by_name["flow_sde 0.7 half (configured)"]
    assert configured.keep_spread > ode.keep_spread > 0 and configured.reward_std_edit > 0
    assert by_name["flow_sde 0.7, last step too"].residual > 0.05 > configured.residual
    assert by_name["flow_sde 0.7, last step too"].psnr_keep < configured.psnr_keep
    noise = calibrate(configure(Config, None, told(policy=f"{POLICY}:prediction=noise", sampler="ddim", noise=1.0)), 2)
    assert [row.sampler for row in noise] == ["ODE", "ddim 1 half (configured)", "ddim 1 all"]
    done = program("calibrate", "--policy", POLICY, "--suite", SUITE, "--samples", 3, "--scenarios", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert {"sampler", "residual", "psnr_keep"} <= set(json.loads(done.stdout)[0])


# --------------------------------------------------------------------------------------------------------- log


def test_the_log_has_what_the_readme_explains(checkpoint):
    lines = [json.loads(line) for line in (checkpoint / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "validation/edit" in line] == [0, 4]
    readme = (HERE.parents[1] / "edit_grpo_ref" / "README.md").read_text()
    for name in {name for line in lines for name in line}:
        general = re.sub(r"^(edit|keep|all)/", "REGION/", name)
        general = re.sub(r"/(edit|keep|all)$", "/REGION", general)
        assert f"`{general}`" in readme, f"{name} is logged and not explained"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_shows_how_far_it_is_and_what_the_step_says(checkpoint, told, tmp_path, monkeypatch, width):
    lines = [json.loads(line) for line in (checkpoint / "log.jsonl").read_text().splitlines()]
    (*_, step) = (line for line in lines if "loss" in line)
    terminal = io.StringIO()
    monkeypatch.setattr(log, "Console", lambda stderr: Console(file=terminal, width=width, force_terminal=True))
    with Log(tmp_path, configure(Config, None, told(steps=9)), 4) as opened:
        opened.write(5, {**step, "failed": {"timeout": 3}})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).split("train")[-1]
    assert "5/9" in shown and "0:00:0" in shown and "…" not in shown
    told_below = " ".join(shown.split())
    for words in ("reward -", "σA", "clip 0/0", "KL 0/0", "zero variance 0/0", "failed 3", "rollout", "update"):
        assert words in told_below


LINK = re.compile(r"\[`(\w+)`\]\(([\w/]+\.py)#L(\d+)\)")


def test_the_readme_links_to_what_it_says():
    readme = (HERE.parents[1] / "edit_grpo_ref" / "README.md").read_text()
    links = LINK.findall(readme)
    assert len(links) > 40
    moved = {}
    for name, file, number in links:
        lines = (HERE.parents[1] / "edit_grpo_ref" / file).read_text().splitlines()
        defined = [n for n, line in enumerate(lines, 1) if re.match(rf"\s*(def|class) {name}\b", line)]
        if int(number) not in defined:
            moved[f"{file}#L{number}"] = [f"{file}#L{n}" for n in defined]
    assert not moved
    tables = re.findall(r"^\| detail \| where \| source \|\n\|[-|]+\n((?:\|.*\n)+)", readme, re.MULTILINE)
    assert len(tables) == readme.count("| where |") == 5
    for row in "".join(tables).splitlines():
        detail, where, source = re.split(r"(?<!\\) \| ", row.strip("| "))
        assert detail and LINK.match(where) and source, row


def test_a_grid_shows_source_mask_before_after_and_difference(checkpoint):
    names = sorted(path.name for path in (checkpoint / "grids").iterdir())
    assert names == ["step-000000.png", "step-000002.png", "step-000004.png"]
    first = np.asarray(Image.open(checkpoint / "grids" / "step-000000.png"))
    last = np.asarray(Image.open(checkpoint / "grids" / "step-000004.png"))
    assert first.shape == last.shape

    def cell(picture, column):
        return picture[42 : 42 + 128, 4 + column * 132 : 4 + column * 132 + 128]

    assert np.array_equal(cell(first, 2), cell(first, 3))  # nothing is trained yet
    assert not np.array_equal(cell(last, 2), cell(last, 3))
    for column in (0, 1, 2):
        assert np.array_equal(cell(first, column), cell(last, column))
    scenario = load_suite(SUITE)[0]
    assert np.array_equal(cell(last, 1)[..., 0] == 255, scenario.mask.repeat(4, 0).repeat(4, 1))
    difference = np.clip(4 * np.abs(cell(last, 3).astype(int) - cell(last, 0)), 0, 255)
    assert np.array_equal(cell(last, 4), difference)


def test_grids_take_pictures_of_any_size():
    wide, tall = np.full((100, 400, 3), 90, np.uint8), np.full((300, 150, 3), 30, np.uint8)
    rows = [
        (f"turn it\x1b[31m red {n}", image, image[..., 0] > 50, image, image) for n, image in enumerate((wide, tall))
    ]
    assert draw_grid(rows).shape == (20 + (32 + 22) + (128 + 22), 4 + 5 * 132, 3)


def test_a_tracker_that_is_not_installed_is_named(told, tmp_path, monkeypatch):
    for name in ("trackio", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    for tracker in ("trackio", "tensorboard"):
        with pytest.raises(EditbenchError, match=f"pip install {tracker}"):
            Log(tmp_path, configure(Config, None, told(tracker=tracker)), 0)


def test_tensorboard_shows_what_the_log_says_after_a_kill_too(told):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = told(tracker="tensorboard", validation=SUITE, validate_on=2)
    config, folder = configure(Config, None, options), Path(options["output_dir"])
    train(config)
    with Log(folder, config, 2) as log:  # of a process that is killed before it saves
        log.write(3, {"reward/edit": 9.0})
    train(configure(Config, None, {**options, "steps": 4}))
    shown = EventAccumulator(str(folder / "tensorboard")).Reload()
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for name in ("reward/edit", "keep/moved", "validation/keep", "seconds/update"):
        wanted = [(line["step"], pytest.approx(line[name])) for line in logged if name in line]
        assert [(point.step, point.value) for point in shown.Scalars(name)] == wanted, name


def test_trackers_get_the_numbers(told, monkeypatch):
    seen = []
    fake = types.ModuleType("trackio")
    fake.init = lambda **given: seen.append(("init", given["config"]["credit"]))
    fake.log = lambda numbers, step: seen.append((step, numbers["reward/edit"]))
    fake.finish = lambda: seen.append("finish")
    monkeypatch.setitem(sys.modules, "trackio", fake)
    train(configure(Config, None, told(tracker="trackio")))
    assert seen[0] == ("init", "region") and [entry[0] for entry in seen[1:3]] == [1, 2] and seen[-1] == "finish"
    board = types.ModuleType("torch.utils.tensorboard")

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            seen.append(purge_step)

        def add_scalar(self, name, value, step):
            seen.append((name, step))

        def close(self):
            seen.append("closed")

    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    train(configure(Config, None, told(tracker="tensorboard", steps=3)))
    assert ("grad_norm", 3) in seen and ("grad_norm", 2) not in seen and seen[-1] == "closed"  # it was resumed
    assert 3 in seen  # and what a killed process had of step 3 is hidden
