"""Runs the pipelines of components' pages with an installed `intermodal`, not with the checkout's; a test writes it a line of JSON for each.

<python with the wheel> page_runner.py HOME                  with our local runner
<an image's python> page_runner.py HOME SITE_PACKAGES CODE   with kfp's own runner, which runs tasks in the environment of the image

A request has `code` (of a page), `arguments`, and `run`: whether it is run, or compiled only. An answer has what was `compiled`, and of a run the
`outputs` by task (of kfp's runner: the files of its pipeline root), or an `error`.
"""

import json
import os
import sys
import types
from pathlib import Path

HOME = Path(sys.argv[1])
if len(sys.argv) > 2:
    # kfp and its requirements are this process's only: the tasks' processes have the image's packages, and the package `intermodal` beside them.
    sys.path.insert(0, sys.argv[2])
    os.environ["PYTHONPATH"] = sys.argv[3]

import intermodal  # noqa: E402
from intermodal.compiler.build import compile_specification  # noqa: E402


def pipeline_of(code, number):
    """Return the pipeline that a page's code defines."""
    module = types.ModuleType(f"page_{number}")
    sys.modules[module.__name__] = module
    exec(compile(code, f"<page {number}>", "exec"), vars(module))
    return module.my_pipeline


def run_here(pipeline, arguments):
    from intermodal.runner.local import LocalTarget

    finished = LocalTarget(HOME).run(pipeline, arguments)
    assert finished.succeeded
    return {task.name: {"state": task.state} | {name: str(value) for name, value in task.outputs.items()} for task in finished.tasks}


def run_with_kfp(pipeline, arguments):
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(HOME), raise_on_error=True)
    pipeline(**arguments | {name: elsewhere(value) for name, value in defaults(pipeline).items() if "python3" in str(value)})
    return sorted(str(path.relative_to(HOME)) for path in HOME.rglob("*") if path.is_file())


def defaults(pipeline):
    return {name: each.default for name, each in (pipeline.component_spec.inputs or {}).items()}


def elsewhere(value):
    """Return a link to a file of a package: kfp's runner writes its Python over `python3` wherever a task's command has it, paths included."""
    if isinstance(value, list):
        return [elsewhere(each) for each in value]
    link = HOME.parent / Path(value).name
    if not link.exists():
        link.symlink_to(value)
    return str(link)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runs print is a log
    print(json.dumps({"package": intermodal.__file__}), file=answers, flush=True)
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        answer = {}
        try:
            pipeline = pipeline_of(request["code"], number)
            answer["compiled"] = compile_specification(pipeline)
            if request["run"]:
                answer["outputs"] = (run_with_kfp if len(sys.argv) > 2 else run_here)(pipeline, request["arguments"])
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
            sys.excepthook(*sys.exc_info())
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
