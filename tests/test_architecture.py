import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "editbench").rglob("*.py"))
MAX_LINES = 320
GLOSSARY = ROOT / "editbench" / "types.py"
"""The nouns stand together, declarations only."""

LAYERS = (
    ("regions", "names"),
    ("types",),
    ("reading",),
    ("specs", "colours", "images", "png", "records", "built_in", "limits"),
    ("blocks",),
    ("columns",),
    ("record_files",),
    ("many_records",),
    ("registry", "masks", "transport", "surroundings", "lifeline", "stopping", "verdicts"),
    # L1
    ("durable",),
    ("differences", "cells", "objects"),
    ("heartbeats", "shared_folders"),
    ("claims", "mirrors"),
    ("suites", "metrics", "recipes", "journal", "stats", "provenance", "wire", "orphans", "toys"),
    ("quarantine", "ledger"),
    ("edit_files",),
    ("editors", "store", "published"),
    # L2
    ("execute",),
    ("worker", "isolation", "batches"),
    ("placement", "config", "connections", "compaction"),
    # L3
    ("chains", "changes"),
    ("plan", "serve"),
    ("editing", "scoring", "space"),
    ("work",),
    ("pool", "keeping"),
    ("loops",),
    # L4
    ("values", "same_suite"),
    ("means",),
    ("merge", "verify", "board", "shapes_tiny", "cards", "convert_hatie"),
    ("suite_cards",),
    ("audit", "compare", "splits"),
    ("report",),
    # L5
    ("conformance",),
    ("leaderboards", "testing"),
    ("console",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
"""From the bottom up: a module imports from layers below its own, and from its own folder."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module


def group(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_downwards(path):
    own = group(module_name(path))
    if own is None:  # the package itself offers everything, lazily
        return
    assert own in RANK, f"give {own} a place in LAYERS"
    for name in imports(path):
        if not name.startswith("editbench"):
            assert not name.startswith("edit_grpo_ref"), "the harness never imports the trainer"
            continue
        target = group(name)
        if target is not None and target != own:
            assert RANK[target] < RANK[own], f"{module_name(path)} imports {name}, which is not below it"


def test_an_upward_import_would_be_seen(tmp_path):
    source = tmp_path / "upward.py"
    source.write_text("def f():\n    from editbench.cli import main\n")
    assert list(imports(source)) == ["editbench.cli"]
    assert RANK["cli"] > RANK["board"]


@pytest.mark.parametrize("path", [path for path in MODULES if path != GLOSSARY], ids=module_name)
def test_files_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


TRAINER = {"train": 350, "flow": 250, "credit": 250}
"""What explains the method, and how long it may be."""


@pytest.mark.parametrize("name", TRAINER)
def test_the_trainers_heart_is_short(name):
    assert len((ROOT / "edit_grpo_ref" / f"{name}.py").read_text().splitlines()) <= TRAINER[name]


@pytest.mark.parametrize("name", ["flow", "credit"])
def test_the_trainers_mathematics_knows_nothing_but_tensors(name):
    allowed = {"__future__", "collections.abc", "dataclasses", "hashlib", "json", "math", "random", "typing"}
    allowed |= {"torch", "torch.nn.functional", "edit_grpo_ref.flow"}
    assert set(imports(ROOT / "edit_grpo_ref" / f"{name}.py")) <= allowed


def loaded_after(code):
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


CLI = """
from editbench.cli import app
try:
    app({arguments})
except SystemExit as end:
    assert end.code == 0, end.code
"""


RECORDS = [str(path) for path in sorted((ROOT / "leaderboards" / "records" / "shapes@1").glob("*.gz"))]


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_after("import editbench") & {"torch", "numpy", "pandas", "scipy", "skimage", "PIL"}


def test_the_board_knows_no_metric_no_editor_and_no_suite():
    loaded = loaded_after("import editbench.board")
    assert not {
        name for name in loaded if name.startswith(("editbench.metrics", "editbench.editors", "editbench.suites"))
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list"],
        ["run", "--suite", "shapes@1:size=32", "--editor", "recolor", "--limit", "2", "--metrics", "composite,seam"],
        ["check", "editor", "identity"],
        ["board", *RECORDS, "--html", "board.html", "--csv", "board.csv"],
        ["compare", *RECORDS[:2]],
    ],
    ids=lambda arguments: arguments[0],
)
def test_verbs_without_a_neural_metric_do_not_import_torch(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = loaded_after(CLI.format(arguments=arguments))
    assert not loaded & {"torch", "torchvision", "diffusers", "transformers", "open_clip", "lpips"}
    if arguments[0] in ("--help", "list"):
        assert not loaded & {"pandas", "scipy", "skimage", "jinja2"}


def test_no_module_is_named_for_nothing():
    assert not {path.stem for path in MODULES} & {"utils", "helpers", "common", "misc", "manager", "handler", "base"}
