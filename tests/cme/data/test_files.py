"""Rows of a data set from local files, folders and the hub's cache, and errors for bad ones."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_stub
import pandas as pd
import pytest
from samples import write_lines

from cme import Unavailable
from cme.data import files

SOURCE = files.Source("owner/data", "test", ("problem", "answer"), 3)
ROWS = [{"problem": f"p{i}", "answer": str(i), "level": i} for i in range(3)]


pytestmark = pytest.mark.usefixtures("own_cache")
WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "x.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "x.json": lambda frame, path: frame.to_json(path, orient="records"),
    "x.parquet": lambda frame, path: frame.to_parquet(path),
    "x.csv": lambda frame, path: frame.astype(str).to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_any_format_and_length(tmp_path: Path, name: str) -> None:
    for count in (3, 2):
        path = tmp_path / f"{count}{name}"
        WRITERS[name](pd.DataFrame(ROWS[:count]), path)
        rows = [
            (row["problem"], str(row["answer"])) for row in files.read_rows(files.Copy(SOURCE, str(path)))
        ]
        assert rows == [(f"p{i}", str(i)) for i in range(count)]
        assert set(files.read_rows(files.Copy(SOURCE, str(path)))[0]) == {"problem", "answer"}


def test_a_folder_has_the_split_or_a_single_one(tmp_path: Path) -> None:
    for name, rows in (
        ("both/test", 1),
        ("both/train", 3),
        ("one/anything", 2),
        ("other/train", 3),
        ("other/validation", 3),
    ):
        write_lines(tmp_path / f"{name}.jsonl", ROWS[:rows])
    assert len(files.read_rows(files.Copy(SOURCE, str(tmp_path / "both")))) == 1
    assert len(files.read_rows(files.Copy(SOURCE, str(tmp_path / "one")))) == 2
    with pytest.raises(ValueError, match=r"test.*train, validation"):
        files.read_rows(files.Copy(SOURCE, str(tmp_path / "other")))


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"problem": \n nonsense')
    (tmp_path / "x.txt").write_text("p")
    (tmp_path / "empty").mkdir()
    write_lines(tmp_path / "columns.jsonl", [{"problem": "p", "solution": "s"}])
    for name, match in (
        ("x.jsonl", "cannot be read"),
        ("x.txt", ".jsonl, .json"),
        ("empty", "cannot be read"),
        ("columns.jsonl", r"column answer.* problem, solution.*owner/data needs problem, answer"),
    ):
        with pytest.raises(ValueError, match=match) as caught:
            files.read_rows(files.Copy(SOURCE, str(tmp_path / name)))
        assert "\n" not in str(caught.value)
    with pytest.raises(Unavailable, match="/nowhere"):
        files.read_rows(files.Copy(SOURCE, str(tmp_path / "nowhere")))


def test_a_sample_depends_on_the_seed_and_has_no_repeats() -> None:
    sample = files.sample_rows(SOURCE, 50, 20, 3)
    assert sample == files.sample_rows(SOURCE, 50, 20, 3) != files.sample_rows(SOURCE, 50, 20, 4)
    assert len(set(sample)) == 20 and set(sample) <= set(range(50))
    with pytest.raises(ValueError, match="owner/data has 3 rows, but 4 "):
        files.sample_rows(SOURCE, 3, 4, 0)


READ = """
import json
from cme import Unavailable
from cme.data import files
try:
    found = list(files.read_rows(files.Copy(files.Source("owner/data", "test", ("problem",), {rows}))))
except (Unavailable, ValueError) as error:
    found = type(error).__name__ + ": " + str(error)
print(json.dumps(found))
"""


def test_the_hubs_cache_is_read_offline_and_its_number_of_rows_checked(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "datasets--owner--data"
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: odd-name.jsonl\n---\n"
    for name in ("odd-name", "elsewhere"):  # the card says which file is the split
        write_lines(repository / "snapshots" / "abc" / f"{name}.jsonl", ROWS)
    (repository / "snapshots" / "abc" / "README.md").write_text(card)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    environment = hub_stub.environment(tmp_path, "http://127.0.0.1:9")
    assert hub_stub.python(READ.format(rows=3), environment) == [{"problem": f"p{i}"} for i in range(3)]
    refused = str(hub_stub.python(READ.format(rows=4), environment))
    assert re.match(
        "ValueError: owner/data has 3 rows .* 4 .*`hf download --repo-type dataset owner/data`", refused
    )


def test_data_that_cannot_be_downloaded_is_unavailable(tmp_path: Path) -> None:
    reply = str(hub_stub.python(READ.format(rows=3), hub_stub.environment(tmp_path, "http://127.0.0.1:9")))
    assert reply.startswith(
        "Unavailable: data set owner/data is not in the local cache and the hub cannot be reached"
    )


def test_the_version_of_local_data_is_that_of_its_contents_and_names(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        write_lines(folder / "part" / "one.jsonl", ROWS)
        write_lines(folder / "two.jsonl", ROWS)
    a, b = map(str, folders)
    assert files.version(a) == files.version(b)
    assert files.version(f"{a}/two.jsonl") == files.version(f"{b}/part/one.jsonl") != files.version(a)
    (folders[1] / "two.jsonl").rename(folders[1] / "three.jsonl")
    assert files.version(a) != files.version(b)
    write_lines(folders[0] / "two.jsonl", ROWS[:2])
    assert files.version(f"{a}/two.jsonl") != files.version(f"{b}/three.jsonl")
    assert files.version(f"{a}/three.jsonl") is None
