"""Notes on files hold for the content that they were made of, and for no other."""

import pytest

from intermodal.runtime.file_notes import FileNotes, note_key


@pytest.fixture
def files(tmp_path):
    found = [tmp_path / "a.db", tmp_path / "b.db"]
    for file in found:
        file.write_text(file.name)
    return found


def test_what_is_noted_is_known_until_a_file_changes_and_again_when_it_is_as_it_was(files):
    notes = FileNotes(files)
    notes.put(notes.state(), {"one": {"version": 1}})
    notes.put(notes.state(), {"two": [2]})
    assert (FileNotes(files).get("one"), FileNotes(files).get("two"), FileNotes(files).get("three")) == ({"version": 1}, [2], None)
    files[0].write_text("changed")
    assert FileNotes(files).get("one") is None
    files[0].write_text("a.db")
    assert FileNotes(files).get("one") == {"version": 1}


def test_a_note_of_another_state_drops_what_was_noted_before(files):
    notes = FileNotes(files)
    notes.put(notes.state(), {"one": 1})
    files[1].write_text("changed")
    notes.put(notes.state(), {"two": 2})
    assert (notes.get("one"), notes.get("two")) == (None, 2)


def test_nothing_is_noted_of_files_that_changed_meanwhile(files):
    notes = FileNotes(files)
    state = notes.state()
    files[1].write_text("changed")
    notes.put(state, {"one": 1})
    assert notes.get("one") is None


@pytest.mark.parametrize("ending", ["-journal", "-wal"])
def test_a_database_in_the_middle_of_a_change_is_not_known(files, ending):
    notes = FileNotes(files)
    notes.put(notes.state(), {"one": 1})
    journal = files[0].with_name(f"a.db{ending}")
    journal.touch()
    assert notes.get("one") is None
    notes.put(notes.state(), {"one": 2})
    journal.unlink()
    assert notes.get("one") == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": 3}', '{"values": {"one": 1}}', "null"])
def test_a_notes_file_that_is_none_is_no_notes(files, content):
    notes = FileNotes(files)
    files[1].with_name("b.db.notes.json").write_text(content)
    assert notes.get("one") is None
    notes.put(notes.state(), {"one": 1})
    assert notes.get("one") == 1


def test_without_files_or_with_one_that_is_missing_nothing_is_known(files):
    files[0].unlink()
    for notes in (FileNotes([]), FileNotes(files)):
        notes.put(notes.state(), {"one": 1})
        assert (notes.state(), notes.get("one")) == ("", None)


def test_a_key_depends_on_its_parts_their_order_and_the_versions():
    keys = [note_key(1, 2), note_key(2, 1), note_key(1, [2]), note_key(1, 2, packages=["pytest"])]
    assert len(set(keys)) == 4
    assert keys[0] == note_key(1, 2) == note_key(1, 2, packages=["no-such-package"])
