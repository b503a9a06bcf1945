"""The frozen verifier's own responses in a run's record: whose, when, and made how often."""

from dataclasses import replace
from typing import Any

import pytest
from small_runs import Cell, composed, count_generations, greedy

from cme.checkpoints import load
from cme.records import read_record
from experiments.config import identity
from experiments.run import evaluation, inputs, pipeline
from experiments.run.evaluation import verifier_responses
from experiments.run.store import Store


def test_they_are_the_verifiers_greedy_ones_and_made_once_for_two_runs(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = count_generations(monkeypatch)
    first = read_record(pipeline.run(composed(cell("trainer.max_steps=1"))))
    second = read_record(pipeline.run(composed(cell("trainer.max_steps=1", "seed=1", "trainer.beta=0.1"))))
    assert titles.count("verifier responses") == 1
    assert (
        first.verifier_responses
        == second.verifier_responses
        == greedy("miniature:gemma-1/verifier", [p.prompt for p in first.pairs])
    )
    assert first.verifier_responses != [replace(p.start, surprisal=None) for p in first.pairs]


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        (("reward=cme",), "miniature:gemma-1/verifier"),
        (("reward=reverse_kl",), "miniature:gemma-1/verifier"),
        (("verifier=random",), "random:miniature:gemma-1/verifier"),
        (("reward=token_entropy",), None),
        (("reward.verifier=[miniature:gemma-1/verifier,miniature:llama-1/verifier]",), None),
        (("reward.server={url: 'http://localhost:1', model: m, dialect: vllm}",), None),
        (("trainer=sft",), "miniature:gemma-1/verifier"),
        (("trainer=dpo",), None),
        (("reward=cme", "evaluation.verifier_responses=false"), None),
        (("trainer=best_of_n", "reward=cme"), "miniature:gemma-1/verifier"),
    ],
)
def test_whose_responses_they_are(arguments: tuple[str, ...], who: str | None) -> None:
    assert composed([*arguments]).responding_verifier == who


def test_a_run_without_a_verifier_has_none(cell: Cell) -> None:
    config = composed(cell("reward=random"))
    assert verifier_responses(config, Store(config), {}, []) == (None, 0.0)


def test_what_they_are_made_of_tells_them_apart(cell: Cell) -> None:
    def path(*arguments: str) -> str:
        return identity.verifier_responses_id(composed(cell(*arguments)), "v")

    same = ("seed=3", "family=llama", "verifier=gemma", "trainer.beta=0.2", "evaluation.batch_size=2")
    other = ("evaluation.max_new_tokens=7", "data.eval_prompts=11", "scoring.dtype=bfloat16")
    assert path(*{"verifier=gemma", *same}) == path("verifier=gemma")
    rounded = path("verifier=gemma", "reward.quantization=8bit")
    assert len({rounded, path("verifier=gemma"), *(path("verifier=gemma", one) for one in other)}) == 5
    config = composed(cell())
    assert identity.verifier_responses_id(config, "v") != identity.verifier_responses_id(config, "w")


def test_they_are_those_of_the_verifier_as_it_is_rounded(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noted(name: str, **how: Any) -> Any:
        asked.append(how["quantization"])
        return load(name, dtype=how["dtype"])

    monkeypatch.setattr(evaluation, "load", noted)
    for more in (("reward.quantization=8bit",), (), ("trainer=sft", "trainer.max_length=64")):
        given = cell() if "trainer=sft" not in more else []
        place = next(word for word in cell() if word.startswith("results_dir="))
        config = composed([*given, *more, "reward=cme", "data.eval_prompts=2", place])
        prompts = inputs.load_prompts(config.data, config.data.eval_split, config.data.eval_prompts)
        name = config.responding_verifier
        assert name is not None and verifier_responses(config, Store(config), {name: "w"}, prompts)[0]
    assert asked == ["8bit", None, None]
