"""The commands that judge a decision of the gate: whether it stands, and how often such a gate errs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from intermodal.cli.options import HOME, Home, console, example
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import ConfigurationError

app = typer.Typer()

Decision = Annotated[Path, typer.Argument(help="The folder with decision.json, or that file.")]
Evaluation = Annotated[Path | None, typer.Option(help="The folder with evaluation.json. Default: of a run here, the one that was judged.")]
Predictions = Annotated[Path | None, typer.Option(help="The folder with predictions.parquet. Default: likewise.")]


@app.command(epilog=example("verify .intermodal/runs/RUN/gate-model/decision", "verify decision --evaluation evaluation --predictions predictions"))
def verify(decision: Decision, evaluation: Evaluation = None, predictions: Predictions = None, home: Home = HOME) -> None:
    """Judge a model again from what a decision of the gate was made of; status 1 if the decision does not stand."""
    outputs = _run("verify_decision", _inputs(decision, evaluation, predictions), home)
    console.print(Path(outputs["verification"]).read_text(encoding="utf-8").rstrip(), markup=False, soft_wrap=True)
    if not outputs["Output"]:
        raise typer.Exit(1)


@app.command(epilog=example("measure-gate .intermodal/runs/RUN/gate-model/decision", "measure-gate decision.json --draws 10000 --output rates.md"))
def measure_gate(
    decision: Decision,
    evaluation: Evaluation = None,
    predictions: Predictions = None,
    draws: Annotated[int, typer.Option(help="How many windows are drawn from the decision's rows.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    output: Annotated[Path | None, typer.Option(help="A file to write the same to, as Markdown.")] = None,
    home: Home = HOME,
) -> None:
    """Measure how often the gate errs on a decision's own rows (an A/A test); status 1 if it errs more often than it promises."""
    inputs = _inputs(decision, evaluation, predictions)
    if "predictions" not in inputs:
        raise ConfigurationError(f"{decision}: no record of what was judged lies beside it; give --predictions")
    outputs = _run("measure_gate", inputs | {"draws": draws, "seed": seed}, home)
    page = Path(outputs["summary"]).read_text(encoding="utf-8")
    console.print(page.rstrip(), markup=False, soft_wrap=True)
    if output:
        output.write_text(page, encoding="utf-8")
    if not outputs["Output"]:
        raise typer.Exit(1)


def _run(component: str, arguments: dict[str, Any], home: Path) -> dict[str, Any]:
    from intermodal.authoring.catalog import load_component
    from intermodal.runner.local import LocalTarget

    outputs: dict[str, Any] = LocalTarget(home, console=Console(quiet=True)).run(load_component(component), arguments).tasks[0].outputs
    return outputs


def _inputs(decision: Path, evaluation: Path | None, predictions: Path | None) -> dict[str, Any]:
    """Return the folders of a decision, and of what it was made of, as far as there is any."""
    folder = decision.parent if decision.is_file() else decision
    judged = _judged(folder)
    given = {"decision": folder, "evaluation": evaluation or judged.get("evaluation"), "predictions": predictions or judged.get("predictions")}
    for name, path in given.items():
        if path is not None and not path.is_dir():
            raise ConfigurationError(f"--{name} {path}: there is no such folder")
    if given["evaluation"] is None:
        raise ConfigurationError(f"{folder}: no record of what was judged lies beside it; give --evaluation, and --predictions if there were any")
    return {name: str(path.resolve()) for name, path in given.items() if path is not None}


def _judged(decision: Path) -> dict[str, Path]:
    """Return the inputs of the task of a run here that made a decision, by name."""
    from intermodal.runner.records import TASK

    record = decision.parent / TASK
    artifacts: dict[str, Any] = read_json(record)["executor_input"].get("inputs", {}).get("artifacts", {}) if record.exists() else {}
    return {name: Path(each["artifacts"][0]["uri"]) for name, each in artifacts.items() if each["artifacts"]}
