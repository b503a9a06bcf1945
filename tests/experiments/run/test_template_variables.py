"""Which values of the chat template's variables each model of a run is loaded with."""

from pathlib import Path
from typing import Any

import pytest
from small_runs import Cell, composed

from cme.models import template_variables
from cme.records import read_record
from experiments.config import identity
from experiments.run import pipeline

GENERATOR, VERIFIER = "chat_template.generator.date=2025-01-31", "chat_template.verifier.date=2025-02-01"
ROLES = {"qwen": "2025-01-31", "gemma": "2025-02-01", "olmo": "2025-02-01"}
"""Generator, verifier and held-out verifier by their families. A saved policy has those that it was saved with."""


GRPO_ONLY = ("trainer.num_generations", "trainer.max_completion_length")


@pytest.mark.parametrize(
    "arguments",
    [
        (
            *(
                "capabilities=world",
                "capabilities.limit=2",
                "+evaluation.comparators.sft=miniature:qwen-1/sft",
            ),
            *("selection.every=1", "selection.prompts=2", "reward=reverse_kl"),
        ),
        ("reward=self_likelihood", "experiment.independent_verifier=false"),
        ("trainer=sft", "trainer.monitor_prompts=2", "trainer.sampling.max_new_tokens=6"),
        ("trainer=dpo", "trainer.monitor_prompts=2"),
    ],
)
def test_each_model_has_those_of_its_role(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    seen: list[tuple[str, Any]] = []
    set_variables = template_variables.set_variables

    def noted(tokenizer: Any, values: Any = None) -> None:
        seen.append((Path(tokenizer.name_or_path).name.split("-")[0], (values or {}).get("date")))
        set_variables(tokenizer, values)

    monkeypatch.setattr(template_variables, "set_variables", noted)
    trainer = arguments[0].removeprefix("trainer=")
    small = [w for w in cell() if trainer == arguments[0] or not w.startswith(GRPO_ONLY)]
    run = composed([*small, *arguments, GENERATOR, VERIFIER])
    record = read_record(pipeline.run(run))
    assert record.config["chat_template"] == run.values["chat_template"]
    assert {name for name, _ in seen} >= {"qwen", "olmo"}
    assert [one for one in seen if one[1] != ROLES.get(one[0], one[1])] == []


def test_models_with_other_values_have_their_own_responses(cell: Cell) -> None:
    def shared(*arguments: str) -> tuple[str, str]:
        run = composed(cell("verifier=gemma", *arguments))
        return identity.start_id(run), identity.verifier_responses_id(run, "v")

    start, verifier = shared()
    assert shared(GENERATOR) == (shared(GENERATOR)[0], verifier) != (start, verifier)
    assert shared(VERIFIER) == (start, shared(VERIFIER)[1]) != (start, verifier)
    ids = [composed(cell(*one)).run_id for one in ((), (GENERATOR,), (VERIFIER,))]
    assert len(set(ids)) == 3
