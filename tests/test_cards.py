import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editbench import suite_cards
from editbench.built_in import BUILT_IN
from editbench.cards import card, page, read_docstring
from editbench.cli import app
from editbench.metrics.legacy import brushnet, gie, magicbrush, pie
from editbench.registry import lookup
from editbench.suites import published_terms

DOCUMENTS = {
    kind: Path(__file__).parents[1] / "docs" / page
    for kind, page in (("metrics", "metrics.md"), ("suites", "benchmarks.md"))
}
TERMS = published_terms()
NAMES = list(BUILT_IN["metric"])
LEGACY = {"pie": pie, "brushnet": brushnet, "gie": gie, "magicbrush": magicbrush}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_document_is_what_the_command_prints(kind):
    done = CliRunner().invoke(app, ["list", kind, "--cards"])
    assert done.exit_code == 0, done.output
    page = DOCUMENTS[kind]
    stale = f"docs/{page.name} is stale: run `editbench list {kind} --cards > docs/{page.name}`"
    assert done.stdout_bytes == page.read_bytes(), stale


@pytest.mark.parametrize("name", TERMS)
def test_every_loader_is_one_small_file_with_a_complete_card(name):
    cls = lookup("suite", name)
    doc = read_docstring(cls)
    undocumented = {f.name for f in fields(cls) if f.init} - set(doc.options)
    assert doc.text and not undocumented, f"{name}: no line in Args for {undocumented}"
    lines = Path(sys.modules[cls.__module__].__file__).read_text().count("\n")
    assert lines <= 120, f"{name}: {lines} lines"
    text = suite_cards.card(name, TERMS[name])
    assert all(unconfirmed in text for unconfirmed in TERMS[name].unconfirmed) and TERMS[name].home in text


def test_cards_are_for_metrics_and_suites():
    done = CliRunner().invoke(app, ["list", "editors", "--cards"])
    assert done.exit_code == 2 and "--cards" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_card_is_complete(name):
    cls = lookup("metric", name)
    doc = read_docstring(cls)
    assert doc.text and doc.references and doc.disagreements
    undocumented = {f.name for f in fields(cls) if f.init} - set(doc.options) - {"region"}
    assert not undocumented, f"{name}: no line in Args for {undocumented}"
    text = card(name)
    for row in ("Spec", "Region", "Direction", "Range", "Needs", "Version", "Libraries", "Weights", "Canaries"):
        assert f"\n| {row} | " in text
    assert "|  |\n" not in text.replace("|  |  |\n", ""), "an empty cell"


@pytest.mark.parametrize("name", LEGACY)
def test_a_protocol_lists_every_quantity(name):
    text = card(f"legacy_{name}")
    for quantity, about in LEGACY[name].QUANTITIES.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| `legacy_{name}:{quantity}` |"))
        assert {"higher": "higher", "lower": "lower", "none": "neither"}[about.direction] in row


def test_a_card_follows_the_class(monkeypatch):
    from editbench.metrics.pixel import Psnr

    before = card("psnr")
    assert "| Range | 0 to 100 dB |" in before and "| Version | 1 |" in before
    monkeypatch.setattr(Psnr, "version", 2)
    monkeypatch.setattr(Psnr, "range", (-3.5, float("inf")))
    assert "| Range | −3.5 to ∞ dB |" in card("psnr") and "| Version | 2 |" in card("psnr")


def test_the_page_does_not_depend_on_what_is_installed(no_weights, monkeypatch):
    monkeypatch.setenv("EDITBENCH_JUDGE_URL", "http://127.0.0.1:1/v1")
    assert page() == DOCUMENTS["metrics"].read_text(encoding="utf-8")


def test_the_page_needs_no_network_library():
    script = "import sys\nfrom editbench.cards import page\npage()\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "transformers", "open_clip", "skimage", "pandas"}


def test_links_lead_to_cards():
    text = page()
    for name in NAMES:
        assert f"\n## {name}\n" in text and f"[`{name}`](#{name})" in text
