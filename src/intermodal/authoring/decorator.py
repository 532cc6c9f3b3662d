"""The component contract: how a typed function becomes a containerised Kubeflow Pipelines component."""

from collections.abc import Callable
from typing import Any, Final

from docstring_parser import parse
from kfp import dsl

from intermodal.authoring.images import image_reference

#: Names of the components (as the compiler writes them) that must run every time: they read or change something outside the run.
UNCACHED: Final[set[str]] = set()
#: What each component that changes something outside the run changes, by the component's name: what `replay --changes` takes.
CHANGES: Final[dict[str, str]] = {}
#: Of components that are cached only where an input is given: component's name (as the compiler writes it) to that input's.
CACHED_WITH: Final[dict[str, str]] = {}


def component(*, image: str, cached: bool = True, cached_with: str = "", changes: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Make a thin, typed function a component that runs in one of the project's images.

    The function's body is all that the compiled YAML carries: it imports its logic from the image and calls it.

    Args:
        image: A key of `intermodal.authoring.images.IMAGES`.
        cached: Whether equal inputs may reuse an earlier run's outputs. False for whatever reads or changes a store that outlives the run;
            the policy belongs to the component and is written into every compiled pipeline that uses it.
        cached_with: A parameter without which the component reads a store as it is when the task runs: it is cached only where a pipeline sets that
            parameter to a value or to another task's output. Default: none such.
        changes: What it changes outside the run, in a word or two joined by a hyphen; `intermodal replay` asks before it runs such a task again.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        made = dsl.component(function, base_image=image_reference(image), install_kfp_package=False)
        for described in parse(function.__doc__ or "").params:  # kfp takes the inputs' descriptions from here, but not the outputs'
            if described.arg_name in (made.component_spec.outputs or {}):
                made.component_spec.outputs[described.arg_name].description = described.description
        if not cached:
            UNCACHED.add(made.name)
        if cached_with:
            CACHED_WITH[made.name] = cached_with
        if changes:
            CHANGES[made.name] = changes
        return made

    return decorate
