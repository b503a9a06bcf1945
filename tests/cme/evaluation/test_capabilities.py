"""The bundled tasks have true items, and lm-eval's scores agree with plain forward passes."""

import json
import math
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nltk
import pytest
from datasets import Dataset, DatasetDict
from lm_eval.api.metrics import mean_stderr
from lm_eval.tasks.ifeval.utils import agg_inst_level_acc, process_results
from naive import score_ids
from samples import all_prompts
from scripted import forced, logits_of, published_copy
from verifiers import Tiny

from cme import Unavailable
from cme.checkpoints import load
from cme.data import instructions, tasks
from cme.evaluation import capabilities
from cme.grading.constraints import ConstrainedPrompt
from cme.miniature import world

pytestmark = pytest.mark.usefixtures("packages_are_not_listed")
ATTRIBUTES = {"is": "color", "lives": "home", "eats": "food"}


def test_the_items_of_the_world_are_true_and_none_is_a_prompt() -> None:
    facts, sums, steps = (list(task()["test"]) for task in (tasks.facts, tasks.sums, tasks.steps))
    assert [len({row["text"] for row in rows}) for rows in (facts, sums, steps)] == [36, 30, 30]
    assert [len(rows) for rows in (facts, sums, steps)] == [36, 30, 30]
    for row in facts:
        _, animal, *rest = row["text"].split()
        name = f"{animal} {ATTRIBUTES[rest[0]]}"
        problem = next(p for p in world.problems() if p.kind == "profile" and name in p.parts)
        right = [problem.grade(f"{row['text']} {choice}.", True).parts[name] for choice in row["choices"]]
        assert right == [i == row["label"] for i in range(6)]
    for row in sums:
        a, b = (int(word) for word in row["text"].split() if word.isdigit())
        assert int(row["choices"][row["label"]]) == a + b
    for row in steps:
        a, b, c, again, d = (int(word) for word in row["text"].split() if word.isdigit())
        assert a + b == c == again and row["answer"] == f"{c + d}."
    prompts = {text for problem in world.problems() for text in problem.wordings}
    assert not prompts & {row["text"] for row in facts + sums + steps}


def test_questions_have_four_answers_in_balanced_order() -> None:
    rows = list(tasks.questions()["test"])
    assert len({row["question"] for row in rows}) == len(rows) == 40
    assert all(len(set(row["choices"])) == 4 and 0 <= row["label"] < 4 for row in rows)
    assert max(Counter(row["label"] for row in rows).values()) <= 15  # positions are balanced
    prompts = {p.text for split in ("train", "eval") for p in all_prompts(instructions.load_prompts, split)}
    assert not prompts & {row["question"] for row in rows}
    lines = (files("cme.data.tasks") / "questions.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"question-{i:02}" for i in range(1, 41)]


def test_the_commits_of_the_items_are_those_of_the_prepared_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "1a" * 20
    found = {}
    for name, folder in (("gsm8k", commit), ("local", "0.0.0")):
        split = Dataset.from_list([{"question": "?"}])
        split.save_to_disk(tmp_path / folder)
        split = Dataset.load_from_disk(tmp_path / folder)
        config = SimpleNamespace(dataset_path=f"owner/{name}")
        found[name] = SimpleNamespace(dataset=DatasetDict(test=split), config=config)
    manager = SimpleNamespace(load=lambda names: {"tasks": {name: found[name] for name in names}})
    monkeypatch.setattr(capabilities, "_manager", lambda _: manager)
    assert capabilities.data_commits(["gsm8k", "local", "questions"]) == {"owner/gsm8k": commit}
    assert capabilities.data_commits(["questions"]) == {}


def test_the_sentence_tokenizer_of_ifeval_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manager = SimpleNamespace(all_subtasks=["ifeval", "gsm8k"], load=lambda _: None)
    monkeypatch.setattr(capabilities, "_manager", lambda _: manager)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    capabilities.check(["gsm8k"])
    with pytest.raises(Unavailable, match=r"ifeval .*`\S+ -m nltk.downloader punkt_tab`"):
        capabilities.check(["gsm8k", "ifeval"])
    (tmp_path / "tokenizers" / "punkt_tab").mkdir(parents=True)
    capabilities.check(["gsm8k", "ifeval"])


@pytest.mark.parametrize(
    ("family", "batch_size"), [("qwen", 1), ("qwen", 7), ("llama", 7), ("gemma", 7), ("olmo", 7)]
)
def test_multiple_choice_picks_the_likeliest_ending(tiny: Tiny, family: str, batch_size: int) -> None:
    checkpoint = tiny(family)
    [score] = capabilities.measure(
        checkpoint, ["world_facts"], chat_template=False, limit=12, batch_size=batch_size
    )
    expected = []
    for row in list(tasks.facts()["test"])[:12]:
        head = checkpoint.tokenizer.encode(row["text"])
        whole = [checkpoint.tokenizer.encode(f"{row['text']} {choice}") for choice in row["choices"]]
        ends = [score_ids(checkpoint.model, head, ids[len(head) :]).total for ids in whole]
        expected.append(float(ends.index(max(ends)) == row["label"]))
    assert (score.task, score.metric, score.n) == ("world_facts", "acc", 12)
    assert score.items == expected
    p = sum(expected) / 12
    assert score.value == pytest.approx(p)
    assert score.stderr == pytest.approx(math.sqrt(p * (1 - p) / 11))


def test_only_an_exact_continuation_counts(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.models.huggingface import HFLM

    rows = list(tasks.steps()["test"])[:4]
    right = [row["answer"].removesuffix(".") for row in rows]
    replies = [f" {right[0]}", f"{right[1]} ", f" {right[2]} and more", " "]
    monkeypatch.setattr(HFLM, "generate_until", lambda self, requests, **_: replies)
    [score] = capabilities.measure(tiny("qwen"), ["world_steps"], chat_template=False, limit=4, batch_size=4)
    assert score.items is not None and score.items[0] == 1.0
    assert score.items[2:] == [0.0, 0.0]


def test_no_field_of_the_hubs_generation_config_changes_a_response(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [str(tiny_folder("qwen")), published_copy(tiny_folder("qwen"), tmp_path / "copy")]
    written: list[list[list[int]]] = []
    for folder in folders:
        checkpoint = load(folder)
        generate = checkpoint.model.generate

        def recorded(*, whole: Any = generate, **arguments: Any) -> Any:
            ids = whole(**arguments)
            written.append(ids.tolist())
            return ids

        checkpoint.model.generate = recorded  # type: ignore[method-assign]
        capabilities.measure(checkpoint, ["world_steps"], chat_template=False, limit=4, batch_size=4)
    assert len(written) == 2 and written[0] == written[1]


@pytest.mark.parametrize("ending", ["<|endoftext|>", "<|im_end|>"])
def test_a_response_ends_at_every_end_token(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """The generation config of the checkpoint ends at the first, its chat template at the second."""
    from lm_eval.models.huggingface import HFLM

    checkpoint, replies = tiny("qwen"), []
    generate_until = HFLM.generate_until

    def watched(self: HFLM, *arguments: Any, **settings: Any) -> list[str]:
        replies.extend(generate_until(self, *arguments, **settings))
        return replies

    monkeypatch.setattr(HFLM, "generate_until", watched)
    script = checkpoint.tokenizer.convert_tokens_to_ids(["a", "b", ending, "c", "a", "b"])
    with forced(checkpoint.model, logits_of(script, checkpoint.model)):
        capabilities.measure(checkpoint, ["world_steps"], chat_template=True, limit=1, batch_size=1)
    assert replies == ["ab"]


def test_no_token_of_a_continuation_is_lost_where_the_tokenizer_merges_across_the_border(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a chat template each choice is scored from its first token, after exactly the prompt's tokens."""
    from lm_eval.models.huggingface import HFLM

    checkpoint = tiny("qwen")
    tokenizer = checkpoint.tokenizer
    tokenizer.chat_template = "{{ messages[0].content }}{% if add_generation_prompt %} is{% endif %}\n "
    rows = list(tasks.facts()["test"])[:12]
    expected, merged = [], 0
    for row in rows:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["text"]}], tokenize=False, add_generation_prompt=True
        )
        head = tokenizer.encode(prompt, add_special_tokens=False)
        for choice in row["choices"]:
            tail = tokenizer.encode(choice, add_special_tokens=False)
            merged += tokenizer.encode(prompt + choice, add_special_tokens=False) != [*head, *tail]
            expected.append(score_ids(checkpoint.model, head, tail).total)
    assert merged == len(expected) == 72, "the tokenizer merges the blank with each choice"
    score, found = HFLM.loglikelihood, []

    def watched(self: HFLM, *arguments: Any, **settings: Any) -> list[tuple[float, bool]]:
        found.extend(score(self, *arguments, **settings))
        return found

    monkeypatch.setattr(HFLM, "loglikelihood", watched)
    capabilities.measure(checkpoint, ["world_facts"], chat_template=True, limit=12, batch_size=7)
    assert [value for value, _ in found] == pytest.approx(expected, abs=1e-3)


def test_bundled_tasks_load_without_the_index_of_lm_eval() -> None:
    assert capabilities.own_tasks() == ["questions", "world_facts", "world_steps", "world_sums"]
    capabilities.check(capabilities.own_tasks())
    assert set(capabilities._manager(["questions"]).all_subtasks) == set(capabilities.own_tasks())


COMMA, QUOTED, TITLE = "punctuation:no_comma", "startend:quotation", "detectable_format:title"
CONSTRAINED = [
    ConstrainedPrompt(1, "Name a drink.", [COMMA, QUOTED], [{}, {}]),
    ConstrainedPrompt(2, "Name a town.", [COMMA], [{}]),
    ConstrainedPrompt(3, "Name a tree.", [COMMA, QUOTED, TITLE], [{}, {}, {}]),
]
ANSWERS = ['"Tea"', "Sure, here:\nRome", "<<Oak>>"]


def test_the_scores_of_ifeval_are_those_of_lm_eval() -> None:
    theirs = [process_results(vars(p), [r]) for p, r in zip(CONSTRAINED, ANSWERS, strict=True)]
    scores = capabilities.ifeval_scores("own", CONSTRAINED, ANSWERS)
    assert [score.n for score in scores] == [3, 6, 3, 6]
    for score in scores:
        values = [result[score.metric] for result in theirs]
        if score.metric.startswith("prompt"):
            assert score.value == pytest.approx(sum(values) / len(values)) and score.items == values
            assert score.stderr == pytest.approx(mean_stderr(values))
        else:
            assert score.value == pytest.approx(agg_inst_level_acc(values)) and score.stderr is None
    single = capabilities.ifeval_scores("own", CONSTRAINED[:1], ANSWERS[:1])
    assert [score.stderr for score in single] == [None] * 4
