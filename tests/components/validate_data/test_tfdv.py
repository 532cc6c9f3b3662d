"""The component runs TFDV without loading TensorFlow, which is most of what TFDV's import costs."""

import ast
import subprocess
import sys
from pathlib import Path

from intermodal.components.validate_data.statistics import tfdv

LOADED = """
import sys, intermodal.components.validate_data.logic as logic
from intermodal.components.validate_data.view import render_view
from intermodal.components.validate_data.statistics.streaming import Accumulator
accumulator = Accumulator()
render_view([accumulator.statistics('train')])
assert 'tensorflow.python' not in sys.modules, 'TensorFlow was loaded'
import tensorflow
assert tensorflow.compat.as_bytes('x') == b'x', 'and could not be loaded when it was needed'
"""


def test_tensorflow_is_loaded_only_when_something_needs_it():
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_no_other_module_imports_tfdv():
    for file in Path(tfdv.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            roots = {name.partition(".")[0] for name in names}
            assert file.name == "tfdv.py" or not roots & {"tensorflow_data_validation", "tfx_bsl", "tensorflow"}, file
