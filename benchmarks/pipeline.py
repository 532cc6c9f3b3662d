"""The whole training pipeline: cold, warm and cached, against a plain script with the same steps.

    .venv/bin/python benchmarks/pipeline.py [--configuration pipelines/flights.yaml] [--rounds 3] [--cold]

The plain script calls the components' logic one after another with no orchestrator. Their packages do not fit into one process (TFDV needs
protobuf 4, the others protobuf 6), so it starts one process for consecutive steps that share an environment.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from intermodal.authoring.pipeline import load_job
from intermodal.configuration.sections import Place
from intermodal.execution.environments import environment

ROOT = Path(__file__).resolve().parent.parent
COMMAND = Path(sys.executable).parent / "intermodal"

# The steps in order; consecutive ones of one image share a process.
PLAIN = [
    (
        "track",
        "from intermodal.components.find_champion.logic import find_champion as f\n"
        "found = f(name=a['name'], registry=a['registry'])\n"
        "from intermodal.components.fetch_champion.logic import fetch_champion as g\n"
        "g(name=a['name'], registry=a['registry'], version=found.version, model_sha256=found.model_sha256,\n"
        "  reference=found.reference, champion_path=p('champion'))",
    ),
    (
        "data",
        "from intermodal.components.fingerprint_sources.logic import fingerprint_sources as e\n"
        "from intermodal.components.ingest_tables.logic import ingest_tables as f\n"
        "f(**a['data'], fingerprint=e(a['data']['sources']), tables_path=p('tables'))\n"
        "from intermodal.components.transform_tables.logic import transform_tables as g\n"
        "g(tables_path=p('tables'), repository_path=a['repository'], transformed_path=p('transformed'))\n"
        "from intermodal.components.retrieve_features.logic import retrieve_features as h\n"
        "h(tables_path=p('transformed'), repository_path=a['repository'], **a['features'], examples_path=p('examples'))\n"
        "from intermodal.components.materialize_features.logic import materialize_features as i\n"
        "i(tables_path=p('transformed'), tables_uri=p('transformed'), repository_path=a['repository'],\n"
        "  service=a['features']['service'], store=a['features']['store'],\n"
        "  filter_by_created_timestamp=a['features']['filter_by_created_timestamp'],\n"
        "  materialization_path=p('materialization'))",
    ),
    (
        "validate",
        "from intermodal.components.validate_data.logic import validate_data as f\n"
        "f(examples_path=p('examples'), baseline_path=p('champion'), label=a['label'], **a['validation'],\n"
        "  statistics_path=p('statistics'), schema_path=p('schema'),\n"
        "  anomalies_path=p('anomalies'), view_path=p('view'), examples_uri='')\n"
        "from intermodal.components.require_valid_data.logic import require_valid_data as g\n"
        "g(anomalies_path=p('anomalies'))",
    ),
    (
        "train",
        "from intermodal.components.train_model.logic import train_model as f\n"
        "f(examples_path=p('examples'), schema_path=p('schema'), statistics_path=p('statistics'), code_path=None, tuned_path=None,\n"
        "  label=a['label'], **a['training'], seed=a['seed'], model_path=p('model'),\n"
        "  training_path=p('training'), metrics_path=p('train_metrics'), curves_path=p('curves'))\n"
        "from intermodal.components.evaluate_model.logic import evaluate_model as g\n"
        "g(model_path=p('model'), champion_path=p('champion'), examples_path=p('examples'), label=a['label'],\n"
        "  **a['evaluation'], seed=a['seed'], evaluation_path=p('evaluation'), predictions_path=p('predictions'), metrics_path=p('metrics'))\n"
        "from intermodal.components.gate_model.logic import gate_model as h\n"
        "h(evaluation_path=p('evaluation'), predictions_path=p('predictions'), **a['gate'], judged={}, seed=a['seed'], decision_path=p('decision'),\n"
        "  summary_path=p('gate'))",
    ),
    (
        "track",
        "from intermodal.components.register_model.logic import register_model as f\n"
        "f(model_path=p('model'), training_path=p('training'), schema_path=p('schema'), statistics_path=p('statistics'),\n"
        "  evaluation_path=p('evaluation'), decision_path=p('decision'), tables_path=p('tables'), repository_path=a['repository'],\n"
        "  code_path=None, framework='', metrics={}, name=a['name'], registry=a['registry'],\n"
        "  parameters=a['training']['hyperparameters'], run_name='plain',\n"
        "  registered_path=p('registered'), registration_path=p('registration'))",
    ),
    (
        "serve",
        "from intermodal.components.serve_model.logic import serve_model as f\n"
        "f(model_path=p('model'), evaluation_path=p('evaluation'), registration_path=p('registration'), \n"
        "  name=a['name'], **a['serving'], version='', deployment_path=p('deployment'))",
    ),
    (
        "track",
        "from intermodal.components.promote_model.logic import promote_model as e\n"
        "e(registration_path=p('registration'), deployment_path=p('deployment'), registry=a['registry'], promotion_path=p('promotion'))\n"
        "from intermodal.components.render_report.logic import render_report as f\n"
        "f(title=a['title'], registration_path=p('registration'), promotion_path=p('promotion'), deployment_path=p('deployment'),\n"
        "  anomalies_path=p('anomalies'), metrics={},\n"
        "  **dict.fromkeys(['statistics_path', 'training_path', 'evaluation_path', 'decision_path', 'tables_path', 'search_path']),\n"
        "  report_path=p('report'), summary_path=p('summary'))",
    ),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def timed(command: list[str], **more: object) -> float:
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        sys.exit(f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return time.monotonic() - started


def plain(configuration: Path, folder: Path) -> float:
    """Run the plain script in an empty home; return its seconds."""
    job = load_job(configuration, [f"serving.local.port={free_port()}"])
    place = Place(job.base, folder=str, source=lambda path, pattern: str(path / pattern), home=lambda key: str(folder))
    settings = job.sections("local", job.arguments("local", place))
    arguments = vars(settings) | {"repository": settings.features.repository}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    prelude = f"import json\na = json.load(open({str(folder / 'arguments.json')!r}))\np = lambda name: {str(folder)!r} + '/' + name\n"
    quiet = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")}
    variables = quiet | {"PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "2", "_KFP_RUNTIME": "true"}
    return sum(timed([str(environment(image)), "-c", prelude + code], env=variables) for image, code in PLAIN)


def pipeline(configuration: Path, home: Path, port: int) -> float:
    return timed([str(COMMAND), "run", str(configuration), "--home", str(home), "--set", f"serving.local.port={port}"])


def stop(home: Path, name: str) -> None:
    subprocess.run([str(COMMAND), "serve", "--home", str(home), "stop", name], capture_output=True, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configuration", type=Path, default=ROOT / "pipelines" / "flights.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="also time a clone with no environments and an empty download cache")
    options = parser.parse_args()
    name = load_job(options.configuration).settings.name
    warm, cached, script = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(options.rounds):
            home, port = Path(temporary) / f"home{number}", free_port()
            warm.append(pipeline(options.configuration, home, port))
            pipeline(options.configuration, home, port)  # the first run with a champion
            cached.append(pipeline(options.configuration, home, port))
            stop(home, name)
            folder = Path(temporary) / f"plain{number}"
            folder.mkdir()
            script.append(plain(options.configuration, folder))
            stop(folder, name)
            print(f"round {number + 1}: warm {warm[-1]:.1f} s, cached {cached[-1]:.1f} s, plain script {script[-1]:.1f} s", flush=True)
        print(f"warm / plain script, by round: {', '.join(f'{a / b:.2f}' for a, b in zip(warm, script, strict=True))}")
        print(f"median: warm {statistics.median(warm):.1f} s, cached {statistics.median(cached):.1f} s, plain {statistics.median(script):.1f} s")
        if options.cold:
            clone = Path(temporary) / "clone"
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
            variables = os.environ | {"UV_CACHE_DIR": str(Path(temporary) / "uv")}
            started = time.monotonic()
            done = subprocess.run(["make", "run"], cwd=clone, env=variables, capture_output=True, text=True, check=False)
            print(f"cold, with downloads: {time.monotonic() - started:.0f} s (status {done.returncode})")
            stop(clone / ".intermodal", name)
            shutil.rmtree(clone, ignore_errors=True)


if __name__ == "__main__":
    main()
