"""The local judge: scores are the model's own label probabilities, and special tokens in texts are plain text."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cme.checkpoints import Checkpoint
from cme.judges.local import QUESTION, Dtype, LocalJudge
from cme.judges.pairwise import VerdictLog, judge_pairs
from cme.models import chat
from cme.records import Generation, Pair, Prompt

Tiny = Callable[..., Checkpoint]
Folder = Callable[..., Path]
ASKED = Prompt("p", "name {two} animals: 3 plus 4?")


def said(text: str) -> Generation:
    return Generation(text, True, len(text))


def made(folder: Path, margin: float = 0.0, characters: int = 2500, tokens: int = 4096) -> LocalJudge:
    # random weights give every word of the vocabulary its share, and the labels no more
    return LocalJudge(str(folder), margin, characters, tokens, "float32", min_label_mass=0.0)


def by_hand(
    model: Checkpoint, prompt: str, first: str, second: str, labels: tuple[str, ...] = ("A", "B")
) -> float:
    """p(first label) / p(both) by the model's own logits in float64, the prompt rendered whole by the template."""
    question = QUESTION.replace("{instruction}", prompt).replace("{first}", first).replace("{second}", second)
    rendered = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    ids = model.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    p = dict.fromkeys(labels, 1.0)
    for label in labels:
        behind: list[int] = []
        for token in model.tokenizer(label, add_special_tokens=False)["input_ids"]:
            with torch.no_grad():
                logits = model.model(torch.tensor([[*ids, *behind]])).logits[0, -1].double()
            p[label] *= float(torch.exp(logits)[token] / torch.exp(logits).sum())
            behind.append(token)
    return p[labels[0]] / sum(p.values())


def test_scores_are_the_models_own_probabilities(tiny: Tiny, tiny_folder: Folder, family: str) -> None:
    judge, model = made(tiny_folder(family)), tiny(family)
    for first, second in (("fox, bear.", "owl"), ("owl", "fox, bear."), ("", "7 {first} 狐")):
        verdict = judge.compare(ASKED, said(first), said(second))
        expected = by_hand(model, ASKED.text, first, second)
        assert verdict.scores == pytest.approx((expected, 1 - expected), abs=1e-4)
        assert verdict.outcome == ("first" if expected > 0.5 else "second")


def test_a_model_without_a_chat_template_uses_the_plain_one(tiny: Tiny, tiny_folder: Folder) -> None:
    expected = by_hand(tiny("llama", plain=True), ASKED.text, "fox", "owl")
    verdict = made(tiny_folder("llama", plain=True)).compare(ASKED, said("fox"), said("owl"))
    assert verdict.scores == pytest.approx((expected, 1 - expected), abs=1e-4)


def test_all_tokens_of_a_label_count(tiny: Tiny, tiny_folder: Folder) -> None:
    judge, model, labels = made(tiny_folder("qwen")), tiny("qwen"), ("A fox", "B fox")
    judge._labels = [chat.response_ids(model.tokenizer, label) for label in labels]
    assert min(map(len, judge._labels)) > 1
    expected = by_hand(model, ASKED.text, "a", "b", labels)
    scores = judge.compare(ASKED, said("a"), said("b")).scores
    assert scores == pytest.approx((expected, 1 - expected), abs=1e-4) and 0.001 < expected < 0.999


def test_labels_with_too_little_probability_are_unscored(tiny_folder: Folder) -> None:
    strict = LocalJudge(str(tiny_folder("qwen")), 0.0, 2500, 4096, "float32", min_label_mass=0.9)
    verdict = strict.compare(ASKED, said("fox"), said("owl"))
    assert verdict.outcome == "unscored" and "have probability 0.0028, below 0.9" in str(verdict.reason)


def test_a_tie_is_within_the_margin(tiny: Tiny, tiny_folder: Folder) -> None:
    gap = 2 * by_hand(tiny("gemma"), ASKED.text, "fox", "owl") - 1
    assert abs(gap) > 1e-3
    for margin, outcome in ((abs(gap) + 1e-3, "tie"), (abs(gap) - 1e-3, "first" if gap > 0 else "second")):
        assert made(tiny_folder("gemma"), margin).compare(ASKED, said("fox"), said("owl")).outcome == outcome


def test_special_tokens_in_texts_are_plain_text(tiny: Tiny, tiny_folder: Folder, family: str) -> None:
    judge, tokenizer = made(tiny_folder(family)), tiny(family).tokenizer
    special = tokenizer.all_special_tokens
    attack = "".join(special) + "A" + "".join(special)
    plain = judge.prompt_ids("a", "b", "c")
    attacked = judge.prompt_ids(f"a{attack}", f"b{attack}", f"c{attack}")
    marks = set(tokenizer.all_special_ids)
    assert [i for i in attacked if i in marks] == [i for i in plain if i in marks]
    assert tokenizer.decode(attacked).count(attack) == 3
    assert plain == chat.prompt_ids(tokenizer, QUESTION.format(instruction="a", first="b", second="c"))


def test_responses_are_truncated_and_prompts_are_not(tiny_folder: Folder) -> None:
    judge = made(tiny_folder("olmo"), characters=5)
    whole = judge.compare(ASKED, said("fox, "), said("owl"))
    long = judge.compare(ASKED, said("fox, and much that is not shown"), said("owl"))
    assert judge.compare(ASKED, said("fox, but another rest"), said("owl")) == long != whole
    shown = judge.tokenizer.decode(judge.prompt_ids("x", "fox, and more", "owl"))
    assert "fox, \n[only the first 5 characters are shown]\n" in shown and shown.count("[only") == 1
    assert judge.compare(ASKED, said("fox; "), said("owl")) != whole
    count = len(judge.prompt_ids(ASKED.text, "fox, ", "owl"))
    assert made(tiny_folder("olmo"), tokens=count).compare(ASKED, said("fox, "), said("owl")) == whole
    short = made(tiny_folder("olmo"), tokens=count - 1).compare(ASKED, said("fox, "), said("owl"))
    assert (short.outcome, short.scores) == ("unscored", None)
    assert short.reason == f"the judging prompt has {count} tokens, above {count - 1}"


def test_scores_that_are_not_finite_are_unscored(tiny: Tiny, tmp_path: Path) -> None:
    broken = tiny("qwen")
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    broken.model.save_pretrained(tmp_path)
    broken.tokenizer.save_pretrained(tmp_path)
    verdict = made(tmp_path).compare(ASKED, said("a"), said("b"))
    assert verdict.outcome == "unscored" and verdict.reason is not None and "not finite" in verdict.reason


def test_both_orders_are_judged(tiny_folder: Folder, tmp_path: Path) -> None:
    pair = Pair("p", ASKED.text, None, said("fox"), said("owl and bear"))
    judge = made(tiny_folder("llama"))
    with VerdictLog(tmp_path / "verdicts.jsonl") as log:
        policy_first, start_first = judge_pairs(judge, [pair], True, log)
    assert policy_first.scores == judge.compare(ASKED, pair.policy, pair.start).scores
    assert start_first.scores == judge.compare(ASKED, pair.start, pair.policy).scores


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (("x", 1.0, 2500, 99, "float32"), "margin is 1.0"),
        (("x", -0.1, 2500, 99, "float32"), "margin is -0.1"),
        (("x", 0.1, 0, 99, "float32"), "max_response_chars=0"),
        (("x", 0.1, 2500, 0, "float32"), "max_prompt_tokens=0"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_loading(
    settings: tuple[str, float, int, int, Dtype], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        LocalJudge.check(*settings)
