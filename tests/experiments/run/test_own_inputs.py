"""Prompts and checkpoints of your own on the command line, on random-weight models."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import Cell, composed

from cme import Unavailable
from cme.models import chat
from cme.records import read_record
from experiments.config import composition
from experiments.config.validation import BadConfig
from experiments.run import inputs, pipeline, preparation, selection
from experiments.run.inputs import pair_prompts

SIZES = ("data.train_prompts=8", "data.eval_prompts=4", "judge=reference_similarity")


@pytest.fixture
def own(cell: Cell, tiny_folder: Callable[..., Path]) -> Callable[..., list[str]]:
    """The command line of a small cell with prompts and a generator of one's own."""

    def arguments(path: Path, *overrides: str) -> list[str]:
        selection = "judge@selection.judge=reference_similarity"
        generator = f"generator={tiny_folder('qwen')}"
        return cell("data=file", f"data.path={path}", *SIZES, selection, generator, *overrides)

    return arguments


def write(path: Path, **more: str) -> Path:
    rows = [{"instruction": f"Name animal {n}.", "system": f"Be brief {n}."} | more for n in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_own_prompts_and_generator(
    own: Callable[..., list[str]],
    tiny_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The models get the conversation, judges and record its transcript; the record rebuilds the prompts."""
    rendered: list[str] = []
    prompt_ids = chat.prompt_ids

    def noted(tokenizer: object, prompt: chat.Text) -> list[int]:
        rendered.append(json.dumps(prompt))
        return prompt_ids(tokenizer, prompt)  # type: ignore[arg-type]

    monkeypatch.setattr(chat, "prompt_ids", noted)
    run = composed(own(write(tmp_path / "mine.jsonl", output="An animal."), "trainer.beta=0"))
    pipeline.run(run)
    record = read_record(tmp_path / "runs" / run.run_id / "record.json")
    assert record.generator_checkpoint == str(tiny_folder("qwen")) and len(record.pairs) == 4
    for pair, prompt in zip(record.pairs, pair_prompts(record.pairs), strict=True):
        assert pair.messages == prompt.conversation and [m["role"] for m in prompt.conversation] == [
            "system",
            "user",
        ]
        assert pair.prompt == "System: {}\n\nUser: {}".format(*(m["content"] for m in prompt.conversation))
        assert json.dumps(prompt.conversation) in rendered
    assert [one for one in rendered if "system" not in one] == []


@pytest.mark.parametrize(
    ("overrides", "content", "error", "message"),
    [
        ((), '{"instruction": "Hi"}\n{"instruction": 3}', Unavailable, r"mine\.jsonl, line 2: instruction"),
        (
            (),
            '{"instruction": "Hi"}',
            BadConfig,
            "data=file: .* has 1 prompts for training, but 8 were asked for",
        ),
        (("generator=a/b/c",), None, Unavailable, "a/b/c is neither a folder"),
        (
            (),
            None,
            BadConfig,
            "judge=reference_similarity can judge none of the evaluation prompts of data=file: .* no reference answer",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    own: Callable[..., list[str]],
    tmp_path: Path,
    overrides: tuple[str, ...],
    content: str | None,
    error: type[Exception],
    message: str,
) -> None:
    path = write(tmp_path / "mine.jsonl")
    if content is not None:
        path.write_text(content)
    runs = composition.compose_cells(own(path, *overrides))
    with pytest.raises(error, match=message):
        preparation.prepare(runs)
    assert not (tmp_path / "runs").exists()


def test_references_that_the_selection_lacks_are_missed_before_anything_starts(
    own: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every evaluation prompt has a reference; of the two selection prompts none has one, then one."""
    rows = [{"instruction": f"Name animal {n}."} for n in range(20)]
    path, evaluation = write(tmp_path / "mine.jsonl"), tmp_path / "evaluation.jsonl"
    evaluation.write_text("\n".join(map(json.dumps, rows)))
    words = (
        f"data.eval_path={evaluation}",
        "selection.every=1",
        "selection.split=eval",
        "selection.prompts=2",
    )
    run = composed(own(path, *words))
    chosen = selection.selection_prompts(run)
    with_reference = [prompt.id for prompt in inputs.evaluation_prompts(run)]
    assert len(chosen) == 2 and not {prompt.id for prompt in chosen} & set(with_reference)

    def prepare() -> None:
        referenced = [
            row | ({"output": "An animal."} if f"eval-row-{n}" in with_reference else {})
            for n, row in enumerate(rows, start=1)
        ]
        evaluation.write_text("\n".join(map(json.dumps, referenced)))
        preparation.prepare([run])

    lack = "of the selection prompts of data=file: the prompt has no reference answer"
    with pytest.raises(BadConfig, match=f"^judge@selection.judge=reference_similarity can judge none {lack}"):
        prepare()
    assert not (tmp_path / "runs").exists()
    with_reference.append(chosen[0].id)
    prepare()
    warning = f"warning: judge@selection.judge=reference_similarity cannot judge 1 of 2 {lack}"
    assert warning in capsys.readouterr().err.splitlines()


def test_the_file_must_be_named() -> None:
    with pytest.raises(BadConfig, match=r"data\.path=FILE"):
        composition.compose_cells(["data=file", "judge=local"])


def test_a_stop_rule_without_end_tokens_is_refused_before_training(
    cell: Cell, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "endless"
    shutil.copytree(tiny_folder("qwen"), folder)
    (folder / "generation_config.json").write_text("{}")
    for rule in ("both", "template"):
        preparation.prepare(composition.compose_cells(cell(f"generator={folder}", f"evaluation.stop={rule}")))
    runs = composition.compose_cells(cell(f"generator={folder}", "evaluation.stop=checkpoint"))
    with pytest.raises(BadConfig, match=r"evaluation\.stop=checkpoint: .*endless names no token"):
        preparation.prepare(runs)


def test_gold_answers_that_cannot_be_read_are_left_out_and_counted(
    own: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every third row has a gold answer, the others' do not parse: no accuracy, no verdict, and the count printed."""
    rows = [{"instruction": f"Add {n}.", "answer": "\\frac{1" if n % 3 else "7"} for n in range(60)]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    words = ("data.answers=boxed", "judge=correctness", "judge@selection.judge=correctness", "reward=random")
    run = composed(own(path, *words))
    pipeline.run(run)
    record = read_record(tmp_path / "runs" / run.run_id / "record.json")
    readable = [int(pair.prompt.split()[1].rstrip(".")) % 3 == 0 for pair in record.pairs]
    assert 0 < sum(readable) < len(readable) == 4
    assert [pair.answer for pair in record.pairs] == ["7" if known else None for known in readable]
    assert record.accuracy is not None
    assert [graded is not None for graded in record.accuracy.policy] == readable
    judged = {v.prompt_id for v in record.verdicts if v.outcome != "unscored"}
    assert judged == {p.prompt_id for p, known in zip(record.pairs, readable, strict=True) if known}
    counted = f"{4 - sum(readable)} of 4 evaluation prompts have no gold answer that can be read"
    assert any(warning.startswith(counted) for warning in record.warnings)
    assert counted in capsys.readouterr().err
