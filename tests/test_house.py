"""The house keeps its own rules: small rooms, names that say something, every room on the plan."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [ROOT / name for name in ("src/intermodal", "components", "pipelines")]
#: About a dozen files fit in a head; a room with more is two.
MOST_FILES = 14
LONGEST = 450


def folders():
    for room in ROOMS:
        for folder in (room, *room.rglob("*")):
            linked = any(each.is_symlink() for each in (folder, *folder.relative_to(room).parents) if isinstance(each, Path) and each.is_absolute())
            if folder.is_dir() and not linked and "__pycache__" not in folder.parts and list(folder.glob("*.py")):
                yield folder


def modules(folder):
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def test_no_folder_holds_more_files_than_one_can_know():
    crowded = {folder.relative_to(ROOT).as_posix(): len(modules(folder)) for folder in folders() if len(modules(folder)) > MOST_FILES}
    assert not crowded


def test_no_file_repeats_the_name_of_its_folder():
    repeated = [
        path.relative_to(ROOT).as_posix()
        for folder in folders()
        for path in modules(folder)
        if folder.name.rstrip("s") in path.stem.split("_") or folder.name in path.stem.split("_")
    ]
    assert not repeated


def test_no_file_is_a_drawer_and_none_is_too_long_to_read():
    assert not [path for folder in folders() for path in modules(folder) if path.stem in ("utils", "util", "helpers", "common", "misc")]
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for folder in folders()
        for path in modules(folder)
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long


def test_every_room_is_on_the_plan_of_the_readme_and_of_the_design():
    readme, plan = (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "docs" / "explanation" / "house.md").read_text(encoding="utf-8")
    rooms = [path.parent.name for path in (ROOT / "src/intermodal").glob("*/__init__.py") if not path.parent.is_symlink()]
    for room in rooms:
        assert re.search(rf"\b{room}/", readme), f"README.md does not show {room}/"
        assert re.search(rf"\b{room}/", plan), f"docs/explanation/house.md does not say what {room}/ is for"
