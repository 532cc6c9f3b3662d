"""The cluster that a task works on, and the pod that it runs in."""

import os
import socket
from pathlib import Path

from kubernetes import client, config

from intermodal.runtime.errors import StoreError


def connect() -> client.ApiClient:
    """Return a client of the cluster the task runs in, or of the current context of `KUBECONFIG`.

    Raises:
        StoreError: There is neither.
    """
    inside = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=inside)
        return client.ApiClient(inside)
    except config.ConfigException:
        pass
    try:
        # The library looks at KUBECONFIG when it is imported, once.
        return config.new_client_from_config(config_file=os.environ.get("KUBECONFIG"))
    except config.ConfigException as error:
        raise StoreError(f"no cluster to work on: not in a pod, and no kubeconfig ({error}); set KUBECONFIG") from error


def own_namespace() -> str:
    """Return the namespace of the pod that this runs in; outside a pod that of the kubeconfig's context, or `default`."""
    file = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    try:
        _, context = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    except config.ConfigException:
        return "default"
    return str((context.get("context") or {}).get("namespace") or "default")


def in_pod() -> bool:
    """Return whether this runs in a pod of a cluster."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def own_pod_name() -> str:
    """Return the name of the pod that this runs in."""
    # A pipeline's backend may give its pods their name in a variable; a pod on the host's network has another host name.
    return os.environ.get("KFP_POD_NAME") or socket.gethostname()
