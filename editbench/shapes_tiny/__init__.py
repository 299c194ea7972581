"""The recipe of `shapes-tiny`, a CLIP for the pictures and prompts of `shapes@1`, and what it made.

`python -m editbench.shapes_tiny train` makes the weights that this folder holds, `… report` measures them on held-out
scenes and on the suite. The metrics read the files; they import nothing from here.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
CONFIG = FOLDER / "open_clip_config.json"
MODEL = FOLDER / "open_clip_model.safetensors"
WORDS = FOLDER / "words.txt.gz"
TRAINING = FOLDER / "training.json"
ACCURACY = FOLDER / "accuracy.json"
