"""A pipeline of somebody else's: two components, a configuration type of its own, nothing of this project's pipelines."""

from kfp import dsl

from intermodal.authoring.decorator import component
from intermodal.authoring.pipeline import Pipeline
from intermodal.configuration.sections import Configuration, Folder, section


@component(image="data")
def count_words(text: dsl.Input[dsl.Artifact], words: dsl.Output[dsl.Dataset], smallest: int = 1):
    """Count the words of a text.

    Args:
        text: A file.
        smallest: Letters that a word has at least.
        words: How many there are.
    """
    from pathlib import Path

    found = [each for each in Path(text.path).read_text().split() if len(each) >= smallest]
    Path(words.path).write_text(str(len(found)))


@component(image="data")
def check_count(words: dsl.Input[dsl.Dataset], minimum: int) -> bool:
    """Say whether there are enough words.

    Args:
        words: As `count_words` writes them.
        minimum: How many are enough.
    """
    from pathlib import Path

    return int(Path(words.path).read_text()) >= minimum


class CountingConfiguration(Configuration):
    """What is counted."""

    text: Folder
    counting = section(count_words)
    check = section(check_count)


def counting(settings) -> bool:
    """Count words, and say whether there are enough."""
    text = dsl.importer(artifact_uri=settings.text, artifact_class=dsl.Artifact)
    counted = count_words(text=text.output, **settings.counting)
    return check_count(words=counted.outputs["words"], **settings.check).output


pipeline = Pipeline("counting", counting, CountingConfiguration)
