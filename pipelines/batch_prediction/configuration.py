"""The configuration of batch prediction."""

from pydantic import Field

from intermodal.configuration.sections import Configuration, given_at_submission


class BatchPredictionConfiguration(Configuration):
    """What is scored, and by which model. Each key may be left to `submit --params`."""

    model: str = given_at_submission("`projects/PROJECT/locations/REGION/models/ID`, with or without `@VERSION`")
    instances: list[str] = given_at_submission("`gs://` URIs of JSON lines, an object a row, as the endpoint takes them")
    output: str = given_at_submission("`gs://` directory; a directory `prediction-MODEL-TIME` is made in it")
    machine_type: str = Field("n1-standard-4", description="The machine of a replica")
    replicas: int = Field(1, ge=1, description="How many there may be")
