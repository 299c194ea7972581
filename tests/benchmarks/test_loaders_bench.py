"""Loading published benchmarks: decoding run lengths, and a whole PIE-Bench-shaped folder through the check."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image as Pillow
from skimage import data

from editbench.images import resize
from editbench.suites.runs import decode_runs, encode_runs

SIDE = 512


def disc():
    """A fifth of the picture in one piece: 259 runs."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - 256) ** 2 + (columns - 256) ** 2 < 130**2


def by_double_loop(runs):
    """As PnPInversion decodes: pixel by pixel in every run."""
    flat = np.zeros(SIDE * SIDE)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for offset in range(min(length, flat.size - start)):
            flat[start + offset] = 1
    return flat.reshape(SIDE, SIDE)


def by_pycocotools():
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(disc(), np.uint8))
    return lambda: coco.decode(code)


@pytest.mark.benchmark(group="runs of a 512x512 mask")
@pytest.mark.parametrize("decoder", ["ours", "double loop", "pycocotools, from its own code"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_decode_runs(benchmark, decoder):
    runs = encode_runs(disc())
    decoders = {
        "ours": lambda: decode_runs(runs, SIDE, SIDE).mask,
        "double loop": lambda: by_double_loop(runs),
        "pycocotools, from its own code": by_pycocotools(),
    }
    np.testing.assert_array_equal(benchmark(decoders[decoder]), disc())


def fastest(call, rounds):
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.slow
def test_runs_are_decoded_fifty_times_as_fast_as_by_a_double_loop():
    runs = encode_runs(disc())
    ratio = fastest(lambda: by_double_loop(runs), 5) / fastest(lambda: decode_runs(runs, SIDE, SIDE), 200)
    print(f"{ratio:.0f} times")
    assert ratio >= 50


def photograph_after_photograph(count):
    """Crops of photographs, none like another."""
    pictures = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    random = np.random.default_rng(0)
    for index in range(count):
        picture = pictures[index % len(pictures)]
        side = int(random.integers(200, min(picture.shape[:2])))
        top, left = (int(random.integers(0, length - side)) for length in picture.shape[:2])
        yield resize(np.ascontiguousarray(picture[top : top + side, left : left + side]), SIDE, SIDE)


def write_seven_hundred(folder):
    """PIE-Bench's own shape and size: 700 JPEGs of 512x512, masks from a few runs to hundreds."""
    mapping = {}
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for index, picture in enumerate(photograph_after_photograph(700)):
        path = folder / "annotation_images" / "1_change_object_80" / "1_artificial" / f"{index:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(picture).save(path, quality=90)
        mask = (rows - 200 - index % 100) ** 2 + (columns - 256) ** 2 < (20 + index % 180) ** 2
        mapping[f"{index:012d}"] = {
            "image_path": str(path.relative_to(folder / "annotation_images")),
            "original_prompt": "a [cat]",
            "editing_prompt": "a [dog]",
            "editing_instruction": "Make it a dog.",
            "editing_type_id": "1",
            "blended_word": "cat dog",
            "mask": encode_runs(mask),
        }
    (folder / "mapping_file.json").write_text(json.dumps(mapping))


@pytest.mark.slow
def test_a_folder_of_the_size_of_pie_bench_is_loaded_and_checked(tmp_path):
    write_seven_hundred(tmp_path / "data")
    start = time.perf_counter()
    command = [sys.executable, "-m", "editbench", "check", "suite", f"piebench:{tmp_path / 'data'}"]
    done = subprocess.run([*command, "--html", str(tmp_path / "page")], capture_output=True, text=True)
    print(f"{time.perf_counter() - start:.1f} s, overlays of the first scenarios included")
    assert done.returncode == 0, done.stderr
    assert "700 of 700 scenarios read" in done.stdout
