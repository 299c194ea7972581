"""From files on disk to numbers: a small folder suite of photographs, through the command line."""

import importlib.resources
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PILImage

from editbench.record_files import read_records
from editbench.specs import split_list
from editbench.types import Detailed, Undefined

METRICS = (
    "psnr:region=keep,seam,seam_z,band_jump,leak_profile,leak_auc,far_change,global_shift,gms:region=keep,"
    "st_lpips:region=keep,ring"
)
SPECS = split_list(METRICS)
SIDE = 128


def photograph(file, left, top):
    with PILImage.open(importlib.resources.files("skimage") / "data" / file) as picture:
        return np.array(picture.convert("RGB").crop((left, top, left + SIDE, top + SIDE)))


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Three crops with masks of three kinds: a PNG, a JPEG; a 16-bit mask, a soft one, the alpha channel."""
    root = tmp_path_factory.mktemp("crops")
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc = (rows - 60) ** 2 + (columns - 66) ** 2 < 20**2
    square = (np.abs(rows - 64) < 18) & (np.abs(columns - 64) < 22)
    soft = np.clip((24 - np.hypot(rows - 64, columns - 64)) * 32 + 128, 0, 255)
    pictures = {
        "face.png": photograph("astronaut.png", 160, 60),
        "cup.jpg": photograph("coffee.png", 220, 120),
        "cat.png": photograph("chelsea.png", 130, 70),
        "disc.png": disc.astype(np.uint16) * np.uint16(65535),
        "soft.png": soft.astype(np.uint8),
        "glass.png": np.dstack([np.zeros((SIDE, SIDE, 3), np.uint8), np.where(square, 0, 255).astype(np.uint8)]),
        "small.png": np.zeros((8, 8), np.uint8),
        "empty.png": np.zeros((SIDE, SIDE), np.uint8),
    }
    for name, pixels in pictures.items():
        PILImage.fromarray(pixels).save(root / name)
    items = [
        {"id": "face", "source": "face.png", "mask": "disc.png"},
        {"id": "cup", "source": "cup.jpg", "mask": "soft.png", "mask_threshold": 128},
        {"id": "cat", "source": "cat.png", "mask": "glass.png", "mask_polarity": "transparent=edit"},
        {"id": "broken", "source": "cat.png", "mask": "small.png"},
        {"id": "nothing", "source": "cat.png", "mask": "empty.png"},
        {"id": "everything", "source": "cat.png"},
    ]
    lines = [json.dumps({"instruction": "Make it blue.", **item}) for item in items]
    (root / "scenarios.jsonl").write_text("\n\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def records(suite):
    """Records of every editor, by label and scenario."""
    found = {}
    for label, editor in (("identity", "identity"), ("fill", "fill"), ("blur", "blur"), ("noise", "noise")):
        output = suite / "runs" / label
        command = [sys.executable, "-m", "editbench", "run", "--suite", f"folder:{suite}", "--editor", editor]
        command += ["--metrics", METRICS, "--output-dir", str(output), "--batch-size", "4"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=suite)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "Warning" not in done.stderr
        found[label] = {record.scenario_id: record for record in read_records(output / "records.jsonl").records}
    return found


WHOLE = ("face", "cup", "cat")


def test_every_scenario_has_a_status_and_a_broken_one_says_why(records):
    for label, found in records.items():
        statuses = {name: record.edit_status for name, record in found.items()}
        expected = dict.fromkeys((*WHOLE, "nothing", "everything"), "ok")
        assert statuses == {**expected, "broken": "input_invalid"}, label
        assert found["broken"].reason == "mask 'small.png': size 8x8, but the source is 128x128"


def test_every_metric_has_a_finite_number_within_its_range_on_every_photograph(records):
    from editbench.metrics import load_metrics

    metrics = load_metrics(METRICS)
    assert list(metrics) == SPECS
    for label, found in records.items():
        for name in WHOLE:
            values = found[name].values
            assert set(values) == set(SPECS)
            for spec, metric in metrics.items():
                value = values[spec]
                assert isinstance(value, float) and math.isfinite(value), f"{label} {name} {spec}: {value}"
                assert metric.range[0] <= value <= metric.range[1], f"{label} {name} {spec}: {value}"


def test_where_there_is_no_border_there_is_no_number_and_the_same_for_every_editor(records):
    for name in ("nothing", "everything"):
        undefined = [
            {spec: value.reason for spec, value in found[name].values.items() if isinstance(value, Undefined)}
            for found in records.values()
        ]
        assert all(other == undefined[0] for other in undefined)
        numbers = set(SPECS) - set(undefined[0])
        assert not numbers & {"seam", "seam_z", "band_jump", "leak_profile", "leak_auc", "far_change", "ring"}
        assert ("psnr:region=keep" in numbers) == (name == "nothing")


def test_an_untouched_image_has_the_best_value_everywhere(records):
    for name in WHOLE:
        best = records["identity"][name].values
        assert best["psnr:region=keep"] == 100 and best["gms:region=keep"] == 1
        for spec in ("seam", "band_jump", "leak_profile", "leak_auc", "far_change", "st_lpips:region=keep", "ring"):
            assert best[spec] == 0, spec


def test_what_stays_inside_the_mask_is_seen_at_its_border_alone(records):
    for name in WHOLE:
        fill = records["fill"][name].values
        assert fill["psnr:region=keep"] == 100 and fill["gms:region=keep"] == 1 and fill["st_lpips:region=keep"] == 0
        assert fill["leak_auc"] == fill["far_change"] == 0 and fill["ring"] > 0


def test_what_changes_the_whole_image_is_seen_by_what_looks_at_it(records):
    for label in ("blur", "noise"):
        for name in WHOLE:
            values = records[label][name].values
            assert values["psnr:region=keep"] < 40 and values["gms:region=keep"] < 1
            for spec in ("leak_profile", "leak_auc", "far_change", "st_lpips:region=keep", "ring"):
                assert values[spec] > 0, spec


def test_the_curve_of_a_leak_profile_is_in_the_records(records):
    value = records["noise"]["face"].values["leak_profile"]
    assert isinstance(value, Detailed) and value == records["noise"]["face"].values["leak_auc"]
    details = value.details
    assert len(details["edges"]) == 8 and len(details["curve"]) == len(details["pixels"]) == 7
    disc = int(((np.mgrid[:SIDE, :SIDE] - np.array([60, 66])[:, None, None]) ** 2).sum(axis=0).__lt__(400).sum())
    assert sum(details["pixels"]) == SIDE * SIDE - disc


def test_a_run_again_finds_everything_done_and_changes_no_byte(suite, records):
    output = suite / "runs" / "fill"
    before = (output / "records.jsonl").read_bytes()
    command = [sys.executable, "-m", "editbench", "run", "--suite", f"folder:{suite}", "--editor", "fill"]
    command += ["--metrics", METRICS, "--output-dir", str(output), "--batch-size", "4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=suite)
    assert done.returncode == 0 and (output / "records.jsonl").read_bytes() == before
