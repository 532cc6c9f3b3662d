"""Names of tensors for columns: TensorFlow takes letters, digits and underscores, and a column may be called anything."""

import re
from collections.abc import Iterable


def tensor_names(columns: Iterable[str]) -> dict[str, str]:
    """Return a name for each column's tensor: the column's own where TensorFlow takes it, else one like it that no other column has."""
    columns = list(columns)
    taken = {each for each in columns if _fits(each)}
    names = {}
    for column in columns:
        name = column
        if not _fits(column):
            like = re.sub(r"[^A-Za-z0-9_]", "_", column)
            like = like if re.match(r"[A-Za-z]", like) else f"column_{like}"
            name, number = like, 2
            while name in taken:
                name, number = f"{like}_{number}", number + 1
            taken.add(name)
        names[column] = name
    return names


def _fits(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None
