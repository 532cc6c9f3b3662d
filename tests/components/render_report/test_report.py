"""What the page about a run promises its readers."""

import json
import re
import time
from html.parser import HTMLParser

import pytest
import sample_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.components.render_report.logic import render_report
from intermodal.runtime.errors import ConfigurationError, DataError

NAMES = ("tables", "statistics", "anomalies", "search", "training", "evaluation", "decision", "registration", "promotion", "deployment")
SECTIONS = {"verdict", "call", "champion", "gate", "quality", "slices", "search", "training", "data", "features", "lineage"}
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """A page's elements, ids and text; refuses elements that do not nest."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def ids(self):
        return {attributes["id"] for _, attributes in self.elements if "id" in attributes}


def report(folder, names=NAMES, **changed):
    """Render from those artifacts of a folder that are named."""
    paths = {f"{name}_path": folder / name if name in names else None for name in NAMES}
    made = {"report_path": folder / "report", "summary_path": folder / "summary"}
    render_report(**{"title": "A run", "metrics": {}} | paths | made | changed)


@pytest.fixture
def render(tmp_path):
    def render(content=None, *, without=(), only=NAMES, features=sample_run.FEATURES, title="A run", metrics=()):
        sample_run.write(tmp_path, content or sample_run.files(), features)
        report(tmp_path, set(only) - set(without), title=title, metrics=dict(metrics))
        return (tmp_path / "report").read_text(encoding="utf-8")

    return render


def without_champion(content):
    content["evaluation/evaluation.json"].update(difference=None, champion_version=None)
    content["evaluation/evaluation.json"]["models"]["champion"] = None
    content["anomalies/anomalies.json"].update(drift=[], baseline=None)
    content["registration/registration.json"].update(version="1")
    content["promotion/promotion.json"].update(version="1", previous_champion=None)
    return content


def blocked(content):
    decision = content["decision/decision.json"]
    decision["verdict"] = "blocked"
    decision["rules"][1].update(passed=False, text="Log loss is 0.0051 worse than the champion's", value=0.0051, interval=[0.002, 0.008])
    decision["reasons"] = [rule["text"] for rule in decision["rules"]]
    del content["promotion/promotion.json"], content["deployment/deployment.json"]
    return content


def test_every_section_is_there_and_every_link_leads_to_one(render):
    page = Page(render())
    assert page.ids >= SECTIONS
    links = [attributes["href"] for name, attributes in page.elements if name == "a"]
    assert {link.removeprefix("#") for link in links} <= page.ids


def test_a_run_that_passed_says_so_and_how_to_call_the_model(render):
    text = Page(render()).text
    assert "Version 7 passed all 2 rules of the gate and is the new champion. It now serves at http://127.0.0.1:8080." in text
    assert sample_run.files()["deployment/deployment.json"]["command"] in text
    for expected in ('"origin": "EWR"', "0.2178", "v2/models/flight-delay/infer", "How it came to all requests: canary", "version 7 answers 20 %"):
        assert expected in text


def test_numbers_of_every_artifact_are_on_the_page(render):
    text = Page(render()).text
    for expected in (
        "ROC AUC 0.763 0.753 to 0.773",
        "+0.0120 (+0.0080 to +0.0160): better",
        "\N{MINUS SIGN}0.0048 (\N{MINUS SIGN}0.0066 to \N{MINUS SIGN}0.0031): better",
        "no clear difference",
        "ROC AUC is at least 0.7",
        "EWR 4,000 rows, 20.0 % positive",
        "4 epochs; best validation value 0.470 in epoch 3.",
        "To repeat it seed 7 commit " + "c0ffee" * 6 + "c0ff-dirty image registry.example/intermodal-train@sha256:" + "e" * 64,
        "Trial 3 was the best: val_loss 0.430. Most often failed: ValueError: no such layer.",
        "hidden_units [64, 32] learning_rate 0.003",
        "learning_rate 71.0 % hidden_units 29.0 %",
        "10,000: train 7,000, validation 1,000, test 2,000",
        "1 value above 60, the largest in train.",
        "0.180, threshold 0.100: beyond",
        "2 of 4 beyond it",
        "origin L-infinity, test 0.0200, threshold 0.0800",
        "mean 12.5, deviation 4.25",
        "sha256 " + "a" * 64,
        "f00dfeed",
        "run7",
        "version 6",
        "d" * 64,
    ):
        assert expected in text, expected


def test_windows_of_time_and_rows_that_judged_before_are_told(render):
    content = sample_run.files()
    splits = content["tables/manifest.json"]["tables"]["flights"]["splits"]
    splits["train"] |= {"start": None, "end": "2013-09-01T04:00:00Z"}
    splits["test"] |= {"start": "2013-10-02T00:00:00Z", "end": "2014-01-01T00:00:00Z"}
    content["decision/decision.json"]["window"] = {"name": "abc", "use": 3, "confidence": 0.996}
    text = Page(render(content)).text
    assert "train 7,000 (to 2013-09-01T04:00:00Z), validation 1,000, test 2,000 (from 2013-10-02 to 2014-01-01)" in text
    assert "These rows, or some of them, judged 2 other models before." in text
    content["decision/decision.json"]["window"]["use"] = 1
    assert "judged" not in Page(render(content)).text


def test_a_blocked_run_says_why_and_what_stays(render):
    page = Page(render(blocked(sample_run.files()), without=("promotion", "deployment")))
    assert "Version 7 failed 1 of 2 rules: Log loss is 0.0051 worse than the champion's. Version 6 stays champion." in page.text
    assert "Nothing was deployed, because the gate blocked the model. The version that served before still does." in page.text
    assert "✗ Blocked" in page.text
    assert "curl" not in page.text
    assert any(name == "tr" and attributes.get("class") == "failed" for name, attributes in page.elements)


def test_a_first_run_reads_naturally_without_a_champion(render):
    text = Page(render(without_champion(sample_run.files()))).text
    assert "There was no champion to compare with" in text
    assert "Nothing to compare with: no earlier run's statistics were given." in text
    assert "None" not in text
    assert "Paired difference" not in text


def test_a_blocked_first_run_says_that_there_is_no_champion(render):
    text = Page(render(blocked(without_champion(sample_run.files())), without=("promotion", "deployment"))).text
    assert "There is still no champion." in text
    assert "None" not in text


def test_a_champion_that_could_not_be_scored_is_not_called_absent(render):
    content = without_champion(sample_run.files())
    content["evaluation/evaluation.json"].update(champion_version="3", champion_error="no column 'size' any more")
    text = Page(render(content)).text
    assert "The champion could not score these rows" in text
    assert "no column 'size' any more" in text


def test_a_registration_stands_for_the_artifacts_that_it_keeps(render, tmp_path):
    page = render()
    for artifact, name in (
        ("tables", "manifest"),
        ("training", "history"),
        ("training", "reproduction"),
        ("evaluation", "evaluation"),
        ("decision", "decision"),
    ):
        (tmp_path / artifact / f"{name}.json").rename(tmp_path / "registration" / f"{name}.json")
    (tmp_path / "statistics").rename(tmp_path / "registration" / "statistics")
    report(tmp_path, ("registration", "promotion", "anomalies", "search", "deployment"), report_path=tmp_path / "short")
    assert (tmp_path / "short").read_text(encoding="utf-8") == page


def test_a_passed_run_without_deployment_says_so(render):
    assert "and is the new champion. This run deployed nothing." in Page(render(without=("deployment",))).text


def test_a_model_that_got_all_requests_at_once_has_no_rollout_to_tell(render):
    content = sample_run.files()
    del content["deployment/deployment.json"]["rollout"]
    text = Page(render(content)).text
    assert "answers at http://127.0.0.1:8080" in text
    assert "How it came to all requests" not in text


def test_a_run_whose_version_did_not_become_the_champion_does_not_say_that_it_did(render):
    content = sample_run.files()
    text = Page(render(content, without=("promotion",))).text
    assert "Version 7 passed all 2 rules of the gate. It now serves at http://127.0.0.1:8080." in text
    assert "Champion before" not in text
    content["promotion/promotion.json"].update(champion=False, outcome="version 8 stays the champion")
    assert "Version 7 passed all 2 rules of the gate but the champion stays as it was. It now serves at" in Page(render(content)).text


def test_the_champion_before_is_named(render):
    assert "flight-delay, version 7, champion" in Page(render()).text
    assert "Champion before 6" in Page(render()).text


ALONE = {
    "evaluation": ({"champion", "quality", "slices"}, "ROC AUC is 0.763 (0.753 to 0.773) on 10,000 held-out rows. On the same 10,000 held-out rows"),
    "statistics": ({"features"}, "Statistics of 4 features in train, validation and test."),
    "anomalies": ({"data"}, "Validation passed with 1 warning."),
    "search": ({"search"}, "5 trials: 3 finished, 1 ended early, 1 failed. Trial 3 was the best: val_loss 0.430."),
    "training": ({"training"}, "4 epochs; best validation value 0.470 in epoch 3."),
    "decision": ({"gate", "lineage"}, "The model passed all 2 rules of the gate. "),
    "tables": ({"data", "lineage"}, "10,000: train 7,000, validation 1,000, test 2,000"),
    "registration": ({"call", "lineage"}, "flight-delay version 7 is registered. This run deployed nothing."),
    "promotion": ({"lineage"}, "flight-delay version 7 is the champion."),
    "deployment": ({"call"}, "flight-delay version 7 serves at http://127.0.0.1:8080."),
}


@pytest.mark.parametrize("name", NAMES)
def test_one_artifact_is_enough_for_a_page_of_its_sections(render, name):
    sections, sentence = ALONE[name]
    page = Page(render(only=[name]))
    assert page.ids == {"verdict", *sections}
    assert {attributes["href"] for element, attributes in page.elements if element == "a"} == {f"#{section}" for section in sections}
    assert sentence in page.text
    assert "None" not in page.text


@given(names=st.sets(st.sampled_from(NAMES), min_size=1), champion=st.booleans(), passed=st.booleans(), numbers=st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_artifacts_together_make_a_page_whose_links_lead_somewhere(tmp_path, names, champion, passed, numbers):
    content = sample_run.files()
    content = content if champion else without_champion(content)
    sample_run.write(tmp_path, content if passed else blocked(content))
    names -= set() if passed else {"promotion", "deployment"}
    if not names:
        return
    report(tmp_path, names, metrics={"mae": 1.5} if numbers else {})
    page = Page((tmp_path / "report").read_text(encoding="utf-8"))
    assert {attributes["href"].removeprefix("#") for element, attributes in page.elements if element == "a"} == page.ids - {"verdict"}
    assert "None" not in page.text
    assert "None" not in (tmp_path / "summary").read_text(encoding="utf-8")


def test_metrics_of_any_component_are_on_the_page(render, tmp_path):
    page = Page(render(only=[], metrics={"accuracy": 0.91, "mae": 12.5, "note": "good", "worst": float("nan")}))
    assert page.ids == {"verdict", "metrics"}
    assert "Accuracy 0.910 mae 12.5" in page.text
    assert "good" not in page.text
    assert "| mae | 12.5 |" in (tmp_path / "summary").read_text()


def test_nothing_at_all_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="nothing to report: give at least one of anomalies, decision, deployment, evaluation, metrics"):
        report(tmp_path, ())
    assert not list(tmp_path.iterdir())


def test_the_summary_has_the_verdict_and_the_metrics_and_no_markup_from_the_data(render, tmp_path):
    render(title="<b>A</b> [run](http://elsewhere) | *x*")
    text = (tmp_path / "summary").read_text(encoding="utf-8")
    assert text.startswith(r"# \<b\>A\</b\> \[run\](http://elsewhere) \| \*x\*" + "\n\n")
    assert "Version 7 passed all 2 rules of the gate and is the new champion." in text
    assert "| ROC AUC | 0.763 (0.753 to 0.773) |" in text


def test_nothing_is_loaded_from_anywhere(render):
    text = render()
    for name, attributes in Page(text).elements:
        assert name not in {"script", "link", "img", "iframe", "object", "use"}
        for key in ("src", "href", "xlink:href", "data", "srcset"):
            assert (attributes.get(key) or "#").startswith("#")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><svg onload=alert(1)>', "</style><script>", "{{ 7 * 7 }}"])
def test_text_from_the_data_stays_text(render, evil):
    content = json.loads(json.dumps(sample_run.files()).replace('"flight-delay"', json.dumps(evil)).replace('"EWR"', json.dumps(evil)))
    content["anomalies/anomalies.json"]["anomalies"][0].update(feature=evil, text=evil)
    content["anomalies/anomalies.json"]["drift"][0]["feature"] = evil
    content["evaluation/evaluation.json"]["models"]["challenger"]["slices"][0].update(column=evil, value=evil)
    content["training/history.json"][evil] = [1.0, 0.5]
    content["tables/manifest.json"]["tables"][evil] = {"rows": 1, "sha256": evil, "columns": {}, "splits": {evil: {"rows": 1}}}
    content["decision/decision.json"]["rules"][0].update(text=evil, name=evil)
    page = Page(render(content, features=(*sample_run.FEATURES, evil), title=evil))
    assert not [name for name, attributes in page.elements if name == "script" or "onload" in attributes]
    assert page.text.count(" ".join(evil.split())) >= 10


def test_numbers_that_are_not_finite_leave_a_dash_and_break_no_drawing(render):
    content = sample_run.files()
    challenger = content["evaluation/evaluation.json"]["models"]["challenger"]
    challenger["metrics"]["auc"] = {"value": float("nan"), "low": None, "high": float("inf")}
    challenger["roc"][0] = [float("nan"), 0.0, float("inf")]
    challenger["calibration"][0].update(observed=None, low=None, high=None)
    challenger["slices"][0]["auc"] = None
    challenger["thresholds"][0].update(precision=float("nan"), f1=None)
    content["training/history.json"]["val_loss"] = [float("nan"), float("inf"), 0.5, 0.4]
    content["anomalies/anomalies.json"]["drift"][0].update(value=float("nan"), threshold=None)
    content["evaluation/evaluation.json"]["difference"]["auc"] = {"value": float("nan"), "low": None, "high": None}
    text = render(content)
    drawn = [value for _, attributes in Page(text).elements for value in attributes.values() if value]
    assert not [value for value in drawn if re.search(r"\b(nan|inf)\b", value)]
    assert "\N{EN DASH}" in Page(text).text


def test_empty_lists_and_statistics_of_nothing_are_no_error(render):
    content = without_champion(sample_run.files())
    challenger = content["evaluation/evaluation.json"]["models"]["challenger"]
    challenger.update(roc=[], pr=[], calibration=[], thresholds=[], slices=[])
    content["training/history.json"] = {}
    content["anomalies/anomalies.json"]["skew"] = []
    text = Page(render(content, features=())).text
    for expected in (
        "No slices were asked for.",
        "The training left no history.",
        "The statistics name no features.",
        "No thresholds were measured.",
    ):
        assert expected in text


def test_every_drawing_has_words_or_stands_beside_them(render):
    for name, attributes in Page(render()).elements:
        if name == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]


def test_equal_inputs_give_equal_bytes(render):
    assert render() == render()


def test_whole_numbers_that_arrive_as_floats_are_written_whole(render):
    content = sample_run.files()
    content["evaluation/evaluation.json"].update(rows=10000.0, blocks=92.0)
    content["registration/registration.json"]["version"] = 7.0
    text = Page(render(content)).text
    assert "version 7" in text
    assert "92 blocks" in text
    assert "10000.0" not in text


def test_two_hundred_features_and_curves_of_ten_thousand_points_stay_small_and_quick(render):
    content = sample_run.files()
    content["evaluation/evaluation.json"]["models"]["challenger"]["roc"] = [[i / 10000, (i / 10000) ** 0.4, 1 - i / 10000] for i in range(10001)]
    started = time.monotonic()
    text = render(content, features=tuple(f"feature_{index}" for index in range(200)))
    assert time.monotonic() - started < 3
    assert len(text) < 600_000


@pytest.mark.parametrize(
    ("path", "damage", "message"),
    [
        ("evaluation/evaluation.json", "{", "evaluation.json: not JSON"),
        ("decision/decision.json", "{}", "decision.json: without 'verdict', 'rules'"),
        ("search/search.json", '{"metric": "val_loss"}', "search.json: without 'maximize', 'space', 'importance', 'trials'"),
        ("registration/registration.json", "[]", "registration.json: without 'name', 'version'"),
        ("promotion/promotion.json", "{}", "promotion.json: without 'name', 'version', 'champion'"),
        ("evaluation/evaluation.json", '{"models": {}}', "no numbers under models.challenger.metrics"),
        ("statistics/train.pb", "not a message", "train.pb: not TFDV statistics"),
    ],
)
def test_a_damaged_artifact_is_named_and_no_page_is_left(render, tmp_path, path, damage, message):
    render()
    (tmp_path / path).write_text(damage)
    (tmp_path / "report").unlink()
    with pytest.raises(DataError, match=re.escape(message)):
        report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_missing_artifact_is_named(render, tmp_path):
    render()
    (tmp_path / "decision" / "decision.json").unlink()
    with pytest.raises(DataError, match=r"decision\.json: no such file"):
        report(tmp_path)
