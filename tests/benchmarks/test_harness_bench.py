"""What a run costs around the metrics: beside the loop that everybody writes."""

import io
import json
import os
import time
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from editbench.config import RunConfig
from editbench.loops import carry_out
from editbench.metrics import load_metrics, score
from editbench.plan import make_plan
from editbench.png import encode_png
from editbench.types import Content, Sample, Scenario

pytestmark = pytest.mark.slow

PIXELS = ("psnr:region=keep", "mae:region=keep", "mse:region=keep", "changed:region=keep", "psnr:region=edit")


def by_pillow(image):
    """The fastest of Pillow's settings that pack at all (test_codec.py)."""
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return file.getvalue()


def bare_loop(folder, lines, out, encode):
    """The loop that everybody writes: decode, edit, encode, score, a line of JSON; nothing is checked or kept safe."""
    metrics = load_metrics(PIXELS)
    (out / "edits").mkdir(parents=True)
    with (out / "values.jsonl").open("w") as values:
        for line in lines:
            source = np.array(Pillow.open(folder / line["source"]))
            mask = np.array(Pillow.open(folder / line["mask"]))
            edit = source.copy()
            (out / "edits" / f"{line['id']}.png").write_bytes(encode(edit))
            scenario = Scenario(line["id"], line["cluster"], "edit", "Go.", lambda s=source, m=mask: Content(s, m))
            (row,) = score(metrics, [Sample(scenario, edit)])
            values.write(json.dumps({"id": line["id"], **row}) + "\n")


def test_harness(race, write_suite, tmp_path):
    """`identity` with five pixel metrics, everything from the command on: loading, checks, journal, records, fsync.

    Aims: 1.5 times the floor of codec and metrics, which is the loop with our codec, and 20 ms a scenario. On two cores
    the floor would be half a loop; a run keeps within 1.5 times half of Pillow's, not of ours.
    """
    lines = write_suite(tmp_path / "suite", 24)
    names = iter(range(10**6))

    def ours():
        out = tmp_path / f"ours{next(names)}"
        plan = make_plan(
            RunConfig(f"folder:{tmp_path / 'suite'}", "identity", metrics=",".join(PIXELS), output_dir=str(out))
        )
        for _ in carry_out(plan):
            pass

    def loop(some, encode):
        return lambda: bare_loop(tmp_path / "suite", some, tmp_path / f"bare{next(names)}", encode)

    pillow, own = "bare loop", "bare loop, our codec"
    peers = {pillow: loop(lines, by_pillow), own: loop(lines, encode_png)}
    what = "a run of 24 scenarios, `identity`, five pixel metrics, 512×512"
    race(what, ours, peers, least=1 / 1.5, floor=own)
    if (os.cpu_count() or 1) > 1:
        race(
            f"{what}, seconds of a clock",
            ours,
            peers,
            least={pillow: 2 / 1.5, own: 0.9},
            note="the floor is half a loop, our codec",
            floor=loop(lines[::2], encode_png),
            clock=time.perf_counter,
        )
