"""A pipeline with everything that kfp can wire, and the edits of it that each rule of `wiring` is for."""

import copy

from kfp import dsl

from intermodal.compiler.build import compile_specification

_image = {"base_image": "registry.example/team/say:1", "install_kfp_package": False}


@dsl.component(**_image)
def say(text: str) -> str:
    return text


@dsl.component(**_image)
def count(n: int, rate: float = 1.0) -> int:
    return n


@dsl.component(**_image)
def join(texts: list[str]) -> str:
    return "".join(texts)


@dsl.component(**_image)
def make(made: dsl.Output[dsl.Dataset]):
    pass


@dsl.component(**_image)
def use(used: dsl.Input[dsl.Artifact], also: dsl.Input[dsl.Artifact] = None):
    pass


@dsl.component(**_image)
def collect(all_made: dsl.Input[list[dsl.Dataset]]):
    pass


@dsl.component(**_image)
def end(status: dsl.PipelineTaskFinalStatus, text: str):
    pass


@dsl.container_component
def tool(text: str, n: int, answer: dsl.OutputPath(str), made: dsl.Output[dsl.Dataset], opt: str = ""):
    return dsl.ContainerSpec(
        image="registry.example/tool:1",
        command=["tool", text, n, answer, made.uri],
        args=[dsl.IfPresentPlaceholder("opt", ["--opt", opt]), dsl.ConcatPlaceholder(["a=", text])],
    )


@dsl.pipeline(name="inner")
def inner(text: str, n: int = 3) -> str:
    count(n=n)
    return say(text=text).output


@dsl.pipeline(name="wired")
def wired(text: str, n: int, items: list[str], rate: float = 1.0) -> str:
    with dsl.ParallelFor([{"a": 1}, {"a": 2}]) as row:
        count(n=row.a)
    with dsl.ExitHandler(end(text=text)):
        first = say(text=f"x {text}").set_retry(2)
        nested = inner(text=first.output)
        with dsl.ParallelFor(items, parallelism=2) as item:
            said, each = say(text=item), make()
            with dsl.If(said.output == "a"):
                say(text="b")
        join(texts=dsl.Collected(said.output))
        collect(all_made=dsl.Collected(each.outputs["made"]))
        counted = count(n=5, rate=rate)
        with dsl.If(counted.output > 3):
            one = make().set_caching_options(False)
        with dsl.Elif(text == "x"):
            two = make().set_caching_options(False)
        with dsl.Else():
            three = make().set_caching_options(False)
        use(used=dsl.OneOf(one.outputs["made"], two.outputs["made"], three.outputs["made"]))
        imported = dsl.importer(artifact_uri=text, artifact_class=dsl.Dataset, metadata={"n": n})
        tooled = tool(text=text, n=n).set_cpu_limit("2").set_memory_limit("4G").set_env_variable("A", "b")
        use(used=tooled.outputs["made"], also=imported.output).after(nested)
        say(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
    return say(text="last").output


WIRED = compile_specification(wired)

_TOOL = "deploymentSpec.executors.exec-tool"


def changed(specification, where, value):
    """Return a copy in which the value at a dotted path is another; `...` removes it."""
    made = copy.deepcopy(specification)
    at = made
    *parents, last = where.split(".")
    for part in parents:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[int(part)]
    if value is ...:
        del at[last]
    elif isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return made


def named(where):
    """Return the name of the one thing at a dotted path whose name kfp makes up."""
    at = WIRED
    for part in where.split("."):
        at = at[part]
    return next(iter(at))


_HANDLER = next(name for name in WIRED["components"] if name.startswith("comp-exit-handler"))
_LOOP = next(name for name, task in WIRED["components"][_HANDLER]["dag"]["tasks"].items() if "parameterIterator" in task)
_GRAPH = f"components.{_HANDLER}.dag"
_COUNT = next(name for name in WIRED["components"][_HANDLER]["dag"]["tasks"] if name.startswith("count"))
_STATIC = next(name for name, task in WIRED["root"]["dag"]["tasks"].items() if "parameterIterator" in task)
_CHOICE = next(name for name in WIRED["components"] if name.startswith("comp-condition-branches"))
_OUTPUT = named("root.dag.outputs.parameters")
_BRANCH = named(f"components.{_CHOICE}.dag.tasks")

CASES = [
    # rule, target, specification, place that the finding names
    (
        "output-reference",
        "vertex",
        changed(WIRED, f"root.dag.outputs.parameters.{_OUTPUT}.valueFromParameter.producerSubtask", "sya"),
        f"root.dag.outputs.parameters.{_OUTPUT}",
    ),
    (
        "output-reference",
        "kubeflow",
        changed(WIRED, f"root.dag.outputs.parameters.{_OUTPUT}.valueFromParameter.outputParameterKey", "Uotput"),
        f"root.dag.outputs.parameters.{_OUTPUT}",
    ),
    ("output-reference", "vertex", changed(WIRED, "root.outputDefinitions", ...), "root.dag.outputs.parameters"),
    (
        "component-cycle",
        "kubeflow",
        changed(WIRED, "components.comp-inner.dag.tasks.say.componentRef.name", "comp-inner"),
        "components.comp-inner",
    ),
    (
        "loop",
        "vertex",
        changed(WIRED, f"{_GRAPH}.tasks.{_LOOP}.parameterIterator.items.inputParameter", "itmes"),
        f"{_GRAPH}.tasks.{_LOOP}.parameterIterator.items",
    ),
    (
        "loop",
        "vertex",
        changed(WIRED, f"{_GRAPH}.tasks.{_LOOP}.parameterIterator.itemInput", "itme"),
        f"{_GRAPH}.tasks.{_LOOP}.parameterIterator.itemInput",
    ),
    (
        "loop",
        "kubeflow",
        changed(WIRED, f"root.dag.tasks.{_STATIC}.parameterIterator.items.raw", "[1, 2"),
        f"root.dag.tasks.{_STATIC}.parameterIterator.items.raw",
    ),
    (
        "condition",
        "kubeflow",
        changed(WIRED, f"components.{_CHOICE}.dag.tasks.{_BRANCH}.triggerPolicy.condition", "inputs.parameter_values['nothing'] == 'a'"),
        f"components.{_CHOICE}.dag.tasks.{_BRANCH}.triggerPolicy.condition",
    ),
    (
        "parameter-type",
        "vertex",
        changed(WIRED, f"{_GRAPH}.tasks.{_COUNT}.inputs.parameters.n.runtimeValue.constant", "five"),
        f"{_GRAPH}.tasks.{_COUNT}.inputs.parameters.n",
    ),
    (
        "parameter-type",
        "kubeflow",
        changed(WIRED, "components.comp-tool.inputDefinitions.parameters.n.parameterType", "STRING"),
        f"{_GRAPH}.tasks.tool.inputs.parameters.n",
    ),
    (
        "parameter-type",
        "vertex",
        changed(WIRED, "components.comp-say.outputDefinitions.parameters.Output.parameterType", "LIST"),
        f"{_GRAPH}.tasks.inner.inputs.parameters.text",
    ),
    (
        "placeholder",
        "vertex",
        changed(WIRED, f"{_TOOL}.container.command.1", "{{$.inputs.parameters['txet']}}"),
        f"{_TOOL}.container.command.1",
    ),
    (
        "placeholder",
        "kubeflow",
        changed(WIRED, f"{_TOOL}.container.args.0", "--made={{$.outputs.artifacts['mode'].path}}"),
        f"{_TOOL}.container.args.0",
    ),
    (
        "task-reference",
        "vertex",
        changed(WIRED, "root.dag.tasks.end.inputs.parameters.status.taskFinalStatus.producerTask", "exit-hander-1"),
        "root.dag.tasks.end.inputs.parameters.status",
    ),
    ("kubeflow-executor-kind", "kubeflow", changed(WIRED, _TOOL, {"customJob": {"customJob": {}}}), f"{_TOOL}.customJob"),
    ("kubeflow-reserved-name", "kubeflow", changed(WIRED, "components.root", WIRED["components"]["comp-say"]), "components.root"),
    ("kubeflow-request-over-limit", "kubeflow", changed(WIRED, f"{_TOOL}.container.resources.cpuRequest", 3.0), f"{_TOOL}.container.resources"),
    (
        "kubeflow-request-over-limit",
        "kubeflow",
        changed(WIRED, f"{_TOOL}.container.resources.resourceMemoryRequest", "4Gi"),
        f"{_TOOL}.container.resources",
    ),
    ("vertex-machine-limits", "vertex", changed(WIRED, f"{_TOOL}.container.resources.resourceMemoryLimit", "600Gi"), f"{_TOOL}.container.resources"),
    ("vertex-root", "vertex", changed(WIRED, "defaultPipelineRoot", "s3://bucket"), "defaultPipelineRoot"),
    ("vertex-root", "vertex", {"pipelineSpec": WIRED, "runtimeConfig": {"gcsOutputDirectory": "/tmp"}}, "runtimeConfig"),
    ("vertex-job-runtime", "vertex", {"pipelineSpec": WIRED}, "runtimeConfig"),
    (
        "vertex-job-runtime",
        "vertex",
        {"pipelineSpec": WIRED, "runtimeConfig": {"parameterValues": {"txet": "a"}}},
        "runtimeConfig.parameterValues.txet",
    ),
    ("vertex-job-dropped", "vertex", {"pipelineSpec": WIRED, "runtimeConfig": {}, "labels": {"team": "ml"}}, "labels"),
]
