"""Ready configurations for open models: `editbench run --config recipes/kontext.yaml`. A file of that name wins."""

from __future__ import annotations

from pathlib import Path

from editbench.specs import did_you_mean
from editbench.types import EditbenchError

FOLDER = "recipes"


def recipes() -> dict[str, str]:
    """Return the recipes that come with the package, by the name that `--config` takes, and what each is for."""
    return {f"{FOLDER}/{path.name}": _first_line(path) for path in _paths()}


def _paths() -> list[Path]:
    return sorted(Path(__file__).parent.glob("*.yaml"))


def _first_line(path: Path) -> str:
    return path.read_text("utf-8").partition("\n")[0].removeprefix("#").strip()


def config_path(path: Path) -> Path:
    """Return the file that `--config` names: that file, or the recipe if there is no such file.

    Raises:
        EditbenchError: if it is neither, and is named as a recipe.
    """
    if path.exists() or path.parts[:-1] != (FOLDER,):
        return path
    for recipe in _paths():
        if recipe.name == path.name:
            return recipe
    hint = did_you_mean(path.as_posix(), recipes()) or ": `editbench list recipes` shows all"
    raise EditbenchError(f"no file {str(path)!r}, and no recipe of that name{hint}")
