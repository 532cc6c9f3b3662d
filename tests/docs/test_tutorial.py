"""The tutorial's files, written as it says and run as it says, end in a served model."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.pipelines.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def test_the_tutorial_read_as_it_stands_ends_in_a_model_that_answers(tmp_path):
    files = re.findall(r"```(?:sql|python|yaml)\n(?:--|#) (rain/\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert {name for name, _ in files} == {"rain/rain.yaml", "rain/features/views.py"} | {
        f"rain/features/transforms/{name}.sql" for name in ("10_reports", "20_questions")
    }
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (shown,) = re.findall(r"^\$ \.venv/bin/intermodal (run .+)$", PAGE, re.MULTILINE)
    command = [str(Path(sys.executable).with_name("intermodal"))]
    changed = ["--set", f"serving.local.port={free_port()}", "--home", str(tmp_path / "home")]
    try:
        done = subprocess.run([*command, *shlex.split(shown), *changed], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        assert re.search(r"Gate +passed", done.stdout), done.stdout
        assert "it answered over HTTP" in done.stdout
        assert list((tmp_path / "home" / "runs").glob("*/report.html"))
    finally:
        subprocess.run([*command, "serve", "--home", str(tmp_path / "home"), "stop", "rain"], capture_output=True, check=False)
