"""What comparing costs: 10 editors on 700 scenarios of 120 scenes by 40 metrics, the first against each other one."""

import numpy as np
import pytest

from editbench.board import build_boards
from editbench.compare import Compared, compare, load_runs
from editbench.record_files import RecordFile, format_records
from editbench.records import EditorInfo, Header, MetricInfo, SuiteInfo
from editbench.types import Record

EDITORS, SCENARIOS, CLUSTERS, METRICS = 10, 700, 120, 40
INFO = {f"metric_{index:02}": MetricInfo(1, "higher", "", (0.0, 1.0)) for index in range(METRICS - 1)}
INFO["composite"] = MetricInfo(1, "higher", "", (0.0, 1.0), failed_value=0.0)


@pytest.fixture(scope="module")
def runs():
    generator = np.random.default_rng(0)
    suite = SuiteInfo("large@1", "ab" * 32, SCENARIOS, "large@1")
    found = []
    for editor in range(EDITORS):
        values = generator.beta(2, 2, (SCENARIOS, METRICS)).tolist()
        header = Header(suite, EditorInfo("x", f"editor {editor}", "none"), 0, 1, "error", INFO)
        records = [
            Record(
                scenario_id=f"s{index:04}",
                cluster=f"c{index % CLUSTERS:03}",
                category=f"category {index % 12}",
                repeat=0,
                edit_status="ok",
                edit_sha256="ed" * 32,
                pixels_sha256=f"{index:064}",
                values=dict(zip(INFO, row, strict=True)),
            )
            for index, row in enumerate(values)
        ]
        found.append(Compared(f"editor {editor}", RecordFile(header, records, f"{editor:064}")))
    return found


@pytest.mark.benchmark(group="10 editors x 700 scenarios x 40 metrics")
def test_compare(benchmark, runs):
    comparison = benchmark.pedantic(lambda: compare(runs), rounds=1)
    assert comparison.tests == (EDITORS - 1) * METRICS


@pytest.mark.benchmark(group="10 editors x 700 scenarios x 40 metrics")
def test_read_and_compare(benchmark, runs, tmp_path):
    paths = []
    for run in runs:
        path = tmp_path / f"{run.name}.jsonl"
        path.write_bytes(b"".join(format_records(run.header, run.file.records)))
        paths.append(path)
    comparison = benchmark.pedantic(lambda: compare(load_runs(paths)), rounds=1)
    assert len(comparison.duels) == EDITORS - 1


@pytest.mark.benchmark(group="10 editors x 700 scenarios x 40 metrics")
def test_board(benchmark, runs):
    (board,) = benchmark.pedantic(lambda: build_boards([run.file for run in runs]), rounds=1)
    assert all(row.rank_range is not None for row in board.rows)
