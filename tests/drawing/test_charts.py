"""Any numbers make a drawing that holds no number but finite ones, within its frame."""

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from intermodal.drawing.charts import Axis, Line, Mark, axis_over, bar, distributions, line_chart, scale, track
from intermodal.drawing.wording import interval, number, percent, plural

anything = st.one_of(st.none(), st.floats(), st.integers(), st.floats(0, 1))
text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")))


def numbers_in(drawing):
    for element in ElementTree.fromstring(drawing).iter():
        for key, value in element.attrib.items():
            if key not in ("class", "aria-label", "role"):
                yield from map(float, re.findall(r"-?(?:\d+\.?\d*|nan|inf)", value))


@given(points=st.lists(st.tuples(anything, anything), max_size=30), name=text, mark=anything)
def test_a_line_chart_of_any_points_stays_in_its_frame(points, name, mark):
    x, y = axis_over("x", [point[0] for point in points]), axis_over("y", [point[1] for point in points])
    at = mark if isinstance(mark, float) and abs(mark) < 1e300 else None
    drawing = line_chart([Line(name, points, steps=True, filled=True)], x, y, description=name, at=at)
    assert all(-10 <= value <= 410 for value in numbers_in(drawing))


@given(values=st.tuples(anything, anything, anything), name=text)
def test_a_track_of_any_values_stays_in_its_strip(values, name):
    axis = axis_over("", values, around=[0.0])
    assert all(0 <= value <= 100 for value in numbers_in(track([Mark(*values, name=name)], axis, reference=values[0], threshold=values[1])))
    ElementTree.fromstring(scale(axis))


@given(low=st.floats(-1e12, 1e12), width=st.floats(1e-6, 1e12))
def test_marks_of_an_axis_are_few_round_and_within_it(low, width):
    axis = Axis("", low, low + width)
    if axis.high - axis.low > abs(low) * 1e-9:
        assert 1 <= len(axis.ticks()) <= 6
        assert all(axis.low - width * 1e-6 <= tick <= axis.high + width * 1e-6 for tick in axis.ticks())


@given(shares=st.lists(st.lists(st.floats(0, 1), max_size=30), max_size=3))
def test_distributions_of_any_shares_stay_in_their_frame(shares):
    assert all(0 <= value <= 100 for value in numbers_in(distributions([("one", values) for values in shares])))
    bar([("one", value) for values in shares for value in values])


@given(value=anything, low=anything, high=anything, sign=st.booleans())
def test_any_number_can_be_written(value, low, high, sign):
    for written in (number(value), percent(value), interval({"value": value, "low": low, "high": high}, sign=sign)):
        assert written
        assert "nan" not in written
        assert "inf" not in written


def test_nouns_take_their_plural():
    assert plural(1, "anomaly") == "1 anomaly"
    assert plural(1200, "anomaly") == "1,200 anomalies"
    assert plural(0, "row") == "0 rows"
