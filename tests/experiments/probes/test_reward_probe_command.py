"""The probe command as a user runs it, on random-weight models, and what it refuses."""

import math
from pathlib import Path

import pytest
from small_runs import Cell, composed

from analysis.tables.reward_probe import line_label
from cme import availability, checkpoints
from cme.data import files
from cme.evaluation.reward_probe import GRADES, score_answers
from cme.records import RewardProbeRecord, read_record
from cme.rewards import (
    CrossModelEntropy,
    CrossModelEntropyRank,
    EndogenousReward,
    Length,
    ReverseKL,
    Reward,
)
from experiments.__main__ import main
from experiments.config import composition
from experiments.probes import reward_probe

OPEN_ENDED = ["scale=laptop", "data=instructions", "judge=reference_similarity"]


LINES = [
    *reward_probe.VARIANTS,
    *reward_probe.ENSEMBLES,
    *("endorm", "cme_rank", "cme_length", *reward_probe.REVERSE_KL, "self_likelihood"),
    *("token_entropy", "token_entropy_last", "self_certainty", "sequence_likelihood", "sequence_probability"),
    *("semantic_entropy", "length", "format", "random", "token_entropy_format", "ground_truth_answer"),
    *("ground_truth", "pairwise_judge"),
]
VARIANTS = {
    "cme_no_end": "cme no end of turn",
    "predictive_entropy": "cme predictive entropy",
    "cme_answer": "cme answer, penalty 2",
    "cme_blended": "cme span=blended",
    "cme_whole": "cme whole, penalty 5",
}
"""Options of the group `reward` whose line is that of a variant of CME."""


def test_a_table_is_printed_and_recorded_and_not_made_twice(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", *cell("seed=3", "verifier=llama")]) == 0
    printed = capsys.readouterr()
    [path] = (tmp_path / "runs").glob("*/probe.json")
    assert f"record: {path}" in printed.out
    assert (
        "generator: miniature:qwen-1/pretrained, verifier: miniature:llama-1/verifier, seed: 3, data: world"
        in printed.out
    )
    record = read_record(path, RewardProbeRecord)
    assert record.probe_id == path.parent.name
    assert (record.scale, record.family, record.regime, record.seed) == ("miniature", "qwen", "pretrained", 3)
    assert record.verifier_checkpoint == "miniature:llama-1/verifier"
    assert record.second_checkpoint == "miniature:olmo-1/verifier"
    assert len(record.prompts) == len(set(record.prompts)) == 12
    assert list(record.values) == LINES
    assert all(list(by_grade) == list(GRADES) for by_grade in record.values.values())
    assert record.values["ground_truth"]["right"] == [1.0] * 12
    assert record.values["cme no end of turn"]["empty"] == [None] * 12
    assert None not in record.values["cme"]["empty"]
    assert record.values["format"]["right"] == record.values["format"]["wrong"] == [1.0] * 12
    assert record.values["format"]["truncated"] == record.values["format"]["empty"] == [0.0] * 12
    assert record.values["semantic_entropy"]["refusal"] == pytest.approx(
        [1 / 9] * 12, abs=1e-5
    )  # unlike the others
    assert all(f"{line_label(line)} " in printed.out for line in [*LINES, *record.not_probed])
    assert {*record.not_probed} == {*reward_probe.OWN_GROUP, *reward_probe.NO_STEPS, *reward_probe.REFERENCE}
    # a line or a reason is that of an option; an option of a user needs none
    assert {VARIANTS.get(f.stem, f.stem) for f in (composition.CONF / "reward").glob("*.yaml")} >= (
        {name for name in LINES if not name.startswith("cme ")}
        | set(VARIANTS.values())
        | {*record.not_probed}
    )
    assert f"Majority vote has no ranks: {reward_probe.OWN_GROUP['majority_vote']}." in printed.out

    before = path.read_bytes()
    assert main(["probe", *cell("seed=3", "verifier=llama")]) == 0
    again = capsys.readouterr()
    assert "done before, skipped" in again.err and again.out == printed.out
    assert path.read_bytes() == before


def test_every_line_is_the_reward_that_its_fields_make(cell: Cell) -> None:
    config = composed(cell("reward.empty_response=-9"))
    lines, answers = reward_probe.lines(config), reward_probe.answers(config)[:36]
    start = checkpoints.load(config.generator)
    values = score_answers(lines, answers, start)
    common = {"score_end_of_turn": True, "answers": "whole", "empty_response": -9.0}
    plain = {name: changes for name, changes in reward_probe.VARIANTS.items() if name != "cme"}
    verifiers = ["miniature:gemma-1/verifier", "miniature:olmo-1/verifier"]
    made: dict[str, Reward] = {
        name: CrossModelEntropy(verifiers[0], **common | changes)  # type: ignore[arg-type]
        for name, changes in plain.items()
    }
    made |= {n: CrossModelEntropy(verifiers, **common | c) for n, c in reward_probe.ENSEMBLES.items()}  # type: ignore[arg-type]
    made["self_likelihood"] = CrossModelEntropy(config.generator, **common)  # type: ignore[arg-type]
    made["cme"] = CrossModelEntropy(verifiers[0], **common)  # type: ignore[arg-type]
    made["endorm"] = EndogenousReward(verifiers[0], score_end_of_turn=True)
    made["cme_rank"] = CrossModelEntropyRank(verifiers[0], num_generations=9, score_end_of_turn=True)
    by_cme, by_length = (score_answers({"x": r}, answers, start)["x"] for r in (made["cme"], Length(14)))
    made["reverse_kl"] = ReverseKL(verifiers[0], score_end_of_turn=True)
    made["reverse_kl_bounded"] = ReverseKL(verifiers[0], score_end_of_turn=True, power=5.0)
    made["reverse_kl_masked"] = ReverseKL(verifiers[0], mask_special=True)
    for name, by_grade in score_answers(made, answers, start).items():
        for grade, expected in by_grade.items():
            assert values[name][grade] == pytest.approx(expected, abs=1e-4), (name, grade)
    for grade in GRADES:
        parts = zip(by_cme[grade], by_length[grade], strict=True)
        summed = [a + b for a, b in parts if a is not None and b is not None]
        assert values["cme_length"][grade] == pytest.approx(summed, abs=1e-4)
        likelihoods = values["sequence_likelihood"][grade]
        expected = [None if v is None else math.exp(v) for v in likelihoods]
        assert values["sequence_probability"][grade] == pytest.approx(expected)


def test_lines_that_a_configuration_excludes_are_left_out(cell: Cell) -> None:
    config = composed(cell("data.answers=none", "data.oracle=null", "judge=reference_similarity"))
    lines = reward_probe.lines(config)
    gone = {"cme span=answer", "cme answer, penalty 2", "cme span=blended", "cme whole, penalty 5"}
    missing = {"ground_truth", "ground_truth_answer", "token_entropy_format", "pairwise_judge"}
    assert set(lines) == set(LINES) - gone - missing
    assert missing < reward_probe.not_probed(config).keys()
    config = composed(cell("reward.pmi=true", "reward.score_end_of_turn=false"))
    gone = {"cme no end of turn", "cme perplexity", "cme predictive entropy", "cme pmi"}
    assert set(reward_probe.lines(config)) == set(LINES) - gone
    config = composed(cell())
    config.scale.heldout = {}  # without a third family there is no ensemble
    assert set(reward_probe.lines(config)) == set(LINES) - set(reward_probe.ENSEMBLES)


def test_any_other_reward_is_probed_beside_those_without_a_verifier(cell: Cell, tmp_path: Path) -> None:
    assert main(["probe", *cell("reward=length", "reward.target=3")]) == 0
    [path] = (tmp_path / "runs").glob("*/probe.json")
    record = read_record(path, RewardProbeRecord)
    others = [name for name in LINES[LINES.index("token_entropy") :] if name != "length"]
    assert list(record.values) == ["length", *others] and record.second_checkpoint is None
    # an empty answer is its end token alone: 1 - |1 / 3 - 1|
    assert record.values["length"]["empty"] == [pytest.approx(1 / 3, abs=1e-6)] * 12


def test_the_tables_of_a_sweep_are_told_apart(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "-m", *cell("reward=length", "reward.target=3,5", "data.eval_prompts=6")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("## ")] == [
        "## reward.target=3",
        "## reward.target=5",
    ]
    assert sum(line.startswith("record: ") for line in printed) == 2


def test_a_reference_is_scored_where_an_answer_is_a_part_of_the_response(cell: Cell) -> None:
    config = composed(cell("data=arithmetic"))
    lines, answers = reward_probe.lines(config), reward_probe.answers(config)
    assert set(lines) == {*LINES, *reward_probe.REFERENCE}
    start = checkpoints.load(config.generator)
    rewards = {name: lines[name] for name in reward_probe.REFERENCE}
    log, probability, mean = score_answers(rewards, answers, start).values()
    assert all(None not in values for values in log.values()) and log["right"] != log["wrong"]
    for grade in GRADES:
        assert probability[grade] == pytest.approx([math.exp(v or 0) for v in log[grade]])
        for whole, mean_probability in zip(probability[grade], mean[grade], strict=True):
            assert (
                0 < (whole or 0) <= (mean_probability or 0) <= 1
            )  # no product exceeds the mean of its factors


def test_answers_are_scored_whole(cell: Cell) -> None:
    config = composed(cell("scoring.max_response_tokens=2"))
    lines, answers = reward_probe.lines(config), reward_probe.answers(config)
    values = score_answers({"cme": lines["cme"]}, answers, checkpoints.load(config.generator))["cme"]
    assert all(a != b for a, b in zip(values["verbose"], values["right"], strict=True))


def test_tables_differ_by_what_they_depend_on() -> None:
    same = ("seed=0", "trainer.learning_rate=1e-5", "data.train_prompts=12", "data.eval_prompts=90")
    other = ("verifier=olmo", "reward.pmi=true", "data.seed=1", "data.eval_prompts=12", "seed=1")
    paths = [reward_probe.record_path(composed([override])) for override in (*same, *other)]
    assert len(set(paths[: len(same)])) == 1 and len(set(paths)) == 1 + len(other)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["probe", "reward=majority_vote"], "reward=majority_vote"),
        (["probe", "plan=true"], "plan=true: a reward probe trains nothing"),
        (
            ["probe", "-m", "hydra/launcher=local"],
            "hydra/launcher=local: the probes of a sweep run one after the",
        ),
        (["probe", "data.eval_prompts=1"], "data=world"),
        (["probe", *OPEN_ENDED, "data.eval_split=train"], "data.eval_split=train: prompt"),
        (["probe", "scale=paper", "family=llama"], "has no reference answer"),
    ],
)
@pytest.mark.usefixtures("cell")
def test_what_cannot_run_is_one_sentence_and_code_2(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never(names: list[str]) -> dict[str, str]:
        raise AssertionError("built before it was checked")

    monkeypatch.setattr(availability, "ensure", never)
    monkeypatch.setattr(files, "read_rows", lambda copy: [{"instruction": "a"}] * copy.source.rows)
    assert main([*arguments, f"results_dir={tmp_path / 'runs'}"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1, printed.err
    assert named in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_results_dir_that_cannot_be_written_is_refused_before_any_model_loads(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(checkpoints, "load", never)
    (tmp_path / "runs").write_text("a file")
    assert main(["probe", *cell()]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'runs'}/") and "a file is in the place of a folder" in line


@pytest.mark.parametrize(
    "name",
    ["cme_rank", *(pytest.param(n, marks=pytest.mark.slow) for n in ("semantic_entropy", "cme_length"))],
)
def test_a_reward_of_a_group_takes_the_nine_answers_as_its_group(cell: Cell, name: str) -> None:
    config = composed(cell(f"reward={name}"))
    reward_probe.prepare([config])
    own, expected = (reward_probe.lines(c)[name] for c in (config, composed(cell())))
    start, answers = checkpoints.load(config.generator), reward_probe.answers(config)[:18]
    found, wanted = (score_answers({name: reward}, answers, start)[name] for reward in (own, expected))
    for grade in GRADES:
        assert found[grade] == pytest.approx(wanted[grade], abs=1e-4)
