"""A component that searches and needs no training: a trial says a parabola of its value, or fails in a way."""

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def lowest(
    examples: dsl.Input[dsl.Dataset],
    space: dict,
    best: dsl.Output[dsl.Artifact],
    trials: int = 3,
    parallel: int = 1,
    early_stopping: str = "none",
    what: str = "finish",
    epochs: int = 2,
    timeout: float = 0.0,
):
    """Search the lowest point of a parabola, or fail in a way."""
    import json
    import pathlib
    import time
    from dataclasses import asdict

    from intermodal.runtime.errors import ConfigurationError, DataError
    from intermodal.tuning.roles import Ended, Plan, asked
    from intermodal.tuning.trial import epoch_line
    from intermodal.tuning.values import decode

    role = asked()
    if trials < 1:
        raise ConfigurationError("trials: 0 must be 1 or more")
    if role.part == "plan":
        Plan(space, "val_loss", ["val_auc"], False, trials, parallel, early_stopping, timeout, 3).write(role.file)
    elif role.part == "trial":
        values = decode(space, role.values)
        assert len(pathlib.Path(examples.path).read_text().split()) == 100
        if what == "raise" and values["how"] != "fine":
            raise ValueError(f"no such thing as {values['how']!r}")
        if what == "wrong data":
            raise DataError("examples: the column 'late' is missing; correct label")
        rate = values.get("rate", 0.5)
        for epoch in range(1, epochs + 1):
            print(epoch_line(epoch, {"val_loss": (rate - 0.3) ** 2 + 1 / epoch, "val_auc": 0.5}), flush=True)
            time.sleep(1 if what == "slow" else 0.05)
        # The second epoch is the one that is kept.
        print(epoch_line(2, {"val_loss": (rate - 0.3) ** 2 + 0.5, "val_auc": 0.6}), flush=True)
    else:
        ended = Ended.read(role.file)
        if not any(each.state == "finished" for each in ended.tried):
            raise ConfigurationError(f"none of {len(ended.tried)} trials finished: {ended.tried[0].reason}")
        pathlib.Path(best.path).write_text(json.dumps([asdict(each) for each in ended.tried]))
        best.metadata["seconds"] = ended.seconds
