"""Two workers of this machine against one, by the seconds of a step, for a network of two hidden layers of 2,048.

    .venv/bin/python benchmarks/workers.py [--rounds 4] [--realtime] [--case tensorflow:4096:3 ...]

One worker has one processor. (TF_NUM_INTRAOP_THREADS=1 is not that: operations that do not need each other still run side by side.) The machine's
ceiling is two trainings at once, each of half the batch, with a processor each. All processes are started first and then make steps in turns. With
--realtime they are real-time processes during their turn (as root), so that other programs take nothing from them; the kernel then gives them 95 %
of a processor, which takes up to 5 % from those that never wait. The ratio is therefore also given with one worker's processor seconds: the least it
can be.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH, UNITS = 23, (2048, 2048)
CASES = ("tensorflow:1024:10", "tensorflow:4096:3", "tensorflow:16384:1", "jax:4096:3")


def steps(given):
    """Return what makes a number of steps as one worker."""
    import numpy as np

    from intermodal.training.batches import Batch
    from intermodal.training.cluster import Cluster

    cluster = Cluster(given["index"], max(1, len(given["addresses"])), tuple(given["addresses"]), "TF_CONFIG")
    if given["backend"] == "jax":
        import keras

        from intermodal.training.jax_steps import JaxSteps

        backend = JaxSteps(cluster, learning_rate=0.003, precision="float32", model_parallel=1)
    else:
        from intermodal.runtime.tensorflow import keras
        from intermodal.training.tensorflow_steps import TensorFlowSteps

        backend = TensorFlowSteps(cluster, learning_rate=0.003, steps_per_execution=1, precision="float32", jit_compile=False)

    def network():
        keras.utils.set_random_seed(1)
        hidden = [keras.layers.Dense(each, activation="relu") for each in UNITS]
        return keras.Sequential([keras.Input((WIDTH,)), *hidden, keras.layers.Dense(1)])

    backend.begin(network)
    rows = given["batch"] // cluster.count
    features = np.random.default_rng(given["index"]).normal(size=(rows, WIDTH)).astype(np.float32)
    batch = Batch(features, (features[:, 0] > 0).astype(np.float32), np.ones(rows, np.float32), given["batch"])

    def run(count):
        waiting = None
        for _ in range(count):
            started = backend.train([batch], False)
            if waiting:
                waiting()
            waiting = started
        waiting()

    return run


def child(given):
    """Make as many steps as each line of standard input says; print the wall's and the processors' seconds."""
    os.sched_setaffinity(0, given["processors"])
    run = steps(given)
    run(3)
    print("=ready", flush=True)
    for line in sys.stdin:
        if given["realtime"]:
            schedule(os.SCHED_RR, 1)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        run(int(line))
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        if given["realtime"]:
            schedule(os.SCHED_OTHER, 0)
        print(f"={json.dumps([wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime])}", flush=True)
    os._exit(0)  # workers that end wait for each other


def schedule(policy, priority):
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))
        except ProcessLookupError:
            continue


class Way:
    """Processes that make the same steps at once.

    Args:
        name: What is printed.
        backend: tensorflow or jax.
        batch: Rows of a step of one training.
        processors: Of each process.
        together: Whether the processes are workers of one training.
        realtime: Whether they are real-time processes while they make steps.
    """

    def __init__(self, name, backend, batch, processors, together, realtime):
        from intermodal.execution.environments import environment

        self.name, self.seconds = name, []
        count = len(processors)
        addresses = ports(count) if together else []
        # As workers/processes.py sets them for the workers of one machine.
        share = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC"), "1") if count > 1 else {}
        direct = {"no_proxy": "127.0.0.1", "no_grpc_proxy": "127.0.0.1"}
        variables = os.environ | direct | share | {"PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": backend}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # as long as the processes
        self.processes = []
        for place, each in enumerate(processors):
            given = {"index": place if together else 0, "addresses": addresses, "processors": each, "batch": batch, "backend": backend}
            command = [str(environment("train")), str(Path(__file__)), "--child", json.dumps(given | {"realtime": realtime})]
            process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
            self.processes.append(process)

    def answers(self):
        """Return the next line of each process, as JSON."""
        return [json.loads(self._answer(process)) for process in self.processes]

    def _answer(self, process):
        for line in process.stdout:
            if line.startswith("="):
                return line[1:].replace("ready", "0")
        self.errors.seek(0)
        sys.exit(f"{self.name}: a process ended\n{self.errors.read()[-3000:]}")

    def turn(self, count):
        """Make some steps; return a step's seconds by the wall and of all processors."""
        for process in self.processes:
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
        found = self.answers()
        return max(wall for wall, _ in found) / count, sum(processors for _, processors in found) / count

    def end(self):
        """End the processes."""
        for process in self.processes:
            process.stdin.close()
            process.wait()


def ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return found


def measure(backend, batch, count, rounds, realtime):
    first, second = sorted(os.sched_getaffinity(0))[:2]
    both = [first, second]
    ways = [
        Way("one worker, one processor", backend, batch, [[first]], False, realtime),
        Way("one worker, two processors", backend, batch, [both], False, realtime),
        Way("two workers, two processors", backend, batch, [both, both], True, realtime),
        Way("two trainings of half the batch", backend, batch // 2, [[first], [second]], False, realtime),
    ]
    for way in ways:
        way.answers()
        way.turn(count)
    for _ in range(rounds):
        for way in ways:
            way.seconds.append(way.turn(count))
    for way in ways:
        way.end()
    print(f"{backend}, batches of {batch:,}: median of {rounds} turns of {count} steps, load {os.getloadavg()[0]:.0f}")
    medians = {way.name: [statistics.median(column) for column in zip(*way.seconds, strict=True)] for way in ways}
    one = medians["one worker, one processor"]
    for name, (wall, processors) in medians.items():
        print(
            f"  {name:32} {batch / wall:8,.0f} rows/s: {one[0] / wall:.2f} of one, at least {one[1] / wall:.2f}; "
            f"{processors / one[1]:.2f} times its processors' seconds",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--case", action="append", help="BACKEND:BATCH:STEPS of a turn")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    for case in options.case or CASES:
        backend, batch, count = case.split(":")
        measure(backend, int(batch), int(count), options.rounds, options.realtime)


if __name__ == "__main__":
    main()
