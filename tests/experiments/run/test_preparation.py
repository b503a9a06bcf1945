"""What is refused or warned of before the first run starts, and prompts and checkpoints of your own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from small_runs import Cell, composed

from cme import Unavailable
from cme.checkpoints import load
from cme.evaluation import capabilities
from cme.models import chat
from cme.records import (
    read_record,
)
from cme.runtime import extras
from experiments.config import composition
from experiments.config.validation import BadConfig
from experiments.run import (
    pipeline,
    preparation,
)
from experiments.run.inputs import pair_prompts
from experiments.run.store import Store


@pytest.fixture
def own(cell: Cell, tiny_folder: Callable[..., Path]) -> Callable[..., list[str]]:
    """The command line of a small cell with prompts and a generator of one's own."""

    def arguments(path: Path, *overrides: str) -> list[str]:
        sizes = ("data.train_prompts=8", "data.eval_prompts=4", "judge=reference_similarity")
        selection = "judge@selection.judge=reference_similarity"
        generator = f"generator={tiny_folder('qwen')}"
        return cell("data=file", f"data.path={path}", *sizes, selection, generator, *overrides)

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
        ((), '{"instruction": "Hi"}', BadConfig, "has 1 prompts for training, but 8 were asked for"),
        (("generator=a/b/c",), None, Unavailable, "a/b/c is neither a folder"),
        (
            (),
            None,
            BadConfig,
            "judge=reference_similarity can judge none .* data=file: .* no reference answer",
        ),
        (("judge=local", "judge.checkpoint=package:none"), None, BadConfig, "checkpoint is"),
        (("judge=alpaca_eval", "judge.annotator=alpaca_farm"), None, BadConfig, "annotator is"),
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


def test_what_cannot_be_measured_is_said_before_training(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval takes seconds to read its 14,000 tasks; this index has one of them."""

    def unreachable(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route to the hub")

    load_own = capabilities._manager(capabilities.own_tasks()).load
    short = SimpleNamespace(
        all_subtasks=[*capabilities.own_tasks(), "gsm8k"],
        load=lambda names: unreachable() if names == ["gsm8k"] else load_own(names),
    )
    monkeypatch.setattr(capabilities, "_manager", lambda _: short)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(BadConfig, match=r"'world_fact'.* did you mean world_facts\?"):
        preparation.prepare(composition.compose_cells(cell("capabilities.tasks=[world_fact]")))
    with pytest.raises(Unavailable, match=r"task gsm8k .*\(no route to the hub\)"):
        preparation.prepare(composition.compose_cells(cell("capabilities.tasks=[world_facts,gsm8k]")))


def test_weights_that_cannot_be_had_are_named_even_for_a_finished_run(finished: Cell) -> None:
    arguments = finished("reward=random")
    with pytest.raises(BadConfig, match="packages carry"):
        preparation.prepare([composed([*arguments, "+evaluation.comparators.x=package:none"])])


def test_a_tracker_that_cannot_be_had_is_refused_before_any_work(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    configs = [composed(cell("tracker=mlflow", f"seed={seed}")) for seed in (0, 1)]
    with pytest.raises(Unavailable) as refused:
        preparation.prepare(configs)
    assert str(refused.value).startswith("tracker=mlflow needs the package mlflow")
    assert not Store(configs[0]).folder.exists()


@pytest.mark.parametrize(
    ("instructions", "overrides", "remedies"),
    [
        ({"avx512_bf16": True}, ["scoring.dtype=bfloat16", "trainer.bf16=true"], None),
        ({"avx512_bf16": False, "avx2": True}, ["scoring.dtype=bfloat16"], "scoring.dtype=float32"),
        ({}, ["scoring.dtype=bfloat16", "trainer.bf16=true"], "scoring.dtype=float32 trainer.bf16=false"),
        ({}, [], None),
    ],
)
def test_bfloat16_that_the_cpu_emulates_is_warned_of(
    cell: Cell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    instructions: dict[str, bool],
    overrides: list[str],
    remedies: str | None,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    preparation.prepare([composed(cell("tracker=none", *overrides))])
    said = capsys.readouterr().err
    assert ("bfloat16" in said) == (remedies is not None)
    assert remedies is None or said.endswith(f"add {remedies}\n")


def test_policies_that_do_not_fit_on_the_disk_are_refused(
    cell: Cell, tiny_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parameters = sum(p.numel() for p in load(str(tiny_folder("qwen"))).model.parameters())
    options = (f"generator={tiny_folder('qwen')}", "tracker=none", "trainer.max_steps=3")
    run = composed(cell(*options, "selection.every=1", "selection.prompts=6"))
    needed = 3 * 4 * parameters  # two saved policies and the final one
    disk = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=needed - 1))
    with pytest.raises(Unavailable, match=r"results_dir=.* GB free.*selection\.every=null"):
        preparation.prepare([run])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=needed))
    preparation.prepare([run])
