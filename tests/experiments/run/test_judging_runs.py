"""A chat model as judge of whole runs: recorded verdicts, failures that are judged again, panels, and warnings."""

import itertools
import json
from pathlib import Path

import length_judge
import pytest
from chat_stub import ChatStub
from length_judge import KEY
from small_runs import Cell, composed, never

from cme import Unavailable
from cme.judges import chat_endpoint
from cme.records import Generation, Pair, RunRecord, read_record
from experiments.config import composition
from experiments.config.family_overlap import generator_parties
from experiments.config.validation import BadConfig
from experiments.run import evaluation, inputs, judging, pipeline, preparation, selection, training
from experiments.run.cell import is_done
from experiments.run.store import Store
from experiments.sweep import runner


@pytest.fixture
def cell(cell: Cell) -> Cell:
    """Cells without the cut start, which has tests of its own."""
    return lambda *overrides: cell("evaluation.cut_start=false", *overrides)


@pytest.fixture
def trained(cell: Cell, finished: Cell) -> Cell:
    """Command lines of small runs; those with a random reward share a training that is finished."""
    finished("reward=random")
    return cell


def judged_by(stub: ChatStub, *more: str) -> list[str]:
    return ["reward=random", *length_judge.settings(stub, *more)]


def scored(record: RunRecord) -> list[bool]:
    return [v.outcome != "unscored" for v in record.verdicts]


def test_its_verdicts_are_recorded_and_its_key_nowhere(
    trained: Cell, stub: ChatStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = composed(trained(*judged_by(stub)))
    preparation.prepare([config])
    assert len(stub.bodies) == 1
    record = read_record(pipeline.run(config))
    assert record.verdicts == length_judge.verdicts(record.pairs)
    assert record.judge == "openai" and record.config["judge"]["model"] == "stub"
    assert record.warnings == []
    assert pipeline.run(config) and len(stub.bodies) == 1 + length_judge.questions(record.pairs)
    lines = [json.loads(line) for line in Store(config).verdicts.read_text().splitlines()]
    assert sum(line["seconds"] for line in lines) == pytest.approx(record.seconds["judge"])
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err
    written = [p for p in (tmp_path / "runs").rglob("*") if p.is_file()]
    assert len(written) > 5
    assert not any(KEY.encode() in p.read_bytes() for p in written)


def test_a_judge_is_tried_once_in_a_process_and_again_where_it_did_not_answer(
    cell: Cell, stub: ChatStub
) -> None:
    first, second = (composed(cell(*judged_by(stub, "judge.retries=0", f"seed={seed}"))) for seed in (0, 1))
    stub.rates = {"server_error": 1.0}
    for _ in range(2):
        with pytest.raises(Unavailable, match="gives no verdict on a trial pair"):
            judging.probe([first])
    assert len(stub.bodies) == 2
    stub.rates = {}
    for config in (first, second, first):
        judging.probe([config])
    assert len(stub.bodies) == 3


def test_responses_that_a_judge_did_not_see_whole_are_counted(trained: Cell, stub: ChatStub) -> None:
    record = read_record(pipeline.run(composed(trained(*judged_by(stub, "judge.max_response_chars=12")))))
    longer = sum(len(g.response) > 12 for p in record.pairs for g in (p.start, p.policy))
    assert 0 < longer < 24
    assert record.warnings == [
        f"{longer} of 24 responses were cut at judge.max_response_chars=12 for judging"
    ]


def test_what_failed_is_judged_when_run_again_and_only_that(
    trained: Cell, stub: ChatStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.rates = {"server_error": 0.3, "prose": 0.2}
    config = composed(trained(*judged_by(stub, "judge.retries=0")))
    path = pipeline.run(config)
    first = read_record(path)
    failed = scored(first).count(False)
    assert 3 < failed < 21
    assert f"{failed} of 24 verdicts are unscored, the first because" in capsys.readouterr().err
    for module, name in ((inputs, "resolve_weights"), (training, "train_policy"), (evaluation, "load")):
        monkeypatch.setattr(module, name, never)
    stub.rates = {}
    preparation.prepare([config])
    again = read_record(pipeline.run(config))
    assert again.verdicts == length_judge.verdicts(again.pairs)
    assert again.pairs == first.pairs
    assert again.seconds["judge"] > first.seconds["judge"]
    del stub.answered[next(q for q in stub.answered if "Name a colour." in q)]
    assert set(stub.answered.values()) == {1} and len(stub.answered) == length_judge.questions(again.pairs)
    asked = len(stub.bodies)
    preparation.prepare([config])
    assert pipeline.run(config) == path
    assert len(stub.bodies) == asked


def test_a_larger_budget_goes_on_with_the_same_run(trained: Cell, stub: ChatStub) -> None:
    small, large = (composed(trained(*judged_by(stub, f"judge.max_calls={n}"))) for n in (5, 100))
    record = read_record(pipeline.run(small))
    assert len(stub.bodies) == 5
    assert not all(scored(record))
    assert pipeline.run(large) == Store(small).record
    record = read_record(Store(small).record)
    assert record.verdicts == length_judge.verdicts(record.pairs)
    assert len(stub.bodies) == length_judge.questions(record.pairs)


def test_each_member_of_a_panel_judges_every_pair(trained: Cell, stub: ChatStub) -> None:
    members = (length_judge.server(stub, f"judge.members.{name}") for name in ("gpt_5_2", "anthropic"))
    panel = ["reward=random", "judge=panel", *itertools.chain(*members)]
    config = composed(trained(*panel, "judge.members.anthropic.max_calls=7"))
    preparation.prepare([config])
    assert len(stub.bodies) == 2
    record = read_record(pipeline.run(config))
    assert record.judge == "panel"
    assert record.verdicts[:24] == length_judge.verdicts(record.pairs, "gpt_5_2")
    assert [v.judge for v in record.verdicts[24:]] == ["anthropic"] * 24
    assert len(stub.bodies) == 2 + length_judge.questions(record.pairs) + 7
    pipeline.run(composed(trained(*panel)))
    again = read_record(Store(config).record)
    assert again.verdicts == length_judge.verdicts(record.pairs, "gpt_5_2") + length_judge.verdicts(
        record.pairs, "anthropic"
    )
    assert len(stub.bodies) == 2 + 2 * length_judge.questions(record.pairs)


def test_what_carries_a_judge_is_no_part_of_the_run() -> None:
    carried = ("base_url=http://elsewhere/v1", "concurrency=3", "timeout=7", "retries=1", "max_calls=9",
               "api_key_variable=X", "usd_per_million_input=1", "usd_per_million_output=1")  # fmt: skip
    decided = ("model=b", "decoding.temperature=1", "tie_margin=0.5")
    member = "judge.members.gpt_5_2"

    def identities(*overrides: str) -> tuple[str, str]:
        run = composed([*overrides])
        return run.run_id, judging.judge_digest(run.judge.members.get("gpt_5_2", run.judge))

    single = ("judge=openai", "judge.model=a")
    panel = ("judge=panel", f"{member}.model=a", "judge.members.anthropic.model=b")
    for base, prefix, fields in ((single, "judge", decided), (panel, member, decided[:1])):
        own = identities(*base)
        assert identities(*base, *(f"{prefix}.{field}" for field in carried)) == own
        for field in fields:
            run_id, digest = identities(*base, f"{prefix}.{field}")
            assert run_id != own[0] and digest != own[1], field


@pytest.mark.parametrize(
    ("overrides", "warnings"),
    [
        (
            ["judge.model=Qwen/Qwen3-32B"],
            ["judge.model=Qwen/Qwen3-32B is of the family of the generator (qwen)"],
        ),
        (["judge.model=gemma-3"], ["judge.model=gemma-3 is of the family of the verifier (gemma)"]),
        (["judge.model=gemma-3", "reward=random"], []),
        (
            ["judge.model=google/gemma-3-4b-it", "reward.verifier=google/gemma-3-4b-it"],
            ["judge.model=google/gemma-3-4b-it is the verifier"],
        ),
        (
            ["judge.model=olmo-3", "+evaluation.comparators.x=allenai/OLMo-2-0425-1B"],
            ["judge.model=olmo-3 is of the family of the comparator x (olmo)"],
        ),
        (
            ["judge=alpaca_eval", "judge.annotator=alpaca_eval_llama3_70b_fn", "family=llama"],
            ["judge.annotator=alpaca_eval_llama3_70b_fn is of the family of the generator (llama)"],
        ),
        (
            [
                "judge=oracle",
                "judge@selection.judge=openai",
                "selection.judge.model=gemma-3",
                "selection.every=1",
            ],
            ["selection.judge.model=gemma-3 is of the family of the verifier (gemma)"],
        ),
    ],
)
def test_a_judge_of_the_same_model_family_gives_a_warning(
    overrides: list[str], warnings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    composed(["judge=openai", *overrides])
    assert capsys.readouterr().err.splitlines() == [f"warning: {line}" for line in warnings]


def test_a_judge_of_responses_from_elsewhere_is_compared_with_their_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged = ["judge=local", "judge.checkpoint=Qwen/Qwen3-32B"]
    for generators, warnings in (
        (
            ["org/base", "Qwen/Qwen2.5-7B", "Qwen/Qwen3-32B@v2"],
            "judge.checkpoint=Qwen/Qwen3-32B is the generator",
        ),
        (["org/base"], None),
    ):
        composition.compose_cells(judged, parties=generator_parties(generators))
        printed = capsys.readouterr().err.splitlines()
        assert (f"warning: {warnings}" in printed) if warnings else not printed


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["judge.api_key_variable=NO_SUCH_KEY"], "NO_SUCH_KEY"),
        ([], "gives the key in JUDGE_KEY no access"),
        (["judge.model=nope"], "'nope'"),
        (["judge.base_url=http://127.0.0.1:9/v1"], "127.0.0.1:9"),
    ],
)
def test_a_judge_that_cannot_work_is_one_line_before_anything_runs(
    stub: ChatStub, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], named: str
) -> None:
    if named.startswith("gives"):
        stub.key = "another"
    assert runner.main([*judged_by(stub), f"results_dir={tmp_path / 'runs'}", *overrides]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    assert named in printed.err
    assert KEY not in printed.err
    assert list(tmp_path.iterdir()) == []


def test_verdicts_depend_on_the_question_and_on_a_private_server(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ["judge=vllm", "judge.model=a"]
    there = composed([*own, "judge.base_url=http://elsewhere/v1"])
    config = composed(own)
    digest, run_id = judging.judge_digest(config.judge), config.run_id
    assert digest == judging.judge_digest(composed(own).judge) != judging.judge_digest(there.judge)
    monkeypatch.setattr(chat_endpoint, "REPLY_FORMAT_VERSION", 2)
    assert judging.judge_digest(config.judge) != digest and config.run_id == run_id


def test_selection_that_a_judge_failed_is_judged_again_and_selects_anew(cell: Cell, stub: ChatStub) -> None:
    picked = length_judge.settings(stub, "selection.judge.retries=0", field="selection.judge")
    config = composed(
        cell("reward=random", "trainer.max_steps=2", "selection.every=1", "selection.prompts=12", *picked)
    )
    stub.rates = {"server_error": 1.0}
    store, first = Store(config), read_record(pipeline.run(config))
    assert first.trajectory is not None and first.selected is None
    nothing = "the checkpoints have 0 of 24 selection verdicts scored in common: none was selected"
    assert nothing in first.warnings
    assert all(sum(m.unscored.values()) == 24 for m in first.trajectory.checkpoints)
    assert not is_done(config) and (store.checkpoint / "step-1").exists()
    stub.rates = {}
    again = read_record(pipeline.run(config))
    assert again.trajectory is not None and again.selected is not None
    assert not any("in common" in warning for warning in again.warnings)
    assert not any(m.unscored for m in again.trajectory.checkpoints)
    assert is_done(config) and not (store.checkpoint / "step-1").exists()
    assert (again.pairs, again.verdicts, again.history) == (first.pairs, first.verdicts, first.history)


def test_texts_beyond_the_encoder_are_counted() -> None:
    config = composed(["scale=laptop", "judge=reference_similarity"])
    word, fits, beyond = "sky ", Generation("sky " * 254, True, 254), Generation("sky " * 255, True, 255)
    pairs = [Pair("a", "?", word * 300, fits, beyond), Pair("b", "?", None, beyond, beyond)]
    limit = "were read by judge=reference_similarity up to its encoder's limit alone"
    assert judging.truncation_warnings(config, pairs) == [
        f"3 of 4 responses {limit}",
        f"1 of 1 references {limit}",
    ]
    assert judging.truncation_warnings(config, [Pair("a", "?", word, fits, fits)]) == []


def test_a_record_alone_is_enough_to_judge_what_is_unscored(trained: Cell, stub: ChatStub) -> None:
    stub.rates = {"server_error": 0.3}
    config = composed(trained(*judged_by(stub, "judge.retries=0")))
    first = read_record(pipeline.run(config))
    store = Store(config)
    for file in (store.verdicts, store.training, store.generations):
        file.unlink()
    stub.rates = {}
    again = read_record(pipeline.run(config))
    assert again.verdicts == length_judge.verdicts(again.pairs)
    kept = [v for v, good in zip(first.verdicts, scored(first), strict=True) if good]
    assert [v for v, good in zip(again.verdicts, scored(first), strict=True) if good] == kept


def test_what_can_never_be_judged_does_no_harm(trained: Cell) -> None:
    """The world's prompts have no reference answers."""
    config = composed(trained("reward=random", "judge=reference_similarity"))
    path = pipeline.run(config)
    before = path.read_bytes()
    assert not any(scored(read_record(path)))
    assert pipeline.run(config) == path
    assert path.read_bytes() == before


def test_rights_that_are_withdrawn_end_the_run_and_lose_nothing(trained: Cell, stub: ChatStub) -> None:
    config = composed(trained(*judged_by(stub, "judge.max_calls=5")))
    pipeline.run(config)
    stub.key = "another"
    with pytest.raises(Unavailable, match="no access"):
        pipeline.run(composed(trained(*judged_by(stub))))
    assert scored(read_record(Store(config).record)).count(True) >= 5


@pytest.mark.parametrize(
    "bad",
    [["judge=local", "judge.checkpoint=package:none"], ["judge=alpaca_eval", "judge.annotator=alpaca_farm"]],
)
def test_a_judge_that_cannot_be_made_is_one_sentence(cell: Cell, bad: list[str]) -> None:
    with pytest.raises(BadConfig, match=r"judge=(local|alpaca_eval): (checkpoint|annotator) is"):
        judging.instantiate_judge(composed(cell(*bad)).judge)


def test_the_log_of_the_oracle_holds_what_the_record_has(finished: Cell) -> None:
    config = composed(finished("reward=random"))
    record = read_record(Store(config).record)
    lines = [json.loads(line) for line in Store(config).verdicts.read_text().splitlines()]
    assert {line["prompt_id"] for line in lines} <= {p.prompt_id for p in record.pairs}
    assert {(line["calls"], line["usd"]) for line in lines} == {(0, 0.0)}
    assert sum(line["seconds"] for line in lines) == pytest.approx(record.seconds["judge"])


def test_what_judges_of_checkpoints_do_not_see_whole_is_counted(
    cell: Cell, stub: ChatStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "best_step", lambda trajectory: 1)
    limit = ("selection.judge.max_response_chars=7", "selection.keep=true")
    picked = length_judge.settings(stub, *limit, field="selection.judge")
    steps = ("trainer.max_steps=2", "trainer.learning_rate=0.02", "trainer.warmup_steps=0")
    chosen = ("selection.every=1", "selection.prompts=12", *picked)
    config = composed(cell(*judged_by(stub, "judge.max_response_chars=12"), *steps, *chosen))
    record, store = read_record(pipeline.run(config)), Store(config)
    saved = sorted((store.trained / "selection").glob("step-*.json"))
    saved.remove(store.saved_responses(1, store.responses_digest))
    files = [next(store.starts.glob("*-selection-*.json")), *saved]
    compared = [row["response"] for file in files for row in json.loads(file.read_text())["value"]]
    assert len(compared) == 3 * 12 and record.selected is not None and record.selected.responses is not None
    own = [response.response for response in record.selected.responses]
    longer, longer_own = sum(len(r) > 7 for r in compared), sum(len(r) > 12 for r in own)
    assert longer and longer_own
    assert [w for w in record.warnings if " cut at " in w][1:] == [
        f"{longer} of 36 responses were cut at selection.judge.max_response_chars=7 for judging",
        f"{longer_own} of the selected checkpoint's 12 responses were cut at judge.max_response_chars=12 for judging",
    ]


def test_the_run_s_budget_holds_for_the_selected_checkpoint_too(cell: Cell, stub: ChatStub) -> None:
    config = composed(
        cell(
            *judged_by(stub, "judge.max_calls=7", "judge.retries=0"),
            *("trainer.max_steps=2", "trainer.learning_rate=0.02", "trainer.warmup_steps=0"),
            *("selection.every=1", "selection.prompts=12"),
        )
    )
    pipeline.run(config)
    assert sum(stub.asked.values()) <= 7
