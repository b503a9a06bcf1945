"""The commits of what comes from the hub: recorded, pinned, and another run if they change."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_snapshots import FIRST, SECOND, add_snapshot, private_cache
from samples import write_lines
from small_runs import Cell, composed

from cme import Unavailable
from cme.data import files
from cme.records import read_json, read_record
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import inputs, pipeline, preparation, provenance
from experiments.run.store import Store

Folder = Callable[..., Path]
NAME = "owner/model"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the results of `finished`, once they are made."""
    return tmp_path_factory.mktemp("kept") / "runs"


@pytest.fixture
def finished(cell: Cell, hub_cache: Path, tiny_folder: Folder, tmp_path: Path, kept: Path) -> Run:
    """A finished run of the first commit of a checkpoint."""
    add_snapshot(hub_cache, NAME, FIRST, tiny_folder("qwen"))
    run = composed(cell(f"generator={NAME}", "tracker=none"))
    if kept.exists():
        shutil.copytree(kept, tmp_path / "runs")
    else:
        preparation.prepare([run])
        pipeline.run(run)
        shutil.copytree(tmp_path / "runs", kept)
    return run


@pytest.mark.parametrize("half", [False, True])
def test_another_commit_under_the_same_name_is_another_run(
    finished: Run, hub_cache: Path, tiny_folder: Folder, cell: Cell, half: bool
) -> None:
    store = Store(finished)
    assert read_record(store.record).environment[f"weights of {NAME}"] == FIRST
    assert read_json(store.folder / "commits.json") == {f"weights of {NAME}": FIRST}
    preparation.prepare([finished])  # it is still the same run
    if half:
        store.record.unlink()
    trained = store.training.read_bytes()
    add_snapshot(hub_cache, NAME, SECOND, tiny_folder("qwen"))
    with private_cache(hub_cache):  # as in a new process
        with pytest.raises(Unavailable, match=f"{NAME} at commit {FIRST}, .*is at {SECOND} here") as caught:
            preparation.prepare([finished])
        assert "\n" not in str(caught.value)
        if half:
            with pytest.raises(Unavailable, match=SECOND):
                pipeline.run(finished)
        assert store.training.read_bytes() == trained
        pinned = composed(cell(f"generator={NAME}@{SECOND}", "tracker=none"))
        assert pinned.run_id != finished.run_id
        preparation.prepare([pinned])
        record = read_record(pipeline.run(pinned))
    assert record.environment[f"weights of {NAME}@{SECOND}"] == SECOND


def test_the_revision_of_a_data_set_is_read_and_recorded(
    cell: Cell, hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import config

    from cme.data import files, math

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "prepared")
    train = files.Source("owner/math", "train", ("problem", "solution"), 24)
    monkeypatch.setattr(math, "TRAIN", train)
    for number, commit in enumerate((FIRST, SECOND)):
        source = tmp_path / commit
        source.mkdir()
        rows = [{"problem": f"{number} {i}?", "solution": "\\boxed{1}"} for i in range(24)]
        write_lines(source / "train.jsonl", rows)
        add_snapshot(hub_cache, train.name, commit, source, kind="datasets")
    evaluation = write_lines(
        tmp_path / "eval.jsonl", [{"problem": f"{i}?", "answer": "1"} for i in range(12)]
    )
    options = ("data=math", "judge=correctness", f"data.source.eval_path={evaluation}")

    def problems(*more: str) -> set[str]:
        run = composed(cell(*options, *more))
        return {prompt.text.split()[0] for prompt in inputs.training_prompts(run)}

    assert problems() == {"1"}
    assert problems(f"data.source.revision={FIRST}") == {"0"}
    run = composed(cell(*options, f"data.source.revision={FIRST}"))
    local = {"data of HuggingFaceH4/MATH-500": files.version(evaluation)}
    assert provenance.record_commits(run, []) == local | {f"data of {train.name}": FIRST}
    main = composed(cell(*options))
    assert main.run_id != run.run_id
    provenance.record_commits(main, [])
    shutil.rmtree(hub_cache)
    add_snapshot(hub_cache, train.name, FIRST, tmp_path / FIRST, kind="datasets")
    with pytest.raises(Unavailable, match=f"owner/math is at {FIRST} here, .*data.source.revision={FIRST}"):
        provenance.record_commits(main, [])
    provenance.record_commits(run, [])


def test_a_file_with_other_prompts_is_another_run(cell: Cell, tmp_path: Path, tiny_folder: Folder) -> None:
    """Other training prompts are another training; other evaluation prompts are another run of the same training."""

    def rows(text: str) -> list[dict[str, str]]:
        return [{"instruction": f"{text} {i}?", "output": "yes"} for i in range(24)]

    train, evaluation = (write_lines(tmp_path / f"{use}.jsonl", rows(use)) for use in ("train", "eval"))
    paths = (f"data.path={train}", f"data.source.eval_path={evaluation}", "judge=reference_similarity")
    words = ("data=file", *paths, f"generator={tiny_folder('qwen')}", "tracker=none")
    run, other = (composed(cell(*words, f"evaluation.both_orders={both}")) for both in ("true", "false"))
    preparation.prepare([run])
    pipeline.run(run)
    digests = {f"data of {path}": files.version(str(path)) for path in (train, evaluation)}
    assert read_json(Store(run).folder / "commits.json") == digests
    assert read_json(Store(run).trained / "commits.json") == {f"data of {train}": digests[f"data of {train}"]}
    assert digests.items() <= read_record(Store(run).record).environment.items()
    preparation.prepare([run, other])
    write_lines(Path(evaluation), rows("changed"))
    with pytest.raises(Unavailable, match=r"was made with .*eval\.jsonl with other contents.*another name"):
        preparation.prepare([run])
    preparation.prepare([other])
    write_lines(Path(train), rows("changed"))
    with pytest.raises(Unavailable, match=r"was made with .*train\.jsonl with other contents"):
        pipeline.run(other)


def test_a_local_file_has_no_revision(cell: Cell) -> None:
    run = composed(cell("data=math", "judge=correctness", "data.source.path=x", "data.source.revision=v1"))
    with pytest.raises(BadConfig, match=r"data=math: .*is read from x, which has no revision v1"):
        inputs.data_copies(run)


def test_a_run_does_not_continue_a_shared_training_of_another_commit(
    finished: Run, hub_cache: Path, tiny_folder: Folder, cell: Cell
) -> None:
    trained = Store(finished).training.read_bytes()
    add_snapshot(hub_cache, NAME, SECOND, tiny_folder("qwen"))
    other = composed(cell(f"generator={NAME}", "tracker=none", "evaluation.both_orders=false"))
    assert Store(other).trained == Store(finished).trained and other.run_id != finished.run_id
    with private_cache(hub_cache):
        with pytest.raises(Unavailable, match=f"{Store(other).trained.name} was made with .*{SECOND} here"):
            preparation.prepare([other])
        with pytest.raises(Unavailable, match=SECOND):
            pipeline.run(other)
    assert Store(finished).training.read_bytes() == trained


def test_a_pinned_run_does_not_mind_a_new_commit(cell: Cell, hub_cache: Path, tiny_folder: Folder) -> None:
    add_snapshot(hub_cache, NAME, FIRST, tiny_folder("qwen"))
    run = composed(cell(f"generator={NAME}@{FIRST}", "tracker=none"))
    pipeline.run(run)
    add_snapshot(hub_cache, NAME, SECOND, tiny_folder("qwen"))
    preparation.prepare([run])
