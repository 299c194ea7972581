"""Groups of a board's columns: what they look at, read off the specs of their metrics."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, get_args

from editbench.board import FIRST
from editbench.report.numbers import name_and_options

Group: TypeAlias = Literal[
    "ranking",
    "edit region",
    "keep region",
    "border",
    "whole image",
    "against the target",
    "legacy protocols",
    "more",
]
GROUPS: tuple[Group, ...] = get_args(Group)
"""From left to right."""

_REGIONS: dict[str, Group] = {"edit": "edit region", "keep": "keep region", "band": "border", "all": "whole image"}
_WITHOUT_OPTION: dict[str, Group] = {
    **dict.fromkeys(("seam", "seam_z", "band_jump", "ring"), "border"),
    **dict.fromkeys(("leak_profile", "leak_auc", "far_change", "global_shift"), "keep region"),
}
"""Metrics that look at one place only, and whose specs do not say so."""


def group_of(metric: str) -> Group:
    """Return the group of a metric's column.

    >>> group_of("composite"), group_of("psnr:region=keep"), group_of("target:ssim,region=edit"), group_of("mine")
    ('ranking', 'keep region', 'against the target', 'more')
    """
    name, options = name_and_options(metric)
    if metric in FIRST:
        return "ranking"
    if name == "target":
        return "against the target"
    if name.startswith("legacy_"):
        return "legacy protocols"
    region = re.search(r"(?:^|,)region=(\w+)", options)
    if region and region[1] in _REGIONS:
        return _REGIONS[region[1]]
    return _WITHOUT_OPTION.get(name, "more")
