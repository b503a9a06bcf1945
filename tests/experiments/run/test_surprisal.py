"""Surprisal of recorded responses on random-weight models: the numbers, what is refused, what is left alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import Cell, composed

from cme.checkpoints import load
from cme.miniature import models
from cme.models import chat
from cme.records import Generation, Pair, RunRecord, read_record, write_record
from cme.scoring.verifier import Verifier
from experiments.__main__ import main
from experiments.run import pipeline
from experiments.run.store import Store
from experiments.run.surprisal import NotIndependent, independent_model, measure_surprisal

LLAMA, OLMO, GEMMA = (f"miniature:{family}-1/verifier" for family in ("llama", "olmo", "gemma"))


@pytest.fixture
def measured(finished: Cell) -> RunRecord:
    """The record of a run, which measures its responses."""
    return read_record(Store(composed(finished("reward=random"))).record)


def bare(pair: Pair) -> Pair:
    return replace(
        pair, start=replace(pair.start, surprisal=None), policy=replace(pair.policy, surprisal=None)
    )


@pytest.fixture
def unmeasured(measured: RunRecord) -> RunRecord:
    """The record as if it had never been measured, with an empty response in it."""
    pairs = [bare(pair) for pair in measured.pairs]
    pairs[0] = replace(pairs[0], policy=Generation("", True, 1))
    return replace(measured, pairs=pairs, language_model=None)


def slow_surprisal(name: str, prompt: str, response: str) -> float:
    """One response, one forward pass, transformers' own logits."""
    model = load(name)
    head, tail = chat.prompt_ids(model.tokenizer, prompt), chat.response_ids(model.tokenizer, response)
    with torch.inference_mode():
        logits = model.model(torch.tensor([head + tail])).logits[0, len(head) - 1 : -1].double()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(tail)))


def test_surprisal_is_the_mean_negative_log_likelihood_of_the_text(
    measured: RunRecord, unmeasured: RunRecord
) -> None:
    record = measure_surprisal(unmeasured)
    assert record.language_model == OLMO == independent_model(unmeasured)
    for pair in record.pairs[:4]:
        for response in (pair.start, pair.policy):
            if response.response:
                expected = slow_surprisal(OLMO, pair.prompt, response.response)
                assert response.surprisal == pytest.approx(expected, abs=2e-5)
    assert record.pairs[0].policy.surprisal is None
    others = [r for p in record.pairs for r in (p.start, p.policy) if r.response]
    assert measured.pairs[1:] == record.pairs[1:], "a run measures its responses itself"
    assert len(others) == 23 and all(r.surprisal is not None and r.surprisal > 0 for r in others)


def test_nothing_else_of_a_record_changes_and_it_is_measured_once(
    unmeasured: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records" / "a.record.json"
    write_record(path, unmeasured)
    assert main(["measure", str(path.parent)]) == 0
    assert capsys.readouterr().out == "1 measured, 0 measured before, 0 without an independent model\n"

    record = read_record(path)
    assert record.language_model == OLMO
    pairs = [bare(pair) for pair in record.pairs]
    assert replace(record, pairs=pairs, language_model=None) == unmeasured

    before = path.stat().st_mtime_ns, path.read_bytes()
    assert main(["measure", str(path.parent)]) == 0
    assert capsys.readouterr().out == "0 measured, 1 measured before, 0 without an independent model\n"
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before

    assert main(["measure", str(path.parent), "--model", LLAMA]) == 0
    again = read_record(path)
    write_record(path, replace(unmeasured, heldout_checkpoint=None))
    capsys.readouterr()
    assert main(["measure", str(path.parent)]) == 0
    assert capsys.readouterr().out == "0 measured, 0 measured before, 1 without an independent model\n"
    assert again.language_model == LLAMA and again.pairs[1] != record.pairs[1]
    assert again.environment[f"weights of {LLAMA}"].startswith("llama-1-verifier-")


def test_equal_questions_are_asked_once_across_records(
    unmeasured: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs with the same start, of which the second has one other response."""
    changed = replace(unmeasured.pairs[0], policy=Generation("seven", True, 1))
    for name, pairs in (("a", unmeasured.pairs), ("b", [changed, *unmeasured.pairs[1:]])):
        write_record(tmp_path / name / "record.json", replace(unmeasured, pairs=pairs))
    asked: list[str] = []
    score = Verifier.score
    monkeypatch.setattr(Verifier, "score", lambda self, p, r, f: asked.extend(r) or score(self, p, r, f))
    assert main(["measure", str(tmp_path)]) == 0
    texts = {(p.prompt, g.response) for p in unmeasured.pairs for g in (p.start, p.policy)}
    assert len(asked) == len(texts) + 1 and asked[-1] == "seven"
    first, second = (read_record(tmp_path / name / "record.json").pairs for name in "ab")
    assert first[1:] == second[1:] and first == measure_surprisal(unmeasured).pairs


def test_a_model_of_the_run_is_refused(
    unmeasured: RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records" / "record.json"
    write_record(path, unmeasured)
    before = path.read_bytes()
    assert main(["measure", str(path.parent), "--model", GEMMA]) == 2
    error = capsys.readouterr().err
    assert f"error: language model {GEMMA} is the verifier of {unmeasured.run_id}" in error
    assert path.read_bytes() == before


def test_a_member_of_an_ensemble_is_no_independent_model(unmeasured: RunRecord) -> None:
    config = json.loads(json.dumps(unmeasured.config))
    config["reward"] = {"name": "cme", "verifier": [GEMMA, OLMO], "ensemble": "min"}
    record = replace(unmeasured, config=config)
    assert independent_model(record) is None
    assert measure_surprisal(record) is record
    with pytest.raises(NotIndependent, match=f"{OLMO} is the verifier of"):
        measure_surprisal(record, OLMO)


def test_the_same_weights_under_another_name_are_refused(unmeasured: RunRecord) -> None:
    place = str(models.checkpoint_folder("qwen-1/pretrained"))
    with pytest.raises(
        NotIndependent, match=r"has the weights of miniature:qwen-1/pretrained, the generator"
    ):
        measure_surprisal(unmeasured, place)


def test_other_weights_under_a_recorded_name_are_refused(unmeasured: RunRecord) -> None:
    environment = unmeasured.environment | {f"weights of {OLMO}": "olmo-1-verifier-00000000"}
    with pytest.raises(NotIndependent, match=r"but .* had olmo-1-verifier-00000000"):
        measure_surprisal(replace(unmeasured, environment=environment))


def test_outputs_made_elsewhere_can_be_measured(unmeasured: RunRecord) -> None:
    elsewhere = replace(
        unmeasured,
        scale="imported",
        config={"judge": {"name": "x"}},
        environment={},
        generator_checkpoint="theirs",
        verifier_checkpoint="none",
        heldout_checkpoint=None,
    )
    assert measure_surprisal(elsewhere) is elsewhere
    found = measure_surprisal(elsewhere, OLMO)
    pair = found.pairs[1]
    expected = slow_surprisal(OLMO, pair.prompt, pair.policy.response)
    assert pair.policy.surprisal == pytest.approx(expected, abs=1e-4)


def test_a_run_whose_independent_model_is_none_ends_with_a_warning(
    finished: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(record: RunRecord) -> RunRecord:
        raise NotIndependent("the model took part")

    monkeypatch.setattr(pipeline, "measure_surprisal", refused)
    config = composed(finished("reward=random"))
    Store(config).record.unlink()
    record = read_record(pipeline.run(config))
    assert "surprisal was not measured: the model took part" in record.warnings
    assert record.language_model is None


def test_weights_are_known_by_commit_digest_or_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from cme import availability
    from experiments.run.inputs import resolve_weights

    build = tmp_path / "qwen-1-sft" / "build.json"
    build.parent.mkdir()
    places = {
        "one/model": "/hub/snapshots/1a2b",
        "./model": "./model",
        "package:a": "/cache/a-1234",
        "miniature:qwen-1/sft": str(build.parent),
    }
    monkeypatch.setattr(availability, "ensure", lambda names, tokenizers_of: places)
    for digest in ("0123456789", "abcdef0123"):  # built, and built again
        build.write_text(json.dumps({"sha256": digest}))
        found = ["1a2b", "./model", "a-1234", f"qwen-1-sft-{digest[:8]}"]
        assert list(resolve_weights(places).values()) == found


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'} is not a directory\n"
    assert main(["measure", str(tmp_path)]) == 2
    assert f"no file named record.json or *.record.json under {tmp_path}" in capsys.readouterr().err
    (tmp_path / "record.json").write_text("{}")
    assert main(["measure", str(tmp_path)]) == 2
    assert "is not a readable record" in capsys.readouterr().err
