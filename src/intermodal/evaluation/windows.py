"""Names of the rows that a model is judged on, by which it is known which rows judged which models."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def window_name(blocks: NDArray[Any], label: NDArray[np.float64], *, ordered: bool) -> str:
    """Return a name of rows, whatever features they have: a hash of their blocks and labels, and, where blocks have an order, the first and last.

    Args:
        blocks: The block of each row, shape (rows,).
        label: 0 or 1, shape (rows,).
        ordered: Whether the order of the blocks is that of time.
    """
    texts = [str(each) for each in blocks]
    content = hashlib.sha256("\n".join(texts).encode())
    content.update(label.astype(np.int8).tobytes())
    name = content.hexdigest()[:16]
    return f"{name}@{min(texts)}..{max(texts)}" if ordered and len(texts) else name


def share_rows(one: str, other: str) -> bool:
    """Return whether two windows have rows in common: the same ones, or days, beyond the one where one of them ends and the other begins."""
    (first, spanned), (second, also) = (each.split("@", 1) if "@" in each else (each, "") for each in (one, other))
    if first == second:
        return True
    (start, _, end), (begin, _, stop) = spanned.partition(".."), also.partition("..")
    return bool(end and stop) and start < stop and begin < end
