"""How much each hyperparameter mattered in a search. By Optuna, from any trials: where they ran does not matter."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from intermodal.components.tune_model.search import distribution_of
from intermodal.tuning.roles import FINISHED, Tried

#: Finished trials below which a forest says nothing that would hold for another seed.
FEWEST: Final = 10


def importance_of(tried: Sequence[Tried], space: Mapping[str, Any], *, maximize: bool, seed: int) -> dict[str, float]:
    """Return each hyperparameter's share of the variance of the metric over the whole space, by functional analysis of variance.

    Source: Hutter, Hoos and Leyton-Brown, An Efficient Approach for Assessing Hyperparameter Importance, 2014; a random forest of the finished
    trials. It says what moves the metric anywhere in the space, bad regions included, and not what to try next to the best trial; interactions are
    left out.

    Args:
        tried: Trials that ended.
        space: What was searched.
        maximize: Whether more of the metric is better.
        seed: Of the forest.

    Returns:
        Name to share, 1 in all; empty where fewer than `FEWEST` trials finished or all have one value.
    """
    finished = [each for each in tried if each.state == FINISHED and each.value is not None]
    if len(finished) < FEWEST or len({each.value for each in finished}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    distributions = {name: distribution_of(searched) for name, searched in space.items()}
    for each in finished:
        values = {name: json.dumps(value) if space[name]["type"] == "categorical" else value for name, value in each.parameters.items()}
        study.add_trial(create_trial(params=values, distributions=distributions, value=each.value))
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in found.items()}
