"""Compare runs: is one better than the others, where, by how much, and how sure is that?"""

from __future__ import annotations

from editbench.compare.comparison import Comparison, Difference, Duel, Flips, Slice, Verdict
from editbench.compare.paired import compare
from editbench.compare.runs import Compared, amounts, load_runs
from editbench.compare.slices import SLICES

__all__ = [
    "SLICES",
    "Compared",
    "Comparison",
    "Difference",
    "Duel",
    "Flips",
    "Slice",
    "Verdict",
    "amounts",
    "compare",
    "load_runs",
]
