"""The page of statistics: TFDV's own view in a frame, and beneath it a table that needs no network."""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final, TypeAlias

from tensorflow_metadata.proto.v0 import statistics_pb2

from intermodal.components.validate_data.schema import common_statistics, present_share
from intermodal.components.validate_data.statistics import tfdv

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Statistics</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 2px 10px; text-align: right; border-top: 1px solid #ddd; white-space: nowrap; font-variant-numeric: tabular-nums; }}
th:first-child, td:nth-child(-n+3), td:last-child, th:last-child {{ text-align: left; }}
</style>
<h1>Statistics</h1>
<p>The view in the frame is TFDV's. It loads Facets from the network; the table beneath it does not.</p>
{view}
<table>
<tr><th>Feature<th>Type<th>Part<th>Missing<th>Mean<th>Deviation<th>Zeros<th>Minimum<th>Median<th>Maximum<th>Different values<th>Most frequent</tr>
{rows}
</table>
</html>
"""


def render_view(statistics: Sequence[Statistics]) -> str:
    """Return a page about the statistics of all parts, side by side, as one HTML text."""
    return _PAGE.format(view=_facets(statistics), rows="\n".join(_rows(statistics)))


def _facets(statistics: Sequence[Statistics]) -> str:
    """Return TFDV's own HTML. TFDV takes two data sets and Facets takes any number, so the message in TFDV's HTML is replaced by one of all parts."""
    first = next((one for one in statistics if one.datasets[0].num_examples), statistics[0])
    html = tfdv.statistics_html(first)
    together = Statistics(datasets=[one.datasets[0] for one in statistics])
    return html.replace(_encoded(first), _encoded(together))


def _encoded(message: Statistics) -> str:
    return base64.b64encode(message.SerializeToString()).decode("ascii")


def _rows(statistics: Sequence[Statistics]) -> Iterator[str]:
    names = dict.fromkeys(feature.path.step[0] for one in statistics for feature in one.datasets[0].features)
    found = {(one.datasets[0].name, feature.path.step[0]): feature for one in statistics for feature in one.datasets[0].features}
    for name in names:
        for one in statistics:
            part, rows = one.datasets[0].name, one.datasets[0].num_examples
            feature = found.get((part, name))
            if feature is not None:
                kind = statistics_pb2.FeatureNameStatistics.Type.Name(feature.type).lower()
                missing = f"{1 - present_share(feature, rows):.1%}" if rows else ""
                yield f"<tr><td>{escape(name)}<td>{kind}<td>{escape(part)}<td>{missing}{_numbers(feature)}{_texts(feature)}</tr>"


def _numbers(feature: statistics_pb2.FeatureNameStatistics) -> str:
    if feature.WhichOneof("stats") != "num_stats" or not common_statistics(feature).num_non_missing:
        return "<td>" * 6
    numbers = feature.num_stats
    zeros = numbers.num_zeros / numbers.common_stats.num_non_missing
    cells = [f"{numbers.mean:.4g}", f"{numbers.std_dev:.4g}", f"{zeros:.1%}", f"{numbers.min:.6g}", f"{numbers.median:.6g}", f"{numbers.max:.6g}"]
    return "".join(f"<td>{cell}" for cell in cells)


def _texts(feature: statistics_pb2.FeatureNameStatistics) -> str:
    if feature.WhichOneof("stats") != "string_stats":
        return "<td><td>"
    values = feature.string_stats.top_values[:5]
    return f"<td>{feature.string_stats.unique}<td>" + escape(", ".join(f"{top.value[:40]} ({top.frequency:g})" for top in values))
