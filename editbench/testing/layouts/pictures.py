"""Writing the pictures of a format: PNG and JPEG files, masks, cells of a table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from editbench.regions import Mask
from editbench.types import Image


def write_png(path: Path, image: Image) -> None:
    """Write a PNG file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(image).save(path, "PNG")


def write_mask(path: Path, white: Mask) -> None:
    """Write a mask as an 8-bit grey PNG file, True = white."""
    write_png(path, white.astype(np.uint8) * 255)


def png_cell(image: Image, name: str) -> dict[str, Any]:
    """Return a picture as the `datasets` library writes it into a table: `{"bytes", "path"}`."""
    buffer = io.BytesIO()
    PILImage.fromarray(image).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": name}


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a parquet file of a few rows a group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path, row_group_size=2)
