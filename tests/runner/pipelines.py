"""Small pipelines that the platforms' tests submit."""

from kfp import dsl


@dsl.component(base_image="registry.example/team/say:1", install_kfp_package=False)
def say(text: str) -> str:
    return text


@dsl.pipeline(name="conditional")
def conditional(text: str, count: int, rules: dict, note: str = "none"):
    first = say(text=text)
    with dsl.If(count > 1):
        say(text=first.output)
    with dsl.Else():
        say(text=note)
