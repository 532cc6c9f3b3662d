"""Contract of `fingerprint_sources`."""

from intermodal.authoring.decorator import component


@component(image="data", cached=False)
def fingerprint_sources(sources: list) -> str:
    """Look at the files behind sources, and return a text that changes when they do. It never comes from a cache: what it says is so now.

    Args:
        sources: URIs or objects, as `ingest_tables` takes them; exactly the files that it would read are looked at. Of local files the content
            counts, of objects in gs:// or s3:// name, generation or version, etag, size and time of writing, which costs one request an object.
    """
    from intermodal.components.fingerprint_sources.logic import fingerprint_sources

    return fingerprint_sources(sources=sources)
