"""Containerised Kubeflow Pipelines components, and the pipelines made of them.

Importing this package, or any ``intermodal.components.<name>`` package, imports nothing but the standard library: the same package is
installed in every image, beside whatever that image needs.
"""

__version__ = "0.1.0"
