"""The parts of the rehearsal, run to their ends, and the values that they leave. `make rehearse` runs these tests."""

import json
import math
import re
from pathlib import Path

import pytest

from cme.records import CUT_START, Pair, RewardProbeRecord, SanityRecord, SeparationRecord, read_record
from tests.rehearsal import expected
from tests.rehearsal.checks import check_accuracy, check_history, check_verdicts, win_rate
from tests.rehearsal.parts import MAIN_TABLE, PROMPTS, RUN, STEPS, TOKENS, Rehearsal, run_command
from tests.rehearsal.stand_ins.hub_cache import HubCache

pytestmark = pytest.mark.rehearsal

BFLOAT16_TOLERANCE = 0.02  # nats; the verifiers of scale=paper are in bfloat16


def test_main_table(rehearsal: Rehearsal) -> None:
    records = rehearsal.records("main table")
    assert {(r.family, r.regime) for r in records} == MAIN_TABLE and len(records) == len(MAIN_TABLE)
    for record in records:
        check_history(record)
        check_verdicts(record.pairs, record.verdicts, judges=2)
        assert {v.judge for v in record.verdicts} == {"gpt_5_2", "anthropic"}
        assert len(record.pairs) == PROMPTS
        assert record.trajectory is not None and record.selected is not None
        assert [m.step for m in record.trajectory.checkpoints] == list(range(1, STEPS + 1))
        assert not set(record.trajectory.prompts) & {p.prompt_id for p in record.pairs}
        assert {(c.task, c.n) for c in record.capabilities or []} == {("gsm8k", 1), ("hendrycks_math500", 1)}
        assert record.verifier_responses is not None and record.language_model is None


def test_comparators_of_the_main_table(rehearsal: Rehearsal) -> None:
    for record in rehearsal.records("main table"):
        found = {c.name: c for c in record.comparisons or []}
        cut = found.pop(CUT_START)
        for pair, shorter in zip(record.pairs, cut.responses, strict=True):
            assert pair.start.response.startswith(shorter.response.rstrip("\N{REPLACEMENT CHARACTER}"))
        assert found.keys() == ({"reference"} if record.regime == "instruct" else {"instruct", "reference"})
        assert found["reference"].checkpoint == "google/gemma-3-1b-it"
        for one in found.values():
            pairs = list(zip(record.pairs, one.responses, strict=True))
            of_policy = [Pair(p.prompt_id, p.prompt, None, start=r, policy=p.policy) for p, r in pairs]
            of_start = [Pair(p.prompt_id, p.prompt, None, start=r, policy=p.start) for p, r in pairs]
            check_verdicts(of_policy, one.policy, judges=2)
            assert one.start is not None
            check_verdicts(of_start, one.start, judges=2)


@pytest.mark.parametrize(("family", "regime"), sorted(MAIN_TABLE))
def test_untrained_responses_are_greedy(rehearsal: Rehearsal, family: str, regime: str) -> None:
    [record] = [r for r in rehearsal.records("main table") if (r.family, r.regime) == (family, regime)]
    name = record.generator_checkpoint
    folder = rehearsal.snapshot(name)
    for pair in record.pairs:
        found = pair.start.response, pair.start.finished, pair.start.tokens
        assert found == expected.greedy(folder, name, pair.prompt, TOKENS)


def test_the_line_that_a_run_prints_and_another_judge_that_trains_nothing(rehearsal: Rehearsal) -> None:
    printed = rehearsal.run("second judge")
    [record] = rehearsal.records("second judge")
    found = re.search(r"win rate ([\d.]+) % .*\((\d+) prompts, (\d+) verdicts, 0 unscored\)", printed)
    assert found, printed
    assert float(found[1]) == pytest.approx(win_rate(record.verdicts), abs=0.051)
    assert (int(found[2]), int(found[3])) == (PROMPTS, 2 * PROMPTS)
    results = rehearsal.results("second judge")
    rehearsal.run_in(results, "second judge", "judge.max_response_chars=2000", "capabilities=none")
    assert len(list(results.glob("trainings/*/training.json"))) == 1


def test_the_default_capabilities_can_be_measured(rehearsal: Rehearsal) -> None:
    results = rehearsal.results("default capabilities")
    words = ("capabilities.tasks=[ifeval]", "capabilities.limit=1", "seed=3")
    rehearsal.run_in(results, "second judge", *words)


def test_baselines(rehearsal: Rehearsal) -> None:
    records = rehearsal.records("baselines")
    rewards = {"cme", "reverse_kl", "token_entropy", "token_entropy_last", "self_certainty"}
    assert {r.reward for r in records} == rewards | {"semantic_entropy", "random"}
    for record in records:
        check_verdicts(record.pairs, record.verdicts)
        assert record.history["step"] == [1, 2]
    groups = {r.reward: r.config["trainer"]["num_generations"] for r in records}
    assert (groups["token_entropy"], groups["self_certainty"], groups["semantic_entropy"]) == (5, 7, 7)
    signs = {r.reward: r.history["reward"][0] or 0.0 for r in records}
    assert signs["cme"] < 0 and signs["token_entropy"] < 0
    assert signs["self_certainty"] > 0 and signs["semantic_entropy"] > 0


@pytest.mark.parametrize("part", ["dense", "lora"])
def test_variants_of_grpo(rehearsal: Rehearsal, part: str) -> None:
    [record] = rehearsal.records(part)
    check_history(record)
    check_verdicts(record.pairs, record.verdicts)


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_trainers_without_a_reward(rehearsal: Rehearsal, method: str) -> None:
    [record] = rehearsal.records(method)
    assert record.reward == method and record.history["step"] == [1, 2]
    losses = [value or math.nan for value in record.history["loss"]]
    assert all(math.isfinite(value) and value > 0 for value in losses)
    if method == "dpo":
        assert losses[0] == pytest.approx(math.log(2), abs=1e-3)  # policy and start are equal
    check_verdicts(record.pairs, record.verdicts)


def test_best_of_n(rehearsal: Rehearsal) -> None:
    """The samples' rewards are the naive ones, and the best sample of each prompt is its response."""
    [record] = rehearsal.records("best of n")
    assert record.reward == "best_of_n_cme"
    [path] = rehearsal.results("best of n").glob("trainings/*/samples-*.json")
    verifier = "google/gemma-4-E4B-it"
    limit = record.config["scoring"]["max_response_tokens"]
    for group, pair in zip(json.loads(path.read_text())["value"], record.pairs, strict=True):
        samples = [one["generation"] for one in group]
        scores = [
            expected.token_scores(
                rehearsal.snapshot(verifier), verifier, pair.prompt, s["response"], s["finished"], limit
            )[0]
            for s in samples
        ]
        rewards = [one["reward"] for one in group]
        assert rewards == pytest.approx([float(s.mean()) for s in scores], abs=BFLOAT16_TOLERANCE)
        assert pair.policy.response == samples[rewards.index(max(rewards))]["response"]


def test_mathematics(rehearsal: Rehearsal) -> None:
    records = rehearsal.records("mathematics")
    assert {r.reward for r in records} == {
        *("cme_whole", "cme_answer", "cme_blended", "majority_vote", "ground_truth_answer", "random"),
    }
    for record in records:
        check_accuracy(record)


@pytest.mark.parametrize(
    ("part", "verifiers"),
    [
        (
            "verifier sweep",
            {"random", "gemma_instruct", "start", "qwen_instruct", "olmo", "llama_instruct", "qwen", "gemma"},
        ),
        ("verifier sweep of mathematics", {"qwen_math", "start", "qwen_instruct", "llama", "random"}),
    ],
)
def test_verifier_sweeps(rehearsal: Rehearsal, part: str, verifiers: set[str]) -> None:
    records = [r for r in rehearsal.records(part) if r.reward.startswith("cme")]  # without the controls
    assert {r.verifier for r in records} == verifiers
    rewards = {tuple(r.history["reward"]) for r in records}
    assert len(rewards) == len(verifiers), "different verifiers give different rewards"


def test_judge_sanity(rehearsal: Rehearsal) -> None:
    rehearsal.run("judge sanity")
    [path] = rehearsal.results("judge sanity").glob("*/sanity.json")
    record = read_record(path, SanityRecord)
    always = {"null", "longer", "copied", "itself"}  # "shorter" only where a response ended
    assert always <= record.pairs.keys() <= always | {"shorter", CUT_START}
    for name, pairs in record.pairs.items():
        check_verdicts(pairs, record.verdicts[name])
    assert win_rate(record.verdicts["longer"]) > 90, "the server prefers the longer response"


def test_separation(rehearsal: Rehearsal) -> None:
    """The verifier's and the generator's signals are the naive ones."""
    rehearsal.run("separation")
    [path] = rehearsal.results("separation").glob("*/separation.json")
    record = read_record(path, SeparationRecord)
    assert len(record.responses) == record.samples * len(record.prompts) == 4 * PROMPTS
    limit = record.config["scoring"]["max_response_tokens"]
    for who, name in (("verifier", record.verifier_checkpoint), ("generator", record.generator_checkpoint)):
        for i, response in enumerate(record.responses[:4]):
            question = record.prompts[i // record.samples].text
            values, entropies = expected.token_scores(
                rehearsal.snapshot(name), name, question, response.response, bool(response.finished), limit
            )
            found = [record.signals[f"{m}_entropy {who} response"][i] for m in ("cross", "predictive")]
            by_hand = [-float(values.mean()), float(entropies.mean())]
            assert found == pytest.approx(by_hand, abs=BFLOAT16_TOLERANCE)


def test_reward_probe(rehearsal: Rehearsal) -> None:
    rehearsal.run("reward probe")
    [path] = rehearsal.results("reward probe").glob("*/probe.json")
    record = read_record(path, RewardProbeRecord)
    assert len(record.prompts) == PROMPTS and {"cme", "cme perplexity"} <= record.values.keys()
    for grade, values in record.values["cme"].items():
        for value, perplexity in zip(values, record.values["cme perplexity"][grade], strict=True):
            if value is not None and perplexity is not None:
                assert perplexity == pytest.approx(-math.exp(-value), rel=1e-3)


def test_two_processes(rehearsal: Rehearsal) -> None:
    [record] = rehearsal.records("two processes")
    check_history(record)
    check_verdicts(record.pairs, record.verdicts)
    assert record.environment["processes"] == "2"


def test_without_checkpoints_one_sentence_says_what_to_do(rehearsal: Rehearsal, tmp_path: Path) -> None:
    empty = HubCache(tmp_path)
    words = ("scale=paper", "family=llama", "regime=instruct", "judge=local", "selection.every=null")
    done = run_command([*RUN, *words], empty)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    for name in ("meta-llama/Llama-3.2-1B-Instruct", "google/gemma-4-E4B-it"):
        assert f"hf download {name}" in line
    for name in ("openbmb/UltraFeedback", "tatsu-lab/alpaca_eval"):
        assert f"hf download --repo-type dataset {name}" in line
