"""What people use beside us, doing the same work on the same data. docs/speed.md keeps the ratios, and says why."""

from collections import deque

import numpy as np
import orjson
import pytest

pytestmark = pytest.mark.slow

SIDE = 512


def test_ssim(race, photograph, scored):
    import torch
    from pytorch_msssim import ssim
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    from editbench.metrics import structural

    source, _, output = photograph
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in (output, source)]
    ours = scored("ssim:region=all")
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    peers = {
        "scikit-image": lambda: structural_similarity(source, output, data_range=255, **gaussian),
        "torchmetrics": lambda: structural_similarity_index_measure(*tensors, data_range=1.0).item(),
        "pytorch-msssim": lambda: ssim(*tensors, data_range=1.0).item(),
    }
    for name, peer in peers.items():
        assert float(ours()) == pytest.approx(float(peer()), abs=5e-3), name

    everywhere = np.ones((SIDE, SIDE), bool)
    places = [(place, structural._around(place, everywhere.shape)) for place in structural._tiles(everywhere)]
    fields = [np.ones((12, *everywhere[around].shape), np.float32) for _, around in places]

    def blurs():
        for planes, (place, around) in zip(fields, places, strict=True):
            structural._blurred(planes, place, around)

    race("`ssim:region=all`, 512×512", ours, peers, least=1.0, note="the floor is its blurs", floor=blurs)


def test_intervals(race):
    """A mean of 700 scenarios from 120 photographs with its interval; the peer resamples clusters, as is common."""
    from scipy.stats import bootstrap

    from editbench.stats import estimate

    generator = np.random.default_rng(0)
    values = generator.beta(2, 3, 700)
    clusters = [f"c{index % 120}" for index in range(700)]
    sums = np.array([values[np.array(clusters) == name].sum() for name in sorted(set(clusters))])
    counts = np.array([clusters.count(name) for name in sorted(set(clusters))])

    def theirs():
        def ratio(total, count, axis):
            return total.sum(axis=axis) / count.sum(axis=axis)

        found = bootstrap((sums, counts), ratio, paired=True, n_resamples=9999, method="percentile", random_state=0)
        return found.confidence_interval

    ours = estimate(list(values), clusters, (0.0, 1.0))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs()), abs=0.005)
    race(
        "a mean with its interval, 700 scenarios of 120 clusters",
        lambda: estimate(list(values), clusters, (0.0, 1.0)),
        {"scipy.stats.bootstrap, 9,999 resamples": theirs},
        least=2.0,
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_run_lengths(race):
    from pycocotools import mask as coco

    from editbench.suites.runs import decode_runs, encode_runs

    rows, columns = np.mgrid[:SIDE, :SIDE]
    disc = (rows - 256) ** 2 + (columns - 256) ** 2 < 130**2
    runs = encode_runs(disc)
    code = coco.encode(np.asfortranarray(disc.astype(np.uint8)))

    def double_loop():
        flat = np.zeros(SIDE * SIDE)
        for start, length in zip(runs[::2], runs[1::2], strict=True):
            for offset in range(min(length, flat.size - start)):
                flat[start + offset] = 1
        return flat.reshape(SIDE, SIDE)

    for decoded in (decode_runs(runs, SIDE, SIDE).mask, coco.decode(code).astype(bool), double_loop().astype(bool)):
        np.testing.assert_array_equal(decoded, disc)

    def times(call, count):
        return lambda: [call() for _ in range(count)]

    peers = {
        "pycocotools, 50 times": times(lambda: coco.decode(code), 50),
        "PnPInversion's double loop, 50 times": times(double_loop, 50),
    }
    borders = np.flatnonzero(np.diff(disc.ravel(), prepend=~disc[0, 0], append=~disc[-1, -1]))
    inside, lengths = disc.ravel()[borders[:-1]], np.diff(borders)
    np.testing.assert_array_equal(np.repeat(inside, lengths), disc.ravel())
    race(
        "run lengths of a 512×512 mask, 50 times",
        times(lambda: decode_runs(runs, SIDE, SIDE), 50),
        peers,
        least=0.9,
        note="the floor is `numpy.repeat`",
        floor=times(lambda: np.repeat(inside, lengths), 50),
    )


def test_board(race, tmp_path):
    """20 runs of 240 records and ten metrics; the peer's table has no statuses, no reasons, and gets no intervals."""
    import pandas as pd

    from editbench.board import build_boards
    from editbench.record_files import format_records, read_records
    from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
    from editbench.types import Record

    info = {f"metric_{index}": MetricInfo(1, "higher", "", (0.0, 1.0)) for index in range(10)}
    generator = np.random.default_rng(0)
    suite = SuiteInfo("s@1", "ab" * 32, 240, "s@1")
    rows, paths = [], []
    for run in range(20):
        values = generator.random((240, 10)).tolist()
        header = Header(suite, EditorInfo("x", f"editor {run}", "none"), 0, 1, "error", info)
        records = [
            Record(
                f"s{i:03}",
                f"c{i % 40}",
                "edit",
                0,
                "ok",
                "ed" * 32,
                f"{i:064}",
                values=dict(zip(info, row, strict=True)),
            )
            for i, row in enumerate(values)
        ]
        paths.append(tmp_path / f"{run}.jsonl")
        paths[-1].write_bytes(b"".join(format_records(header, records)))
        rows += [
            {"editor": f"editor {run}", "scenario": i, **dict(zip(info, row, strict=True))}
            for i, row in enumerate(values)
        ]
    pd.DataFrame(rows).to_csv(tmp_path / "wide.csv")

    def boards():
        return build_boards([read_records(path) for path in paths])

    def means():
        return pd.read_csv(tmp_path / "wide.csv").groupby("editor").mean()

    table, (board,) = means(), boards()
    for row in board.rows:
        found = {column.metric: cell.estimate.mean for column, cell in row.cells.items()}
        assert found == pytest.approx(table.loc[row.editor.label, list(info)].to_dict(), rel=1e-12)
    assert len(board.rows) == len(table) == 20
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    race(
        "a board of 20 runs, 240 scenarios, ten metrics, with intervals",
        boards,
        {"pandas, means of a wide CSV": means},
        least=0.05,
        note="its means are ours, without intervals, reasons or checks; the floor is parsing alone",
        floor=lambda: deque(map(orjson.loads, lines), maxlen=0),
    )
