"""Every parser, on tens of thousands of broken inputs: a valid value or the documented error, nothing else."""

import pytest
from fuzz import image_parsers
from fuzz.engine import FOUND, fuzz, try_one, watch

PARSERS = {parser.name: parser for parser in image_parsers.parsers()}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr("editbench.images.MAX_PIXELS", 250_000)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", PARSERS)
def test_whatever_it_is_given_it_is_read_or_refused(name, long, figure, tmp_path):
    parser = PARSERS[name]
    count = parser.long if long else parser.short
    accepted = fuzz(parser, count, tmp_path)
    figure(f"inputs of {name} ({accepted:,} accepted)", count, count)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_was_broken_once_stays_mended(path, tmp_path):
    with watch():
        try_one(PARSERS[path.parent.name], path.read_bytes(), tmp_path)
