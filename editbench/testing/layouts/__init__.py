"""Writers of the formats of published benchmarks: what is loaded right in a test, in the exact layout on disk."""

from __future__ import annotations

from editbench.testing.layouts.pie import write_piebench
from editbench.testing.loaders import Written

WRITERS: dict[str, Written] = {
    "piebench:PATH": Written(write_piebench, size=(512, 512)),
}
"""By the spec that loads what is written."""
