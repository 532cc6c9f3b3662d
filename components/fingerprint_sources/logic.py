"""One text that changes when, and only when, the files behind sources change."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from intermodal.components.fingerprint_sources.arguments import check_arguments
from intermodal.components.ingest_tables.listing import find_files
from intermodal.components.ingest_tables.source import Source

_REQUESTS_AT_A_TIME = 16


def fingerprint_sources(sources: Sequence[Any]) -> str:
    """Return a fingerprint of the files that `ingest_tables` would read now.

    Args:
        sources: As `ingest_tables` takes them: URIs or objects.

    Returns:
        64 hexadecimal digits: of files here their content counts, of objects in a store name, generation or version, etag, size and time.

    Raises:
        ConfigurationError: A source makes no sense.
        DataError: There are no files, or a change of one could not be detected.
        StoreError: A store cannot be reached, or refuses.
    """
    check_arguments(sources=sources)
    digest = hashlib.sha256()
    with ThreadPoolExecutor(_REQUESTS_AT_A_TIME) as pool:
        for source in map(Source.parse, sources):
            states = list(pool.map(lambda file: file.state(), find_files(source.uri, source.format)))
            digest.update(json.dumps([source.name, states]).encode())
    return digest.hexdigest()
