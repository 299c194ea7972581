"""Every parser, on tens of thousands of broken inputs: a valid value or the documented error, nothing else."""

import pytest
from fuzz import image_parsers, run_parsers, service_parsers, suite_parsers, trainer_parsers
from fuzz.engine import FOUND, fuzz, try_one, watch

MODULES = (image_parsers, run_parsers, suite_parsers, service_parsers, trainer_parsers)
PARSERS = {name: make for module in MODULES for name, make in module.FACTORIES.items()}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Let a bomb be what exceeds some megabytes."""
    monkeypatch.setattr("editbench.images.MAX_PIXELS", 300_000)
    monkeypatch.setattr("editbench.record_files.MAX_BYTES", 50_000_000)


@pytest.fixture(scope="module", autouse=True)
def _no_thread_is_left():
    yield
    if service_parsers.answering.cache_info().currsize:
        service_parsers.answering().close()
        service_parsers.answering.cache_clear()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PARSERS)
def test_whatever_it_is_given_it_is_read_or_refused(name, long, figure, tmp_path):
    parser = PARSERS[name]()
    count = parser.long if long else parser.short
    accepted = fuzz(parser, count, tmp_path)
    figure(f"inputs of {name}, {accepted:,} of them accepted", count, count)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_was_broken_once_stays_mended(path, tmp_path):
    with watch():
        try_one(PARSERS[path.parent.name](), path.read_bytes(), tmp_path)
