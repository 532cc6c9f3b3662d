"""YAML that anybody may have written ends in values or in one sentence, soon and within a little memory."""

import string
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from intermodal.authoring.pipeline import load_job
from intermodal.configuration.targets import load_targets
from intermodal.linting import lint
from intermodal.linting.admission import read_pipeline
from intermodal.runner.local import LocalTarget
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.safe_yaml import MOST_BYTES, parse_documents, parse_value, read_text
from intermodal.submission.digests import read_digests
from intermodal.submission.parameters import read_parameters

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000))
HOSTILE = {
    "anchor bomb": (BOMB, "more than 500,000 values"),
    "bomb of merges": (MERGES, "more than 500,000 values"),
    "brackets 100,000 deep": ("a: " + "[" * 100_000, "more than 100 levels deep"),
    "braces 100,000 deep": ("{a: " * 100_000, "more than 100 levels deep"),
    "indentation 200 deep": ("".join(f"{' ' * n}a:\n" for n in range(200)), "more than 100 levels deep"),
    "deep by aliases": (CHAIN, "more than 100 levels deep"),
    "an alias of itself": ("a: &a [*a]", "inside the value"),
    "a merge of itself": ("a: &a {<<: *a}", "inside the value"),
    "a key twice": ("title: one\ntraining: {}\ntitle: two\n", "line 3: the key 'title' is in line 1 already"),
    "a Python object": ("a: !!python/object/apply:os.system ['true']", "line 1: not YAML"),
    "no such date": ("a: 2026-02-31", "not YAML: day is out of range"),
    "a number of 100,000 digits": ("a: " + "9" * 100_000, "line 1: a number of 100,000 digits"),
    "a number of 5,000 digits in base 16": ("a: 0x" + "f" * 5_000, "line 1: a number of 5,002 digits"),
    "a number of 1,000,000 digits in base 60": ("a: 1" + ":1" * 500_000, "line 1: a number of 1,000,001 digits"),
    "no such integer": ('a: !!int ""', "not YAML: the text of a value does not fit its tag"),
    "no such boolean": ("a: !!bool x", "not YAML: the text of a value does not fit its tag"),
    "no such time": ("a: !!timestamp x", "not YAML: the text of a value does not fit its tag"),
    "four million values": ("a: [" + "b," * 4_000_000 + "]", "more than 500,000 values"),
    "an open quote": ('a: "b\n', "not YAML"),
    "a NUL": ("a: \0", "not YAML"),
    "a tab": ("a:\n\tb: 1", "line 2: not YAML"),
    "17 MiB": ("a: " + "x" * 17 * 2**20, "more than 16 MiB"),
}


@pytest.mark.fault(
    "Wrong input", "YAML with an alias bomb, deep nesting, a key twice, a Python object, a NUL, 17 MiB", "one sentence, in 2 s and 200 MB"
)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_ends_in_one_sentence_wherever_it_is_read(name, tmp_path):
    text, sentence = HOSTILE[name]
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    for read in (load_job, read_parameters, read_pipeline, lambda path: LocalTarget(tmp_path).run(path, {})):
        before = time.monotonic()
        with pytest.raises(ConfigurationError) as refused:
            read(path)
        said = str(refused.value)
        assert sentence in said
        assert said.startswith(f"{path}: ")
        assert "\n" not in said
        assert len(said) < 500
        assert time.monotonic() - before < 5
    if name != "a key twice":  # the linter shows each of these with its line
        assert [each.rule for each in lint(path)] == ["readable"]
    if "\0" not in text:
        with pytest.raises(ConfigurationError, match=r"^--set training: "):
            load_job(Path("pipelines/flights.yaml"), [f"training={text}"])


def test_hostile_yaml_takes_little_memory():
    code = """
        import resource
        from intermodal.runtime.errors import ConfigurationError
        from intermodal.runtime.safe_yaml import parse_documents
        from test_safe_yaml import HOSTILE
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for text, _ in HOSTILE.values():
            try:
                parse_documents(text, "x")
            except ConfigurationError:
                continue
            raise SystemExit("read")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200_000  # kB


def test_files_that_are_none_are_said_to_be(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path, Path("nul\0.yaml"), Path("/dev/zero")):
        with pytest.raises(ConfigurationError) as refused:
            read_text(path, "give a file")
        assert "\n" not in str(refused.value)
    assert MOST_BYTES >= 16 * 2**20


def test_a_text_in_another_encoding_names_the_byte(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("title: Zürich".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="not UTF-8 text at byte 8"):
        load_job(tmp_path / "latin.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "marked.yaml").write_bytes(b"\xef\xbb\xbftitle: x")
    assert parse_value(read_text(tmp_path / "marked.yaml", ""), "") == {"title": "x"}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(string.printable),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(string.ascii_letters, max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(PLAIN, min_size=1, max_size=3))
def test_what_yaml_writes_is_read_back(values):
    assert [each.value for each in parse_documents(yaml.safe_dump_all(values), "x")] == values


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    try:
        parse_documents(text, "x")
    except ConfigurationError as error:
        assert "\n" not in str(error)


@pytest.mark.fault("Wrong input", "targets.toml or a digest file nested 100,000 deep, endless, with a NUL in its name, or a folder", "one sentence")
@pytest.mark.parametrize("read", [load_targets, read_digests])
def test_hostile_toml_and_json_end_in_one_sentence(read, tmp_path):
    for number, text in enumerate(("[" * 100_000, "a = " + "[" * 100_000, '{"a":' * 100_000)):
        (tmp_path / f"{number}").write_text(text)
    for path in (*map(tmp_path.joinpath, "012"), tmp_path, Path("nul\0"), Path("/dev/zero")):
        with pytest.raises(ConfigurationError) as refused:
            read(path)
        assert "\n" not in str(refused.value)
