"""Training: rows a second against hand-written loops and by setting, memory by rows.

    .venv/bin/python benchmarks/training.py [--part throughput,settings,memory] [--rounds 3]

Seconds are of the wall and of the processors. What is compared runs in turns; where other programs run, `nice -n -15` keeps the processors from them.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROWS, WIDTH, BATCH, EPOCHS = 245_000, 190, 2048, 4
LARGE = [2048, 2048]
PARTS = ("throughput", "settings", "memory")


def dense(rows=ROWS, width=WIDTH):
    import numpy as np

    generator = np.random.default_rng(0)
    features = generator.normal(size=(rows, width)).astype(np.float32)
    return features, (generator.random(rows) < 1 / (1 + np.exp(-features[:, 0]))).astype(np.float32)


def network(units=(64,)):
    from tensorflow import keras

    keras.utils.set_random_seed(1)
    hidden = [layer for each in units for layer in (keras.layers.Dense(each, activation="relu"), keras.layers.Dropout(0.1))]
    return keras.Sequential([keras.Input((WIDTH,)), *hidden, keras.layers.Dense(1)])


def keras_fit(features, labels):
    from tensorflow import keras

    model = network()
    metrics = [keras.metrics.AUC(from_logits=True)]
    model.compile(keras.optimizers.Adam(0.003), keras.losses.BinaryCrossentropy(from_logits=True), metrics=metrics)
    return lambda: model.fit(features, labels, batch_size=BATCH, epochs=1, verbose=0)


def keras_loop(features, labels):
    """The loop of Keras's own guide: a compiled step over a tf.data pipeline that shuffles, gathers and prefetches."""
    import tensorflow as tf
    from tensorflow import keras

    model, optimizer, loss = network(), keras.optimizers.Adam(0.003), keras.losses.BinaryCrossentropy(from_logits=True)
    optimizer.build(model.trainable_variables)
    metric, x, y = keras.metrics.AUC(from_logits=True), tf.constant(features), tf.constant(labels[:, None])

    @tf.function
    def step(given, wanted):
        with tf.GradientTape() as tape:
            logits = model(given, training=True)
            value = loss(wanted, logits)
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        metric.update_state(wanted, logits)
        return value

    rows = tf.data.Dataset.range(len(labels)).shuffle(len(labels)).batch(BATCH)
    rows = rows.map(lambda index: (tf.gather(x, index), tf.gather(y, index)), num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def epoch():
        for given, wanted in rows:
            step(given, wanted)

    return epoch


def ours(features, labels, several=1, units=(64,), batch=BATCH, precision="float32", jit_compile=False):
    import numpy as np
    import pyarrow as pa

    from intermodal.training.cluster import Cluster
    from intermodal.training.rows import Part, Source
    from intermodal.training.tensorflow_steps import TensorFlowSteps

    class Numbered:
        def numbered(self, part, columns, ranges):
            yield 0, pa.record_batch([pa.array(np.arange(len(labels)))], names=["row"])

    def convert(table):
        rows = table["row"].to_numpy()
        return features[rows], labels[rows]

    backend = TensorFlowSteps(Cluster(0, 1), learning_rate=0.003, steps_per_execution=several, precision=precision, jit_compile=jit_compile)
    backend.begin(lambda: network(units))
    part = Part(Source(Numbered(), "train", len(labels), ["row"], convert, WIDTH), Cluster(0, 1), batch, Path(tempfile.gettempdir()), seed=1)
    number = iter(range(1000))

    def epoch():
        from intermodal.training.loop import grouped

        waiting = None
        with part.ahead(next(number)) as ahead:
            for group in grouped(ahead, several):
                started = backend.train(group, False)
                if waiting:
                    waiting()
                waiting = started
        waiting()

    return epoch


def throughput(rounds):
    """Print the seconds of an epoch of each way, in turns; the first epochs, which compile, do not count."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    features, labels = dense()
    ways = {
        "a hand-written Keras loop": keras_loop(features, labels),
        "Keras's fit": keras_fit(features, labels),
        "ours": ours(features, labels),
        "ours, 8 steps a call": ours(features, labels, 8),
    }
    compare(ways, ROWS, rounds * EPOCHS, "a hand-written Keras loop")


def settings(rounds):
    """Print the seconds of an epoch by setting, each alone, for a small and a large network."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    for name, units, rows, batch in (("small", (64,), ROWS, BATCH), ("large", LARGE, 16_384, BATCH)):
        features, labels = dense(rows)
        given = {
            "float32, step by step": {},
            "mixed_bfloat16": {"precision": "mixed_bfloat16"},
            "jit_compile": {"jit_compile": True},
            "8 steps a call": {"several": 8},
            "mixed_bfloat16, jit_compile": {"precision": "mixed_bfloat16", "jit_compile": True},
        }
        print(f"{name}: hidden units {list(units)}, batches of {batch:,}", flush=True)
        ways = {setting: ours(features, labels, units=units, batch=batch, **each) for setting, each in given.items()}
        compare(ways, rows, rounds * EPOCHS, "float32, step by step")


def compare(ways, rows, epochs, base):
    """Print the rows a second of each way, medians of epochs in turns; the first epochs, which compile, do not count."""
    for epoch in ways.values():
        epoch()
    taken = {name: [] for name in ways}
    for _ in range(epochs):
        for name, epoch in ways.items():
            wall, processors = time.perf_counter(), time.process_time()
            epoch()
            taken[name].append((time.perf_counter() - wall, time.process_time() - processors))
    first = [statistics.median(column) for column in zip(*taken[base], strict=True)]
    for name, found in taken.items():
        wall, processors = (statistics.median(column) for column in zip(*found, strict=True))
        print(
            f"{name:28} {rows / wall:10,.0f} rows/s, {rows / processors:10,.0f} rows a processor's second: "
            f"{first[0] / wall:.2f} and {first[1] / processors:.2f} of {base}",
            flush=True,
        )


def written(folder, copies, width=20, rows=ROWS):
    """Write examples: `copies` files of the same rows to train on, and a tenth of one to validate on."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    features, labels = dense(rows, width)
    color = np.random.default_rng(1).choice(["red", "green", "blue"], rows)
    table = pa.table({**{f"x{index}": features[:, index] for index in range(width)}, "color": color, "y": labels.astype(np.int64)})
    for part in ("train", "validation"):
        (folder / part).mkdir(parents=True)
    pq.write_table(table, folder / "train" / "0.parquet", row_group_size=50_000)
    for copy in range(1, copies):
        os.link(folder / "train" / "0.parquet", folder / "train" / f"{copy}.parquet")
    pq.write_table(table.slice(0, rows // 10), folder / "validation" / "0.parquet")


def trained(folder, **given):
    from intermodal.authoring.catalog import load_component

    known = load_component("train_model").component_spec.inputs
    defaults = {name: each.default for name, each in known.items() if each.optional and name not in ("schema", "statistics", "code", "tuned")}
    paths = {f"{each}_path": str(folder / "out" / each) for each in ("model", "training", "metrics", "curves")}
    none = dict.fromkeys(("schema_path", "statistics_path", "code_path", "tuned_path"))
    return {**defaults, **none, **paths, "examples_path": str(folder / "examples"), "label": "y", **given}


def in_image(task, **variables):
    """Do a task, `write` or `train`, in a process of the image; return what it printed last, as JSON."""
    from intermodal.execution.environments import environment

    given = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "2"} | variables
    command = [str(environment("train")), str(Path(__file__)), "--child", json.dumps(task)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    return json.loads(done.stdout.splitlines()[-1])


def child(task):
    """Do a task here; print the metrics of a training, its peak memory in MB and its processors' seconds, with those of its workers."""
    if "write" in task:
        written(Path(task["write"]), task["copies"], rows=task["rows"])
        print("{}")
        return
    from intermodal.components.train_model.logic import train_model

    metrics = train_model(**task["train"]).metrics
    own, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sum(each.ru_utime + each.ru_stime for each in (own, workers))
    print(json.dumps({"metrics": metrics, "memory": max(own.ru_maxrss, workers.ru_maxrss) / 1024, "processors": seconds}))


def memory():
    """Print the peak memory of a training by rows, of one epoch."""
    for copies in (1, 10, 30):
        with tempfile.TemporaryDirectory() as temporary:
            in_image({"write": str(Path(temporary) / "examples"), "copies": copies, "rows": ROWS})
            found = in_image({"train": trained(Path(temporary), epochs=1, batch_size=BATCH, hidden_units=[64])})
        peak, seconds, wait = found["memory"], found["processors"], found["metrics"]["input_wait"]
        print(f"{copies * ROWS:10,} rows: peak {peak:6,.0f} MB, {seconds:.0f} processors' seconds, steps waited {wait:.0%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
    elif options.inside:
        {"throughput": throughput, "settings": settings}[options.inside](options.rounds)
    else:
        parts = options.part.split(",")
        for part in ("throughput", "settings"):
            if part in parts:
                from intermodal.execution.environments import environment

                variables = os.environ | {"PYTHONPATH": str(ROOT / "src"), "TF_CPP_MIN_LOG_LEVEL": "3"}
                command = [str(environment("train")), str(Path(__file__)), "--inside", part, "--rounds", str(options.rounds)]
                subprocess.run(command, env=variables, check=True)
        if "memory" in parts:
            memory()


if __name__ == "__main__":
    main()
