"""Rows of a data set from local files, folders and the hub's cache, and errors for bad ones."""

import json
import re
from pathlib import Path

import datasets
import hub_stub
import pandas as pd
import pytest

from cme import Unavailable
from cme.data import files

SOURCE = files.Source("owner/data", "test", ("problem", "answer"), 3)
ROWS = [{"problem": f"p{i}", "answer": str(i), "level": i} for i in range(3)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.parquet"])
def test_a_file_of_any_format_and_length(tmp_path: Path, name: str) -> None:
    for count in (3, 2):
        path = write(tmp_path / f"{count}{name}", ROWS[:count])
        found = [dict(row) for row in files.read_rows(SOURCE, str(path))]
        assert found == [{"problem": f"p{i}", "answer": str(i)} for i in range(count)]


def test_a_folder_has_the_split_or_a_single_one(tmp_path: Path) -> None:
    write(tmp_path / "both" / "test.jsonl", ROWS[:1])
    write(tmp_path / "both" / "train.jsonl", ROWS)
    assert len(files.read_rows(SOURCE, str(tmp_path / "both"))) == 1
    write(tmp_path / "one" / "anything.jsonl", ROWS[:2])
    assert len(files.read_rows(SOURCE, str(tmp_path / "one"))) == 2
    write(tmp_path / "other" / "train.jsonl", ROWS)
    write(tmp_path / "other" / "validation.jsonl", ROWS)
    with pytest.raises(ValueError, match=r"test.*train, validation"):
        files.read_rows(SOURCE, str(tmp_path / "other"))


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"problem": \n nonsense')
    (tmp_path / "x.txt").write_text("p")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "columns.jsonl", [{"problem": "p", "solution": "s"}])
    for name, match in (
        ("x.jsonl", "cannot be read"),
        ("x.txt", ".jsonl, .json"),
        ("empty", "cannot be read"),
        ("columns.jsonl", r"column answer.* problem, solution.*owner/data needs problem, answer"),
    ):
        with pytest.raises(ValueError, match=match) as caught:
            files.read_rows(SOURCE, str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(Unavailable, match="/nowhere"):
        files.read_rows(SOURCE, str(tmp_path / "nowhere"))


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
    found = list(files.read_rows(files.Source("owner/data", "test", ("problem",), {rows}), None))
except (Unavailable, ValueError) as error:
    found = type(error).__name__ + ": " + str(error)
print(json.dumps(found))
"""


def test_the_hubs_cache_is_read_offline_and_its_number_of_rows_checked(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "datasets--owner--data"
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: odd-name.jsonl\n---\n"
    write(repository / "snapshots" / "abc" / "odd-name.jsonl", ROWS)
    write(repository / "snapshots" / "abc" / "elsewhere.jsonl", ROWS)  # the card says which file is the split
    (repository / "snapshots" / "abc" / "README.md").write_text(card)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    environment = hub_stub.environment(tmp_path, "http://127.0.0.1:9")
    assert hub_stub.python(READ.format(rows=3), environment) == [{"problem": f"p{i}"} for i in range(3)]
    short = str(hub_stub.python(READ.format(rows=4), environment))
    assert re.match(
        "ValueError: owner/data has 3 rows .* 4 .*`hf download --repo-type dataset owner/data`", short
    )


def test_data_that_cannot_be_downloaded_is_unavailable(tmp_path: Path) -> None:
    said = str(hub_stub.python(READ.format(rows=3), hub_stub.environment(tmp_path, "http://127.0.0.1:9")))
    assert said.startswith(
        "Unavailable: data set owner/data is not in the local cache and the hub cannot be reached"
    )
