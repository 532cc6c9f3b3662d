"""The page on which TFDV shows statistics."""

import base64
import contextlib
import io
from collections.abc import Sequence

from tensorflow_metadata.proto.v0 import statistics_pb2


def render_view(statistics: Sequence[statistics_pb2.DatasetFeatureStatisticsList]) -> str:
    """Return TFDV's own page (Facets Overview), all parts side by side, as one HTML text. A browser needs the network to show it."""
    with contextlib.redirect_stderr(io.StringIO()):  # It complains that IPython is not there, which it does not need for this.
        from tensorflow_data_validation.utils.display_util import get_statistics_html
    first = statistics[0]
    html = get_statistics_html(first, lhs_name=first.datasets[0].name)
    together = statistics_pb2.DatasetFeatureStatisticsList(datasets=[one.datasets[0] for one in statistics])
    return html.replace(_encoded(first), _encoded(together))


def _encoded(message: statistics_pb2.DatasetFeatureStatisticsList) -> str:
    return base64.b64encode(message.SerializeToString()).decode("ascii")
