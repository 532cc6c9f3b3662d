"""The command line, called in this process."""

from typer.testing import CliRunner

from intermodal.cli import main as cli
from intermodal.runtime.errors import IntermodalError


def said(*arguments: str, code: int = 0) -> str:
    """Run a command; return what it printed, or the sentence it failed with."""
    result = CliRunner().invoke(cli.app, [*arguments])
    if isinstance(result.exception, IntermodalError):
        assert code == 1, result.exception
        return str(result.exception)
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def runs(platforms, target) -> dict:
    return platforms["kubeflow"].state["runs"] if target == "kubeflow" else platforms["vertex"].state["jobs"]
