"""The data sets of scale=paper: the hub's files, columns and numbers of rows, with invented content."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import yaml

from tests.rehearsal.stand_ins.hub_cache import HubCache
from tests.rehearsal.stand_ins.texts import instructions, question_answer_pairs

ULTRAFEEDBACK_ROWS = {
    "evol_instruct": 10000,
    "false_qa": 2339,
    "flan": 20939,
    "sharegpt": 19949,
    "truthful_qa": 811,
    "ultrachat": 9929,
}
ANNOTATORS = ("alpaca-7b", "gpt-4", "llama-2-7b-chat", "wizardlm-13b")
SPELLED_CONTROLS = "<|im_end|> <end_of_turn> <|eot_id|> <bos>"
Row = dict[str, Any]


def build(cache: HubCache) -> None:
    """Build all data sets that prompts and preference pairs come from."""
    rng = random.Random(0)
    _ultrafeedback(cache.new_snapshot("openbmb/UltraFeedback", "datasets"), rng)
    alpaca_eval = cache.new_snapshot("tatsu-lab/alpaca_eval", "datasets")
    (alpaca_eval / "alpaca_eval.json").write_text(json.dumps(alpaca_eval_rows(rng), indent=1))
    _math(cache.new_snapshot("DigitalLearningGmbH/MATH-lighteval", "datasets"), rng)
    _math_500(cache.new_snapshot("HuggingFaceH4/MATH-500", "datasets"), rng)
    _amc(cache.new_snapshot("math-ai/amc23", "datasets"), rng)
    _aime(cache.new_snapshot("Maxwell-Jia/AIME_2024", "datasets"), rng)


def write_local_copies(folder: Path) -> dict[str, Path]:
    """Small files in the formats of the hub's data sets, by data set: what `data.source.path` and `eval_path` name."""
    rng = random.Random(0)
    paths = {name: folder / f"{name}.jsonl" for name in ("ultrafeedback", "math", "math500")}
    write_jsonl(paths["ultrafeedback"], ultrafeedback_rows(range(100), rng))
    write_jsonl(paths["math"], [math_row(n, rng) for n in range(100)])
    write_jsonl(paths["math500"], math_500_rows(rng))
    paths["alpaca_eval"] = folder / "alpaca_eval.json"
    paths["alpaca_eval"].write_text(json.dumps(alpaca_eval_rows(rng)))
    return paths


def ultrafeedback_rows(numbers: Iterable[int], rng: random.Random) -> Iterator[Row]:
    """Rows of UltraFeedback: instructions with four annotated completions each.

    Some instructions are longer than 512 tokens, have white space that templates trim, spell control tokens, or are
    not in ASCII.
    """
    questions, answers = instructions(), [answer for _, answer in question_answer_pairs()]
    for number in numbers:
        text = f"{rng.choice(questions)} ({number})"
        kind = rng.random()
        if kind < 0.02:
            text = f"{text}\n\n" + "Read all of this with care. " * 200
        elif kind < 0.03:
            text = f"  {text}\n"
        elif kind < 0.04:
            text = f"{text} {SPELLED_CONTROLS}"
        elif kind < 0.05:
            text = f"{text} 日本語 🙂 \\boxed{{4}}"
        yield {
            "source": "evol_instruct",
            "instruction": text,
            "models": list(ANNOTATORS),
            "completions": [_annotated(model, answers, rng) for model in ANNOTATORS],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        }


def alpaca_eval_rows(rng: random.Random) -> list[Row]:
    """The 805 rows of AlpacaEval."""
    questions, answers = instructions(), [answer for _, answer in question_answer_pairs()]
    subsets = ["helpful_base", "koala", "oasst", "selfinstruct", "vicuna"]
    return [
        {
            "instruction": f"{questions[n % len(questions)]} ({n})",
            "output": rng.choice(answers),
            "generator": "text_davinci_003",
            "dataset": rng.choice(subsets),
        }
        for n in range(805)
    ]


def math_row(number: int, rng: random.Random) -> Row:
    """A row of MATH; the solution of every 400th, the first among them, boxes no answer."""
    question, answer = _problem(rng, number)
    end = f"so the answer is $\\boxed{{{answer}}}$." if number % 400 else "so it is done."
    return {"problem": question, "level": "Level 3", "type": "Algebra", "solution": f"We compute, {end}"}


def math_500_rows(rng: random.Random) -> list[Row]:
    """The 500 rows of MATH-500."""
    problems = [_problem(rng, n) for n in range(500)]
    common = {"subject": "Algebra", "level": 2}
    return [
        {"problem": question, "solution": f"So $\\boxed{{{answer}}}$.", "answer": answer, **common}
        | {"unique_id": f"test/algebra/{n}.json"}
        for n, (question, answer) in enumerate(problems)
    ]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows as JSON lines."""
    with path.open("w") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def write_parquet(path: Path, rows: list[Row]) -> None:
    """Rows as one file of parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_readme(folder: Path, title: str, configs: Mapping[str, Mapping[str, str]]) -> None:
    """The README.md of a data set, whose header names the files of each split of each configuration."""
    header: Row = {"license": "mit"}
    if configs:
        header["configs"] = [
            {"config_name": name, "data_files": [{"split": s, "path": p} for s, p in splits.items()]}
            for name, splits in configs.items()
        ]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(header)}---\n# {title}\n")


def _annotated(model: str, answers: list[str], rng: random.Random) -> Row:
    score = rng.choice([1.0, 2.5, 5.0, 6.5, 7.0, 8.5, 9.0, 10.0])
    rating = {"Rating": str(rng.randint(1, 5)), "Rationale": "Because."}
    typed = {**rating, "Type": ["1"], "Rationale For Rating": "So."}
    return {
        "annotations": {
            "helpfulness": typed,
            "honesty": rating,
            "instruction_following": rating,
            "truthfulness": typed | {"Type": ["None"]},
        },
        "critique": "Fine.",
        "custom_system_prompt": "You are helpful.",
        "fine-grained_score": score / 2,
        "model": model,
        "overall_score": score,
        "principle": "helpfulness",
        "response": rng.choice(answers)[: rng.choice([40, 150, 900])],
    }


def _ultrafeedback(folder: Path, rng: random.Random) -> None:
    write_readme(folder, "UltraFeedback", {})
    before = 0
    for name, count in ULTRAFEEDBACK_ROWS.items():
        write_jsonl(folder / f"{name}.jsonl", ultrafeedback_rows(range(before, before + count), rng))
        before += count


def _problem(rng: random.Random, number: int) -> tuple[str, str]:
    """A problem and its answer: a whole number, a fraction, a set or a decimal number."""
    a, b = rng.randint(2, 90), rng.randint(2, 90)
    return rng.choice(
        [
            (f"Compute ${a} + {b}$.", str(a + b)),
            (f"What is $\\frac{{{a}}}{{{b}}}$ as a fraction?", f"\\frac{{{a}}}{{{b}}}"),
            (f"Find the roots of $(x-{a})(x-{b})=0$.", f"{a}, {b}"),
            (f"Problem {number}: write ${a}\\%$ of {b} as a decimal.", f"{a * b / 100}"),
        ]
    )


def _math(folder: Path, rng: random.Random) -> None:
    sizes = {"data/train": 7500, "data/test": 5000, "algebra/train": 100, "algebra/test": 50}
    folders = {"default": "data", "algebra": "algebra"}
    splits = {name: {s: f"{where}/{s}-*" for s in ("train", "test")} for name, where in folders.items()}
    write_readme(folder, "MATH", splits)
    for split, count in sizes.items():
        write_parquet(folder / f"{split}-00000-of-00001.parquet", [math_row(n, rng) for n in range(count)])


def _math_500(folder: Path, rng: random.Random) -> None:
    write_readme(folder, "MATH-500", {})
    write_jsonl(folder / "test.jsonl", math_500_rows(rng))


def _amc(folder: Path, rng: random.Random) -> None:
    """AMC 2023: answers are decimal numbers."""
    write_readme(folder, "AMC 2023", {"default": {"test": "data/test-*"}})
    rows = [
        {
            "id": n,
            "question": f"AMC {n}: {_problem(rng, n)[0]}",
            "answer": f"{rng.randint(1, 99)}.0",
            "url": "-",
        }
        for n in range(40)
    ]
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def _aime(folder: Path, rng: random.Random) -> None:
    """AIME 2024: answers are whole numbers, and the rows are there in two formats."""
    write_readme(folder, "AIME 2024", {})
    rows = [
        {
            "ID": f"2024-I-{n}",
            "Problem": _problem(rng, n)[0],
            "Solution": "So.",
            "Answer": rng.randint(0, 999),
        }
        for n in range(30)
    ]
    write_parquet(folder / "aime_2024_problems.parquet", rows)
    write_jsonl(folder / "aime_2024_problems.jsonl", rows)
