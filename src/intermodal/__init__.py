"""Containerised Kubeflow Pipelines components, and the pipelines made of them.

Importing this package, or any ``intermodal.components.<name>`` package, imports nothing but the standard library: the same package is
installed in every image, beside whatever that image needs.
"""

import os

__version__ = "0.1.0"

if os.environ.get("_KFP_RUNTIME") == "true":  # A task's process: what it prints becomes a log that many read.
    from intermodal.runtime.redaction import guard

    guard()
