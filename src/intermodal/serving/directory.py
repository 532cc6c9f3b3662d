"""The model's directory: on this machine as it is, in Cloud Storage fetched first."""

import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from intermodal.inference.formats import suffix_of
from intermodal.runtime.artifacts import whole_directory
from intermodal.runtime.errors import StoreError
from intermodal.runtime.tree import is_whole

_SECONDS = 60


def copy_model(model: Path, copy: Path) -> Path:
    """Copy a model, a directory or one file, into a directory that is whole or not there; return that. Nothing where it is there already."""
    if not is_whole(copy):
        with whole_directory(copy) as scratch:
            if model.is_file():
                shutil.copyfile(model, scratch / f"model{suffix_of(model) or '.keras'}")
            else:
                shutil.copytree(model, scratch, dirs_exist_ok=True)
    return copy


def model_folder(uri: str) -> Path:
    """Return a local directory with the files under a URI.

    Args:
        uri: A path or ``file://`` URI, returned as it is, or ``gs://BUCKET/DIRECTORY``, downloaded with Application Default Credentials into a
            temporary directory that lasts as long as the machine.

    Raises:
        ValueError: Another scheme.
        StoreError: The bucket cannot be read, or there is nothing.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path)) if parts.scheme else Path(uri)
    if parts.scheme != "gs":
        raise ValueError(
            f"--model_dir {uri}: directories and gs:// are read here; on a cluster KServe's storage initializer brings {parts.scheme}://"
        )
    return _fetched(parts.netloc, uri.removeprefix(f"gs://{parts.netloc}/").strip("/"), uri)


def _fetched(bucket: str, prefix: str, uri: str) -> Path:
    # Only here: a server that reads a directory needs neither the client nor the second it takes to import.
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage import Client

    folder = Path(tempfile.mkdtemp(prefix="model-"))
    found = 0
    try:
        client = Client()
        for blob in client.list_blobs(bucket, prefix=f"{prefix}/", timeout=_SECONDS):
            path = folder / blob.name.removeprefix(f"{prefix}/")
            if blob.name.endswith("/"):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(path), timeout=_SECONDS)
            found += 1
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise StoreError(f"{uri}: cannot be read ({error}); give the server's account storage.objects.list and .get on the bucket") from error
    if not found:
        raise StoreError(f"{uri}: there is nothing; is it the directory of a model?")
    return folder
