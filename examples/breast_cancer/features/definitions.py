"""What is measured of a tumour's cell nuclei."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

_MEASURED = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)

tumour = Entity(name="tumour", join_keys=["tumour"], value_type=ValueType.INT64)

measurements = FeatureView(
    name="measurements",
    entities=[tumour],
    ttl=timedelta(0),
    schema=[Field(name=name, dtype=Float64) for each in _MEASURED for name in (f"mean_{each}", f"{each}_error", f"worst_{each}")],
    source=FileSource(name="measurements", path="measurements.parquet", timestamp_field="event_timestamp"),
)

malignancy = FeatureService(name="malignancy", features=[measurements])
