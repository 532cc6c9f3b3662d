"""Machines of Vertex AI's CustomJob: from CPUs, memory and accelerators to a machine type.

Sources: Vertex AI's documentation, Configure compute resources for custom training (types, and how many GPUs an n1 machine takes); Compute Engine's
documentation of machine families (CPUs, memory in GiB, built-in GPUs); Google Kubernetes Engine's, Plan TPUs (chips and topologies of one host).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from intermodal.runtime.errors import ConfigurationError

#: What a pipeline's step gets that asks for nothing, and so a CustomJob too, which cannot do without (Vertex AI's documentation, Machine types).
DEFAULT: Final = "e2-standard-4"
#: Gigabytes (10^9 bytes) in a GiB.
_GIB = 2**30 / 1e9


@dataclass(frozen=True)
class Machine:
    """A machine type.

    Attributes:
        name: As Vertex AI has it.
        cpus: Virtual CPUs.
        memory: Gigabytes (10^9 bytes).
        counts: How many accelerators it takes; of a machine with built-in ones their number; empty: none.
    """

    name: str
    cpus: int
    memory: float
    counts: tuple[int, ...] = ()


def _sized(family: str, sizes: Iterable[int], gib: float, *counts: int) -> list[Machine]:
    return [Machine(f"{family}-{cpus}", cpus, cpus * gib * _GIB, counts) for cpus in sizes]


def _built_in(family: str, rows: Iterable[tuple[str, int, float, int]]) -> list[Machine]:
    return [Machine(f"{family}-{size}", cpus, gib * _GIB, (count,)) for size, cpus, gib, count in rows]


def _n1(*steps: tuple[int, tuple[int, ...]]) -> list[Machine]:
    """Return the n1 machines with the numbers of GPUs that they take, by their CPUs at most."""
    kinds = (("n1-standard", (4, 8, 16, 32, 64, 96), 3.75), ("n1-highmem", (2, 4, 8, 16, 32, 64, 96), 6.5), ("n1-highcpu", (16, 32, 64, 96), 0.9))
    return [
        Machine(f"{family}-{cpus}", cpus, cpus * gib * _GIB, next(counts for most, counts in steps if cpus <= most))
        for family, sizes, gib in kinds
        for cpus in sizes
    ]


#: By Vertex AI's name of the accelerator, empty for none.
MACHINES: Final[dict[str, list[Machine]]] = {
    "": [
        *_sized("e2-standard", (4, 8, 16, 32), 4),
        *_sized("e2-highmem", (2, 4, 8, 16), 8),
        *_sized("n2-standard", (48, 64, 80), 4),
        *_sized("n2-highmem", (32, 48, 64, 80), 8),
        *_sized("n1-standard", (96,), 3.75),
        *_sized("n1-highmem", (96,), 6.5),
    ],
    "NVIDIA_TESLA_T4": _n1((16, (1, 2, 4)), (32, (2, 4)), (96, (4,))),
    "NVIDIA_TESLA_V100": _n1((8, (1, 2, 4, 8)), (16, (2, 4, 8)), (32, (4, 8)), (96, (8,))),
    "NVIDIA_L4": _built_in(
        "g2-standard",
        [
            ("4", 4, 16, 1),
            ("8", 8, 32, 1),
            ("12", 12, 48, 1),
            ("16", 16, 64, 1),
            ("32", 32, 128, 1),
            ("24", 24, 96, 2),
            ("48", 48, 192, 4),
            ("96", 96, 384, 8),
        ],
    ),
    "NVIDIA_TESLA_A100": [
        *_built_in("a2-highgpu", [("1g", 12, 85, 1), ("2g", 24, 170, 2), ("4g", 48, 340, 4), ("8g", 96, 680, 8)]),
        *_built_in("a2-megagpu", [("16g", 96, 1360, 16)]),
    ],
    "NVIDIA_A100_80GB": _built_in("a2-ultragpu", [("1g", 12, 170, 1), ("2g", 24, 340, 2), ("4g", 48, 680, 4), ("8g", 96, 1360, 8)]),
    "NVIDIA_H100_80GB": _built_in("a3-highgpu", [("1g", 26, 234, 1), ("2g", 52, 468, 2), ("4g", 104, 936, 4), ("8g", 208, 1872, 8)]),
    "TPU_V5_LITEPOD": _built_in("ct5lp-hightpu", [("1t", 24, 48, 1), ("4t", 112, 192, 4), ("8t", 224, 384, 8)]),
}
#: By the chips of a slice: its topology, where all chips are of one host.
TOPOLOGIES: Final = {1: "1x1", 4: "2x2", 8: "2x4"}


def machine_spec(where: str, resources: dict[str, Any], machine_type: str | None, topology: str | None) -> dict[str, Any]:
    """Return the `machine_spec` of a CustomJob's workers.

    Args:
        where: The task, for the message.
        resources: A container's, as `resources.resources` makes them of a shape; empty: none asked for.
        machine_type: The type that the settings name. Default: the smallest that has what is asked for.
        topology: Of a TPU slice. Default: by the number of chips.

    Raises:
        ConfigurationError: There is no such machine, the one named does not fit the shape, or a topology is not of one host.
    """
    cpus, memory = float(resources.get("cpuLimit") or 0), float(resources.get("memoryLimit") or 0)
    asked = resources.get("accelerator") or {}
    kind, count = str(asked.get("type", "")), int(asked.get("count") or 0)
    if machine_type:
        _check_named(where, machine_type, kind, count, cpus, memory)
    else:
        machine_type = _smallest(where, kind, count, cpus, memory) if cpus or memory or kind else DEFAULT
    if kind.startswith("TPU"):
        return {"machine_type": machine_type, "tpu_topology": _topology(where, topology, count)}
    if topology:
        raise ConfigurationError(f'{where}: tpu_topology is {topology!r}, and its shape has no TPUs: name a shape with accelerator = "tpu-v5e"')
    return {"machine_type": machine_type} | ({"accelerator_type": kind, "accelerator_count": count} if kind else {})


def _smallest(where: str, kind: str, count: int, cpus: float, memory: float) -> str:
    fitting = [each for each in MACHINES[kind] if each.cpus >= cpus and each.memory >= memory and (not kind or count in each.counts)]
    if fitting:
        return min(fitting, key=lambda each: (each.cpus, each.memory, each.name)).name
    counts = sorted({number for each in MACHINES[kind] for number in each.counts})
    wanted = ", ".join([*([f"{count} {kind}"] if kind else []), *([f"{cpus:g} CPUs"] if cpus else []), *([f"{memory:g}G"] if memory else [])])
    if kind and count not in counts:
        raise ConfigurationError(f"{where}: no machine of Vertex AI has {count} {kind}; there are machines with {', '.join(map(str, counts))}")
    largest = max((each for each in MACHINES[kind] if not kind or count in each.counts), key=lambda each: (each.cpus, each.memory))
    raise ConfigurationError(
        f"{where}: no machine of a CustomJob has {wanted}; the largest known is {largest.name} ({largest.cpus} CPUs, {largest.memory:.0f}G): ask for "
        "less in the shape, or name a `machine_type`"
    )


def _check_named(where: str, machine_type: str, kind: str, count: int, cpus: float, memory: float) -> None:
    known = {(accelerator, each.name): each for accelerator, machines in MACHINES.items() for each in machines}
    family = machine_type.rpartition("-")[0]
    homes = {accelerator for accelerator, name in known if accelerator and name.rpartition("-")[0] == family}
    if kind and homes and kind not in homes:
        raise ConfigurationError(f"{where}: the machine {machine_type} takes {' or '.join(sorted(homes))}, and the shape has {kind}")
    if not kind and homes and not family.startswith("n1-"):
        raise ConfigurationError(f"{where}: the machine {machine_type} comes with {' or '.join(sorted(homes))}: name them in a shape (`accelerator`)")
    if kind and not homes:
        raise ConfigurationError(f"{where}: the machine {machine_type} takes no {kind}; leave `machine_type` out, and the smallest that does is used")
    machine = known.get((kind, machine_type))
    if machine is None:
        return  # a type that is newer than our table, or that needs none
    if kind and count not in machine.counts:
        raise ConfigurationError(
            f"{where}: the machine {machine_type} takes {' or '.join(map(str, machine.counts))} {kind}, and the shape has {count}"
        )
    if machine.cpus < cpus or machine.memory < memory:
        raise ConfigurationError(
            f"{where}: the machine {machine_type} has {machine.cpus} CPUs and {machine.memory:.0f}G, less than the shape asks for; correct either"
        )


def _topology(where: str, topology: str | None, chips: int) -> str:
    if topology is None:
        return TOPOLOGIES[chips]
    if topology not in TOPOLOGIES.values():
        raise ConfigurationError(
            f"{where}: tpu_topology is {topology!r}: a CustomJob's TPUs are of one replica, and what the hosts of a larger slice learn of each other "
            f"there is not documented; take {', '.join(TOPOLOGIES.values())}"
        )
    if TOPOLOGIES.get(chips) != topology:
        right = next(number for number, each in TOPOLOGIES.items() if each == topology)
        raise ConfigurationError(f"{where}: the topology {topology} has {right} chips, and the shape {chips}; write accelerators = {right}")
    return topology
