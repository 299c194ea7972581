"""Writers of the formats of published benchmarks: what is loaded right in a test, in the exact layout on disk."""

from __future__ import annotations

from editbench.testing.layouts.coco import write_coco, write_editval
from editbench.testing.layouts.gie import write_giebench
from editbench.testing.layouts.hatie import write_hatie
from editbench.testing.layouts.pie import write_brushbench, write_piebench, write_piebench_pp
from editbench.testing.layouts.ted import write_tedbench
from editbench.testing.loaders import Written

WRITERS: dict[str, Written] = {
    "brushbench:PATH": Written(write_brushbench, size=(512, 512)),
    "coco:PATH": Written(write_coco),
    "editval:PATH": Written(write_editval),
    "giebench:PATH": Written(write_giebench, size=(448, 448)),
    "hatie:PATH": Written(write_hatie),
    "piebench:PATH": Written(write_piebench, size=(512, 512)),
    "piebench_pp:PATH": Written(write_piebench_pp, size=(512, 512)),
    "tedbench:PATH": Written(write_tedbench),
}
"""By the spec that loads what is written."""
