"""Datasets and tables, whoever wrote them: Parquet and CSV files, directories of them, and directories of splits."""

from intermodal.runtime.datasets.reading import Dataset, open_dataset
from intermodal.runtime.datasets.tables import Tables, open_tables

__all__ = ["Dataset", "Tables", "open_dataset", "open_tables"]
