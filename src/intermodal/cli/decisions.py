"""The command that makes a decision of the gate again."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from intermodal.cli.options import HOME, Home, console, example
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import ConfigurationError

app = typer.Typer()


@app.command(epilog=example("verify .intermodal/runs/RUN/gate-model/decision", "verify decision --evaluation evaluation --predictions predictions"))
def verify(
    decision: Annotated[Path, typer.Argument(help="The folder with decision.json, or that file.")],
    evaluation: Annotated[Path | None, typer.Option(help="The folder with evaluation.json. Default: of a run here, the one that was judged.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="The folder with predictions.parquet. Default: likewise.")] = None,
    home: Home = HOME,
) -> None:
    """Judge a model again from what a decision of the gate was made of; status 1 if the decision does not stand."""
    from intermodal.authoring.catalog import load_component
    from intermodal.runner.local import LocalTarget

    folder = decision.parent if decision.is_file() else decision
    judged = _judged(folder)
    inputs = {"evaluation": evaluation or judged.get("evaluation"), "predictions": predictions or judged.get("predictions")}
    if inputs["evaluation"] is None:
        raise ConfigurationError(f"{folder}: no record of what was judged lies beside it; give --evaluation, and --predictions if there were any")
    given = {"decision": folder, **inputs}
    for name, path in given.items():
        if path is not None and not path.is_dir():
            raise ConfigurationError(f"--{name} {path}: there is no such folder")
    target = LocalTarget(home, console=Console(quiet=True))
    arguments = {name: str(path.resolve()) for name, path in given.items() if path is not None}
    outputs = target.run(load_component("verify_decision"), arguments).tasks[0].outputs
    console.print(Path(outputs["verification"]).read_text(encoding="utf-8").rstrip(), markup=False, soft_wrap=True)
    if not outputs["Output"]:
        raise typer.Exit(1)


def _judged(decision: Path) -> dict[str, Path]:
    """Return the inputs of the task of a run here that made a decision, by name."""
    from intermodal.runner.records import TASK

    record = decision.parent / TASK
    artifacts: dict[str, Any] = read_json(record)["executor_input"].get("inputs", {}).get("artifacts", {}) if record.exists() else {}
    return {name: Path(each["artifacts"][0]["uri"]) for name, each in artifacts.items() if each["artifacts"]}
