"""Stop a run whose data is not fit to train on."""

from pathlib import Path
from typing import Final

from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import BlockedError, DataError

#: How many anomalies the error puts in words; the others are counted.
_IN_WORDS: Final = 5


def require_valid_data(*, anomalies_path: str) -> None:
    """Return where the verdict in `anomalies.json` is `passed`.

    Raises:
        BlockedError: It is `blocked`; the message has the first five errors in words, and how many more there are.
        DataError: The file is missing, or is not what `validate_data` writes.
    """
    file = Path(anomalies_path) / "anomalies.json"
    found = read_json(file)
    try:
        verdict = found["verdict"]
        blocking = [str(anomaly["text"]) for anomaly in found["anomalies"] if anomaly["severity"] == "error"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: not what validate_data writes ({type(error).__name__}: {error}); give its output `anomalies`") from error
    if blocking or verdict != "passed":
        listed = "; ".join(blocking[:_IN_WORDS])
        more = f"; and {len(blocking) - _IN_WORDS} more" if len(blocking) > _IN_WORDS else ""
        counted = f"{len(blocking)} {'anomaly' if len(blocking) == 1 else 'anomalies'}"
        raise BlockedError(f"the data is not fit to train on, {counted}: {listed}{more}")
