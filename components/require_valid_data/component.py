"""Contract of `require_valid_data`."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="validate")
def require_valid_data(anomalies: dsl.Input[dsl.Artifact]):
    """Fail, with the anomalies in words, where `validate_data` found errors: what must not run on such data comes after this task.

    Args:
        anomalies: As `validate_data` writes them.
    """
    from intermodal.components.require_valid_data.logic import require_valid_data

    require_valid_data(anomalies_path=anomalies.path)
