import pytest

from intermodal.rollout.judging.limits import DEFAULT_LIMITS, Limit, Settings
from intermodal.rollout.judging.look import judge
from intermodal.rollout.judging.power import Traffic, requests_needed
from intermodal.runtime.errors import ConfigurationError
from tests.rollout.judging.traffic import traffic

LIKE = Traffic(rate=100.0, share=0.2, errors=0.01, p95=0.0911, p50=0.04)


def test_what_was_said_before_is_what_it_takes():
    limits = {name: DEFAULT_LIMITS[name] for name in ("errors", "p95")}
    settings = Settings(limits=limits, bake=0, warm_up=0)
    said = requests_needed(LIKE, settings)
    for metric, change in (("errors", {"errors": (0.01, 0.02)}), ("p95", {"slower": 1.3})):
        slices = int(said.to_find[metric] / 100) + 1
        rolled_back = sum(judge(traffic(slices, seed=seed, **change), settings).decision == "roll back" for seed in range(12))
        assert rolled_back >= 10  # 95 % of 12; fewer than 10 have a chance of 2 %
    assert "harm is found with 95 % in errors after" in str(said)


def test_rarer_and_smaller_harm_noise_and_more_steps_take_more_requests():
    one = requests_needed(LIKE, Settings())
    for other, settings in (
        (Traffic(100.0, 0.2, 0.05, 0.0911, 0.04), Settings()),
        (Traffic(100.0, 0.2, 0.01, 0.0911, 0.04, overdispersion=3.0), Settings()),
        (LIKE, Settings(steps=5)),
        (LIKE, Settings(limits={**DEFAULT_LIMITS, "errors": Limit(0.001, 0.005)})),
    ):
        assert requests_needed(other, settings).to_find["errors"] > one.to_find["errors"]
    assert requests_needed(Traffic(100.0, 0.2, 0.01, 0.2, 0.04), Settings()).to_find["p95"] > one.to_find["p95"]
    assert one.seconds == pytest.approx(max(one.to_promote.values()) / 20)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: requests_needed(Traffic(0, 0.2, 0.01, 0.1), Settings()), "rate"),
        (lambda: requests_needed(Traffic(1, 1.0, 0.01, 0.1), Settings()), "share"),
        (lambda: requests_needed(Traffic(1, 0.1, 0.01, 0.1, p50=0.2), Settings()), "p50"),
        (lambda: Settings(limits={"p90": Limit(1, 2)}), "'p90' is no metric; there are errors"),
        (lambda: Settings(limits={"p95": Limit(0.3, 1.3)}), "a ratio is 1 at least"),
        (lambda: Settings(limits={"errors": Limit(0.01, 0.01)}), "must exceed what is tolerated"),
        (lambda: Settings(false_alarm=0), "false_alarm"),
        (lambda: Settings(steps=0), "steps"),
    ],
)
def test_settings_and_traffic_out_of_range_are_refused(make, words):
    with pytest.raises(ConfigurationError, match=words):
        make()
