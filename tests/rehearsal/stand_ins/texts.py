"""Texts that the stand-ins learn: the library's bundled instructions, and some that are hard to tokenize."""

import json
from pathlib import Path

BUNDLED = Path(__file__).resolve().parents[3] / "cme" / "data" / "instructions"
HARD_TEXTS = (
    "def add(a, b):\n    return a + b\n",
    "x = \\frac{1}{2} \\boxed{\\frac{3}{4}} $12.50$ 1,234",
    "日本語 naïve café 🙂🙃 Ωmega",
    "### Instruction:\n\n### Response:\n",
)


def question_answer_pairs() -> list[tuple[str, str]]:
    """Instructions with reference answers."""
    rows = [json.loads(line) for line in (BUNDLED / "eval.jsonl").read_text().splitlines()]
    return [(row["instruction"], row["reference"]) for row in rows]


def instructions() -> list[str]:
    """Instructions, those with answers last."""
    rows = [json.loads(line) for line in (BUNDLED / "train.jsonl").read_text().splitlines()]
    return [row["instruction"] for row in rows] + [question for question, _ in question_answer_pairs()]


def corpus() -> list[str]:
    """What the tokenizers are trained on."""
    answered = [f"{question}\n\n{answer}" for question, answer in question_answer_pairs()]
    return [*answered * 3, *instructions() * 2, *HARD_TEXTS]
