"""The metrics' names. Standard library alone: arguments are checked where no array library is installed."""

from typing import Final

METRICS: Final = ("auc", "pr_auc", "log_loss", "brier", "accuracy", "ece")
#: With fewer blocks of rows nothing is said about chance.
MINIMUM_BLOCKS: Final = 10
#: Metrics of which more is better; of the others, less is.
RISING: Final = frozenset({"auc", "pr_auc", "accuracy"})
