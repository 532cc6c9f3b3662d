"""Dataset artifacts, whoever wrote them: a Parquet or CSV file, a directory of them, or a directory of splits."""

from intermodal.runtime.datasets.reading import Dataset, open_dataset

__all__ = ["Dataset", "open_dataset"]
