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
from editbench.types import Content, Sample, Scenario

pytestmark = pytest.mark.slow

PIXELS = ("psnr:region=keep", "mae:region=keep", "mse:region=keep", "changed:region=keep", "psnr:region=edit")


def bare_loop(folder, lines, out):
    """The loop that everybody writes: decode, edit, encode, score, a line of JSON; nothing is checked or kept safe."""
    metrics = load_metrics(PIXELS)
    (out / "edits").mkdir(parents=True)
    with (out / "values.jsonl").open("w") as values:
        for line in lines:
            source = np.array(Pillow.open(folder / line["source"]))
            mask = np.array(Pillow.open(folder / line["mask"]))
            edit = source.copy()
            encoded = io.BytesIO()
            Pillow.fromarray(edit).save(encoded, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
            (out / "edits" / f"{line['id']}.png").write_bytes(encoded.getvalue())
            scenario = Scenario(line["id"], line["cluster"], "edit", "Go.", lambda s=source, m=mask: Content(s, m))
            (row,) = score(metrics, [Sample(scenario, edit)])
            values.write(json.dumps({"id": line["id"], **row}) + "\n")


def test_harness(race, write_suite, tmp_path):
    """`identity` with five pixel metrics, everything from the command on: loading, checks, journal, records, fsync."""
    lines = write_suite(tmp_path / "suite", 24)
    names = iter(range(10**6))

    def ours():
        out = tmp_path / f"ours{next(names)}"
        plan = make_plan(
            RunConfig(f"folder:{tmp_path / 'suite'}", "identity", metrics=",".join(PIXELS), output_dir=str(out))
        )
        for _ in carry_out(plan):
            pass

    bare = {"bare loop": lambda: bare_loop(tmp_path / "suite", lines, tmp_path / f"bare{next(names)}")}
    what = "a run of 24 scenarios, `identity`, five pixel metrics, 512×512"
    race(what, ours, bare, least=1 / 1.5)
    if (os.cpu_count() or 1) > 1:  # 1.5 times the floor, which is half a loop on each of two cores
        race(f"{what}, seconds of a clock", ours, bare, least=2 / 1.5, clock=time.perf_counter)
