"""Parquet files from the Hugging Face hub, into the cache of its own library."""

from __future__ import annotations

from pathlib import Path

from editbench.types import EditbenchError


def download(dataset: str, revision: str, split: str = "", folder: str = "") -> Path:
    """Download the parquet files of a dataset, those that are not there yet.

    Args:
        dataset: `owner/name`.
        revision: branch, tag or commit.
        split: of which split; empty for all.
        folder: below which folder of the dataset; empty for all.

    Returns:
        The snapshot in the cache, named by the commit that the revision stands for.

    Raises:
        EditbenchError: if there is no such dataset, or no network and no copy; the message says what can be done.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    names = [f"{split}-*.parquet", f"{split}.parquet", f"{split}/*.parquet"] if split else ["*.parquet"]
    below = f"{folder.rstrip('/')}/" if folder else ""
    patterns = [f"{below}{between}{name}" for name in names for between in ("", "*/")]
    try:
        return Path(snapshot_download(dataset, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except HFValidationError:
        raise EditbenchError(f"no dataset {dataset!r}: neither a folder nor owner/name on the hub") from None
    except Exception as error:  # no network, no such name or revision, a licence that was not accepted, ...
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise EditbenchError(
            f"no dataset {dataset!r} at revision {revision!r}: no such folder, and nothing from the hub ({reason}). If "
            f"the name is right, `hf download --repo-type dataset {dataset}` gets it, after `hf auth login` where its "
            "licence must be accepted"
        ) from None
