"""Every recipe is a configuration that would run, were its model here."""

import subprocess
import sys
from pathlib import Path

import pytest

from editbench.config import RunConfig, read_config
from editbench.editors import load_editor
from editbench.editors.diffusers_families import FAMILIES
from editbench.editors.diffusers_loading import Checkpoint
from editbench.recipes import recipes
from editbench.specs import parse
from editbench.types import EditbenchError


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_is_a_configuration_and_names_a_family(name, monkeypatch):
    config = RunConfig.from_mapping(read_config(Path(name)))
    assert config.label == Path(name).stem and config.suite == "shapes@1"
    family = parse(config.editor).options["pipeline"]
    found = Checkpoint("StableDiffusionPipeline", None)
    monkeypatch.setattr("editbench.editors.diffusers.find_checkpoint", lambda model, revision: found)
    offline = config.editor.replace(",offload=model", "")  # which needs an accelerator
    loaded = load_editor(offline)  # refuses options that the family does not have
    assert loaded.pipeline == family and loaded.steps is not None
    assert config.batch_size is None or FAMILIES[family].batch
    assert all(side % FAMILIES[family].multiple == 0 for side in (512, 1024))
    assert recipes()[name].endswith("weights.")


def test_a_file_of_ones_own_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "kontext.yaml").write_text("editor: identity\n")
    assert read_config(Path("recipes/kontext.yaml")) == {"editor": "identity"}
    assert read_config(Path("recipes/flux-fill.yaml"))["label"] == "flux-fill"


def test_a_recipe_that_is_mistyped():
    with pytest.raises(EditbenchError, match=r"no recipe of that name: did you mean 'recipes/kontext.yaml'\?"):
        read_config(Path("recipes/kontxt.yaml"))
    with pytest.raises(EditbenchError, match="No such file"):
        read_config(Path("kontext.yaml"))


def test_recipes_are_listed_and_run_by_name(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "editbench", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    listed = run("list", "recipes").stdout
    assert all(name in listed for name in recipes()) and len(recipes()) > 15
    done = run("run", "--config", "recipes/kontext.yaml", "--editor", "identity", "--limit", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs").is_dir() and '"ok": 2' in done.stdout.replace('"ok":2', '"ok": 2')
