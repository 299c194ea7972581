"""`python -m editbench.shapes_tiny train | report`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from editbench.shapes_tiny import ACCURACY, FOLDER
from editbench.shapes_tiny.train import Recipe, train


def main() -> None:
    """Train, or measure what was trained."""
    parser = argparse.ArgumentParser(prog="python -m editbench.shapes_tiny", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train", help="train from scratch, or go on with an interrupted training")
    training.add_argument("--output-dir", type=Path, required=True, help="folder for the model and the checkpoint")
    for field in fields(Recipe):
        kind = float if isinstance(field.default, float) else int
        training.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    reporting = verbs.add_parser("report", help="measure a model and write accuracy.json into its folder")
    reporting.add_argument("--folder", type=Path, default=FOLDER)
    given = vars(parser.parse_args())
    verb = given.pop("verb")
    if verb == "train":
        folder = given.pop("output_dir")
        train(Recipe(**given), folder)
    else:
        from editbench.shapes_tiny.accuracy import measure

        folder = given["folder"]
        text = json.dumps(measure(folder), indent=2) + "\n"
        (folder / ACCURACY.name).write_text(text, encoding="utf-8")
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
