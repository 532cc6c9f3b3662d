"""A component with several workers that needs no training: they send their rows to the chief, or fail in a way."""

from typing import NamedTuple

from kfp import dsl

from intermodal.authoring.decorator import component


@component(image="train")
def share(
    examples: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    unwritten: dsl.Output[dsl.Metrics],
    what: str = "finish",
    workers: int = 1,
) -> NamedTuple("Outputs", [("rows", int)]):
    """Share work, or fail in a way."""
    import json
    import os
    import pathlib
    import signal
    import socket
    import sys
    import time

    from intermodal.runtime.errors import DataError

    configuration = json.loads(os.environ.get("TF_CONFIG", '{"cluster": {"worker": ["127.0.0.1:0"]}, "task": {"index": 0}}'))
    addresses, index = configuration["cluster"]["worker"], configuration["task"]["index"]
    attempt = os.environ.get("INTERMODAL_ATTEMPT", "none")
    print(f"worker {index} of {len(addresses)} of workers={workers} in attempt {attempt}: {what}")
    if what == "raise" and index == 1:
        raise ValueError("no such thing as a column")
    if what == "wrong data" and index == 1:
        raise DataError("examples: the column 'late' is missing; correct label")
    if what == "eat" and index == 1:
        held = []
        while True:
            held.append(b"x" * 2**24)
    if what == "wait" or (what == "wait once" and attempt == "0"):
        signal.signal(signal.SIGTERM, lambda *_: (print("a last checkpoint", flush=True), sys.exit(3)))
        for second in range(600):
            print(f"second {second}", flush=True)
            time.sleep(1)
    # Every worker sends its rows to the chief, where it says that it listens.
    rows = pathlib.Path(examples.path).read_text().split()[index :: len(addresses)]
    host, _, port = addresses[0].rpartition(":")
    if index:
        for _ in range(100):
            try:
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(" ".join(rows).encode())
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        else:
            raise ConnectionError(f"the chief does not listen at {addresses[0]}")
    else:
        with socket.create_server((host, int(port))) as server:
            for _ in addresses[1:]:
                connection, _ = server.accept()
                with connection:
                    while part := connection.recv(4096):
                        rows += part.decode().split()
        folder = pathlib.Path(model.path)
        (folder / "variables").mkdir(parents=True)
        (folder / "variables" / "all").write_text(" ".join(sorted(rows)))
        (folder / "saved_model.pb").write_bytes(b"\x00\xff")
        model.metadata["attempt"] = attempt
        model.metadata["checkpoints"] = os.environ.get("INTERMODAL_CHECKPOINTS", "none")
        unwritten.log_metric("rows", len(rows))
    return (len(rows),)
