"""The separation experiment as a user runs it, and its signals."""

import math
from pathlib import Path

import pytest
import torch
from small_runs import Cell, composed

from cme.checkpoints import Checkpoint
from cme.miniature import world
from cme.records import SeparationRecord, read_record
from cme.scoring.verifier import Score
from experiments.config import composition
from experiments.config.validation import BadConfig
from experiments.probes import separation
from experiments.run import evaluation


def score(values: list[float], offsets: list[tuple[int, int]], reason: str | None = None) -> Score:
    likelihoods = -torch.tensor(values)
    return Score(likelihoods, 2 * torch.tensor(values), offsets, False, False, False, reason)


def test_signals_are_means_over_response_and_answer() -> None:
    text = r"so \boxed{7}"
    spans = [(0, 3), (3, 10), (10, 11), (11, 12)]  # the third token is the answer
    found = separation.response_signals(
        "verifier",
        [score([1, 2, 4, 5], spans), score([3.0], [(0, 2)]), score([], [], "the response is empty")],
        [text, "no", ""],
        "boxed",
    )
    assert found == {
        "cross_entropy verifier response": [3, 3, None],
        "predictive_entropy verifier response": [6, 6, None],
        "cross_entropy verifier answer": [4, None, None],
        "predictive_entropy verifier answer": [8, None, None],
    }
    found = separation.response_signals("generator", [score([1], [(0, 1)])], ["7"], "whole")
    assert set(found) == {"cross_entropy generator response", "predictive_entropy generator response"}


def slow_signals(checkpoint: Checkpoint, prompt: str, response: str, finished: bool) -> tuple[float, float]:
    """Cross-entropy and predictive entropy by the model's own logits, one response at a time."""
    tokenizer, model = checkpoint.tokenizer, checkpoint.model
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    head = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    tail = tokenizer(response, add_special_tokens=False)["input_ids"]
    tail = tail + [tokenizer.eos_token_id] * finished
    with torch.no_grad():
        logits = model(torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
    table = torch.log_softmax(logits.double(), -1)
    likelihood = table[torch.arange(len(tail)), torch.tensor(tail)]
    return -float(likelihood.mean()), float(-(table.exp() * table).sum(-1).mean())


def test_one_command_samples_scores_records_and_is_not_run_twice(
    cell: Cell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cme.checkpoints import load

    config = composed(cell("experiment=separation", "seed=4", "regime=sft"))
    path = separation.run(config)
    printed = capsys.readouterr().out
    record = read_record(path, SeparationRecord)
    assert record.separation_id == path.parent.name
    assert (record.seed, record.samples, record.data) == (4, 4, "world")
    assert (len(record.prompts), record.left_out) == (12, 0)
    assert len({r.response for r in record.responses[:4]}) > 1  # sampled, not greedy
    asked = [p for p in record.prompts for _ in range(record.samples)]
    assert record.correct == [
        world.grade(p.text, r.response, bool(r.finished)).quality == 1
        for p, r in zip(asked, record.responses, strict=True)
    ]
    for model, name in (("generator", config.generator), ("verifier", config.verifier.checkpoint)):
        checkpoint = load(name)
        for i in (0, 5, 11):
            response = record.responses[i]
            said, spread = slow_signals(checkpoint, asked[i].text, response.response, bool(response.finished))
            assert record.signals[f"cross_entropy {model} response"][i] == pytest.approx(said, rel=1e-3)
            assert record.signals[f"predictive_entropy {model} response"][i] == pytest.approx(
                spread, rel=1e-3
            )
    assert "AUROC" in printed and str(path) in printed
    before = path.read_bytes()
    monkeypatch.setattr(separation, "_measure", lambda *_: pytest.fail("it was measured again"))
    assert separation.run(config) == path
    assert capsys.readouterr().out == printed and path.read_bytes() == before


def test_a_seed_gives_the_same_samples_and_another_others(cell: Cell, tmp_path: Path) -> None:
    def responses(seed: int, where: str) -> list[str]:
        config = composed(cell("experiment=separation", f"seed={seed}", f"results_dir={tmp_path / where}"))
        return [r.response for r in read_record(separation.run(config), SeparationRecord).responses]

    first = responses(1, "a")
    assert first == responses(1, "b") != responses(2, "a")


def test_what_was_sampled_before_it_was_cut_off_is_kept(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = composed(cell("experiment=separation", "seed=6"))
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(evaluation, "load_scorer", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        separation.run(config)
    assert not separation.record_path(config).exists()
    monkeypatch.setattr(evaluation, "respond", lambda *_, **__: pytest.fail("it sampled again"))
    record = read_record(separation.run(config), SeparationRecord)
    assert all(v is None or math.isfinite(v) for column in record.signals.values() for v in column)


def test_training_settings_leave_its_identity_alone_and_the_verifier_does_not(cell: Cell) -> None:
    def identity(*overrides: str) -> str:
        return separation.record_path(composed(cell("experiment=separation", *overrides))).parent.name

    same = ("trainer.max_steps=7", "reward=random", "monitor_every=3", "judge=reference_similarity")
    assert len({identity(), *map(identity, same)}) == 1
    others = (
        "verifier=gemma_instruct",
        "seed=1",
        "data.eval_prompts=11",
        "trainer.num_generations=8",
        "evaluation.batch_size=7",
    )
    assert len({identity(), *map(identity, others)}) == 1 + len(others)


def test_data_without_answers_are_refused_in_a_sentence() -> None:
    open_ended = ["scale=laptop", "data=instructions", "judge=reference_similarity"]
    with pytest.raises(BadConfig, match=r"experiment=separation .* data=instructions has none .* data=world"):
        composition.compose_cells(["experiment=separation", *open_ended])
    composition.compose_cells(open_ended)  # other experiments need none
