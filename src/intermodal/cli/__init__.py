"""The command line, one module for each group of commands."""

import os
from typing import Any


def _import_kfp_without_its_client() -> None:
    """Import kfp so that its client, and 700 modules of Kubernetes' with it, is imported where it is used: that is half of a command's start."""
    known = os.environ.get("_KFP_RUNTIME")
    os.environ["_KFP_RUNTIME"] = "true"  # kfp's own switch for what is not needed in a task
    try:
        import kfp
    finally:
        if known is None:
            del os.environ["_KFP_RUNTIME"]
        else:
            os.environ["_KFP_RUNTIME"] = known

    def find(name: str) -> Any:
        if name != "Client":
            raise AttributeError(f"module 'kfp' has no attribute {name!r}")
        from kfp.client import Client

        return Client

    if not hasattr(kfp, "Client"):
        kfp.__getattr__ = find


_import_kfp_without_its_client()
