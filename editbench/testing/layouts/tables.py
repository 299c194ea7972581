"""Parquet files as the `datasets` library writes them: pictures are structs of bytes and path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from editbench.png import encode_png
from editbench.regions import Mask
from editbench.types import Image


def write_table(
    path: Path, texts: Mapping[str, Sequence[object]], pictures: Mapping[str, Sequence[bytes | None]], group: int = 100
) -> None:
    """Write one table.

    Args:
        path: of the file; its folder is made.
        texts: columns of texts or numbers; whole numbers are written as 64 bits.
        pictures: columns of PNG or JPEG files, None where a row has none.
        group: rows in a group, 100 by default as for datasets of pictures.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns: dict[str, Any] = {name: pa.array(list(values)) for name, values in texts.items()}
    for name, files in pictures.items():
        cells = [None if data is None else {"bytes": data, "path": None} for data in files]
        columns[name] = pa.array(cells, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)


def split_path(folder: Path, split: str, part: int = 0, parts: int = 1) -> Path:
    """Return what the hub calls a part of a split."""
    return folder / "data" / f"{split}-{part:05d}-of-{parts:05d}.parquet"


def png(image: Image | Mask | None) -> bytes:
    """Return a PNG; of a mask, True is white."""
    assert image is not None
    return encode_png(image.astype(np.uint8) * np.uint8(255) if image.dtype == np.bool_ else image.astype(np.uint8))
