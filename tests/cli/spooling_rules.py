"""The linter's rules of the platform in `spooling.py`."""

from intermodal.linting.finding import Complaint, rule


@rule("spool-name", platforms=("spool",), why="the other program takes ten characters", source="its manual")
def _name(document):
    name = document.specification["pipelineInfo"]["name"]
    if len(name) > 10:
        yield Complaint((0, "pipelineInfo", "name"), f"the pipeline is called {name!r}", "choose a shorter `name`")
