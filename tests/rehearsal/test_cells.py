"""The parts of the rehearsal, run to their ends, and the values that they leave. `make rehearse` runs these tests."""

import csv
import json
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cme.records import (
    CUT_START,
    Pair,
    RewardProbeRecord,
    RunRecord,
    SanityRecord,
    SeparationRecord,
    Verdict,
    read_record,
)
from tests.rehearsal import naive
from tests.rehearsal.parts import PROMPTS, RUN, STEPS, TOKENS, Done, run_command, run_part
from tests.rehearsal.stand_ins.hub_cache import HubCache
from tests.rehearsal.stand_ins.judge_server import JudgeServer, serving, verdict

pytestmark = pytest.mark.rehearsal

MAIN_TABLE = {
    *((family, regime) for family in ("qwen", "llama", "gemma") for regime in ("pretrained", "instruct")),
    *(("olmo", regime) for regime in ("pretrained", "sft", "instruct")),
}
BFLOAT16_TOLERANCE = 0.02  # nats; the verifiers of scale=paper are in bfloat16


class Rehearsal:
    """Runs each part once and reads its records."""

    def __init__(self, cache: HubCache, server: JudgeServer, folder: Path) -> None:
        self.cache, self.server, self.folder = cache, server, folder
        self.done: dict[str, Done] = {}

    def results(self, part: str) -> Path:
        """The results directory of a part."""
        return self.folder / part.replace(" ", "-")

    def run(self, part: str, *further: str) -> Done:
        """A part, which must succeed."""
        if part not in self.done:
            self.done[part] = done = run_part(part, self.cache, self.server, self.results(part), *further)
            print(f"{part}: {done.cpu_seconds:.0f} s of CPU")
            assert done.code == 0, done.stderr[-3000:]
        return self.done[part]

    def records(self, part: str) -> list[RunRecord]:
        """The run records of a part."""
        self.run(part)
        return [read_record(path) for path in sorted(self.results(part).glob("*/record.json"))]

    def snapshot(self, name: str) -> str:
        """The folder of a checkpoint."""
        return str(self.cache.snapshot(name))


@pytest.fixture(scope="module")
def rehearsal(hub: HubCache, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with serving() as server:
        yield Rehearsal(hub, server, tmp_path_factory.mktemp("rehearsal"))


def check_verdicts(pairs: Sequence[Pair], verdicts: Sequence[Verdict], judges: int = 1) -> None:
    """Every pair is judged in both orders by every judge, and each verdict is the server's rule."""
    by_id = {pair.prompt_id: pair for pair in pairs}
    assert len(verdicts) == len(pairs) * 2 * judges
    assert len({(v.prompt_id, v.policy_first, v.judge) for v in verdicts}) == len(verdicts)
    for one in verdicts:
        sides = [by_id[one.prompt_id].policy.response, by_id[one.prompt_id].start.response]
        first, second = sides if one.policy_first else sides[::-1]
        winner = json.loads(verdict({"response A": first, "response B": second}))["winner"]
        assert one.outcome == {"A": "first", "B": "second", "tie": "tie"}[winner]


def check_history(record: RunRecord) -> None:
    """Each step has a finite reward, loss and KL, and the policy has moved."""
    assert record.stopped is None
    assert record.history["step"] == list(range(1, STEPS + 1))
    for name in ("reward", "loss", "grad_norm", "kl", "length", "entropy"):
        values = [math.nan if v is None else v for v in record.history[name]]
        assert all(map(math.isfinite, values)), (record.run_id, name, values)
    assert record.history["kl"][0] == pytest.approx(0, abs=1e-4) and record.history["kl"][-1] != 0


def win_rate(verdicts: Sequence[Verdict]) -> float:
    """(wins + ties / 2) / n over the prompts, in percent; each prompt's orders and judges count equally."""
    points: dict[str, list[float]] = {}
    for one in verdicts:
        policy = "first" if one.policy_first else "second"
        points.setdefault(one.prompt_id, []).append(
            0.5 if one.outcome == "tie" else float(one.outcome == policy)
        )
    return 100 * statistics.mean(statistics.mean(each) for each in points.values())


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


@pytest.mark.parametrize(
    ("family", "regime"),
    sorted(MAIN_TABLE),
)
def test_untrained_responses_are_greedy(rehearsal: Rehearsal, family: str, regime: str) -> None:
    [record] = [r for r in rehearsal.records("main table") if (r.family, r.regime) == (family, regime)]
    name = record.generator_checkpoint
    folder = rehearsal.snapshot(name)
    for pair in record.pairs:
        expected = naive.greedy(folder, name, pair.prompt, TOKENS)
        assert (pair.start.response, pair.start.finished, pair.start.tokens) == expected


def test_the_line_that_a_run_prints(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("second judge")
    [record] = rehearsal.records("second judge")
    found = re.search(r"win rate ([\d.]+) % .*\((\d+) prompts, (\d+) verdicts, 0 unscored\)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) == pytest.approx(win_rate(record.verdicts), abs=0.051)
    assert (int(found[2]), int(found[3])) == (PROMPTS, 2 * PROMPTS)


def test_another_judge_trains_nothing(rehearsal: Rehearsal) -> None:
    rehearsal.run("second judge")
    results = rehearsal.results("second judge")
    done = run_part(
        "second judge",
        rehearsal.cache,
        rehearsal.server,
        results,
        "judge.max_response_chars=2000",
        "capabilities=none",
    )
    assert done.code == 0, done.stderr[-3000:]
    assert len(list(results.glob("trainings/*/training.json"))) == 1


def test_the_default_capabilities_can_be_measured(rehearsal: Rehearsal) -> None:
    results = rehearsal.results("default capabilities")
    words = ("capabilities.tasks=[ifeval]", "capabilities.limit=1", "seed=3")
    done = run_part("second judge", rehearsal.cache, rehearsal.server, results, *words)
    assert done.code == 0, done.stderr[-3000:]


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
    assert (
        max(signs["cme"], signs["token_entropy"])
        < 0
        < min(signs["self_certainty"], signs["semantic_entropy"])
    )


@pytest.mark.parametrize("part", ["dense", "lora"])
def test_variants_of_grpo(rehearsal: Rehearsal, part: str) -> None:
    [record] = rehearsal.records(part)
    check_history(record)
    check_verdicts(record.pairs, record.verdicts)


@pytest.mark.parametrize(("part", "method"), [("dpo", "dpo"), ("sft", "sft")])
def test_trainers_without_a_reward(rehearsal: Rehearsal, part: str, method: str) -> None:
    [record] = rehearsal.records(part)
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
    for group, pair in zip(json.loads(path.read_text())["value"], record.pairs, strict=True):
        samples = [one["generation"] for one in group]
        limit = record.config["scoring"]["max_response_tokens"]
        expected = [
            naive.token_scores(
                rehearsal.snapshot(verifier), verifier, pair.prompt, s["response"], s["finished"], limit
            )[0]
            for s in samples
        ]
        rewards = [one["reward"] for one in group]
        assert rewards == pytest.approx([float(e.mean()) for e in expected], abs=BFLOAT16_TOLERANCE)
        assert pair.policy.response == samples[rewards.index(max(rewards))]["response"]


def test_mathematics(rehearsal: Rehearsal) -> None:
    records = rehearsal.records("mathematics")
    assert {r.reward for r in records} == {
        *("cme_whole", "cme_answer", "cme_blended", "majority_vote", "ground_truth_answer", "random"),
    }
    for record in records:
        check_accuracy(record)


def test_amc_and_aime(rehearsal: Rehearsal) -> None:
    records = {r.config["data"]["name"]: r for r in rehearsal.records("AMC and AIME")}
    assert records.keys() == {"math_amc23", "math_aime24"}
    for record in records.values():
        check_accuracy(record)
        for pair in record.pairs:
            assert pair.answer is not None and pair.answer.isdigit()  # AMC's 27.0 is 27


def check_accuracy(record: RunRecord) -> None:
    """A response is right only with its gold answer in its last box; the judge agrees with the accuracy."""
    assert record.accuracy is not None
    right: dict[tuple[str, bool], bool | None] = {}
    for pair, start, policy in zip(record.pairs, record.accuracy.start, record.accuracy.policy, strict=True):
        for response, found in ((pair.start.response, start), (pair.policy.response, policy)):
            boxes = re.findall(r"\\boxed\{(.*?)\}", response)
            assert found in (None, False) or boxes, response
        right[pair.prompt_id, True], right[pair.prompt_id, False] = policy, start
    for one in record.verdicts:
        policy, start = right[one.prompt_id, True], right[one.prompt_id, False]
        if one.outcome == "tie":
            assert policy == start
        elif one.outcome != "unscored":
            assert ((one.outcome == "first") == one.policy_first) == bool(policy)


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
    for who, name in (("verifier", record.verifier_checkpoint), ("generator", record.generator_checkpoint)):
        for i, response in enumerate(record.responses[:4]):
            question = record.prompts[i // record.samples].text
            limit = record.config["scoring"]["max_response_tokens"]
            values, entropies = naive.token_scores(
                rehearsal.snapshot(name), name, question, response.response, bool(response.finished), limit
            )
            found = [
                record.signals[f"{m} {who} response"][i] for m in ("cross_entropy", "predictive_entropy")
            ]
            expected = [-float(values.mean()), float(entropies.mean())]
            assert found == pytest.approx(expected, abs=BFLOAT16_TOLERANCE)


def test_reward_probe(rehearsal: Rehearsal) -> None:
    rehearsal.run("reward probe")
    [path] = rehearsal.results("reward probe").glob("*/probe.json")
    record = read_record(path, RewardProbeRecord)
    assert len(record.prompts) == PROMPTS and {"cme", "cme perplexity"} <= record.values.keys()
    for grade, values in record.values["cme"].items():
        for value, perplexity in zip(values, record.values["cme perplexity"][grade], strict=True):
            if value is not None and perplexity is not None:
                assert perplexity == pytest.approx(-math.exp(-value), rel=1e-3)


def test_plan(rehearsal: Rehearsal) -> None:
    done = rehearsal.run("plan")
    for family, regime in MAIN_TABLE:
        assert f"{family} {regime}" in done.stdout or f"{family}-{regime}" in done.stdout, done.stdout
    assert not rehearsal.results("plan").exists()


def test_two_processes(rehearsal: Rehearsal) -> None:
    [record] = rehearsal.records("two processes")
    check_history(record)
    check_verdicts(record.pairs, record.verdicts)
    assert record.environment["processes"] == "2"


def test_local_files(rehearsal: Rehearsal, local_copies: dict[str, Path]) -> None:
    results = rehearsal.results("local files")
    paths = (
        f"data.source.path={local_copies['ultrafeedback']}",
        f"data.source.eval_path={local_copies['alpaca_eval']}",
    )
    done = run_part(
        "dense", rehearsal.cache, rehearsal.server, results, *paths, "reward.granularity=sequence"
    )
    assert done.code == 0, done.stderr[-3000:]
    [record] = [read_record(path) for path in results.glob("*/record.json")]
    known = {row["instruction"] for row in json.loads(local_copies["alpaca_eval"].read_text())}
    assert {pair.prompt for pair in record.pairs} <= known
    check_verdicts(record.pairs, record.verdicts)


def test_without_checkpoints_one_sentence_says_what_to_do(rehearsal: Rehearsal, tmp_path: Path) -> None:
    empty = HubCache(tmp_path)
    done = run_command([*RUN, "scale=paper", "family=llama", "regime=instruct", "judge=local"], empty)
    assert done.code != 0 and "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if "hf download" in line]
    for name in ("meta-llama/Llama-3.2-1B-Instruct", "google/gemma-4-E4B-it"):
        assert f"hf download {name}" in line
    for name in ("openbmb/UltraFeedback", "tatsu-lab/alpaca_eval"):
        assert f"hf download --repo-type dataset {name}" in line


def test_analysis(rehearsal: Rehearsal, tmp_path: Path) -> None:
    """The tables' win rates against their start are those of the records' verdicts."""
    parts = ("main table", "baselines", "mathematics", "verifier sweep", "judge sanity", "separation")
    for part in parts:
        rehearsal.run(part)
    folders = [str(rehearsal.results(part)) for part in parts]
    done = run_command([RUN[0], "-m", "analysis", *folders, "--out", str(tmp_path)], rehearsal.cache)
    assert done.code == 0, done.stderr[-3000:]
    assert (tmp_path / "report.html").stat().st_size > 10_000
    with (tmp_path / "tables" / "paper-main-table.csv").open() as file:
        rows = list(csv.DictReader(file))
    records = {(r.family, r.regime): r for r in rehearsal.records("main table")}
    members = ("panel: gpt_5_2", "panel: anthropic")
    assert set(members) <= {row["judge"] for row in rows}
    for row in rows:
        if row["judge"] in members:
            judge = row["judge"].removeprefix("panel: ")
            verdicts = [v for v in records[row["family"], row["regime"]].verdicts if v.judge == judge]
            assert float(row["win_rate"]) == pytest.approx(win_rate(verdicts))
