"""What a terminal shows of a run: a line a task, and how far a training is."""

import io

import pytest
from rich.console import Console

from intermodal.runner.progress import Progress
from intermodal.training.progress import Progress as Training
from intermodal.training.progress import last_progress


def test_a_training_under_way_has_a_bar_with_loss_and_time_left(tmp_path, capsys):
    training = Training(spoken=True, rows=1000)
    for epoch in (1, 2):
        training.step(epoch, 4, 10, 10, 0.7)
        training.epoch(epoch, {"loss": 0.61, "val_loss": 0.62}, 2.0)
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "epoch 1/4: loss 0.6100, val_loss 0.6200; 2.0 s, 500 rows/s"  # it compiled: no measure of what is left
    (tmp_path / "log").write_text(f"something else\n{said}a warning\n")
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    progress = Progress(console, ["train-model", "other"])
    progress.started("train-model", tmp_path / "log")
    progress.started("other", tmp_path / "no log yet")
    with console.capture() as shown:
        console.print(progress)
    task, bar, other = shown.get().rstrip().splitlines()
    assert "train-model" in task
    assert "other" in other
    assert "epoch 2/4: loss 0.6100, val_loss 0.6200; 2.0 s, 500 rows/s, at most 4 s left" in bar
    assert bar.count("\N{BOX DRAWINGS HEAVY HORIZONTAL}") in (10, 20)  # half of it; a terminal without colours shows no more


@pytest.mark.parametrize(
    ("log", "share"),
    [
        ("", None),
        ("Epoch 1/5\n", None),
        ("epoch 1/5, step 5/10: loss 0.5, 10 rows/s, at most 9 s left\n", 0.1),
        ("epoch 1/5: loss 0.5\nepoch 2/5: loss 0.4", 0.4),
        ("epoch 5/5: loss 0.5", 1.0),
    ],
)
def test_the_last_line_of_progress_counts(log, share):
    found = last_progress(log)
    assert (found and found[0]) == (share if share is None else pytest.approx(share))
