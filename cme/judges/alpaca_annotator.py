"""AlpacaEval's own annotators: their prompt, their model and settings, their parser, through the alpaca-eval package.

Dubois et al., arXiv 2404.04475 (AlpacaEval 2.0). The order of a comparison is the caller's, where alpaca-eval draws
one at random, so both orders can be asked. Scores are the annotator's probabilities that the first and the second
response are the better: over a run, the policy's mean score is what alpaca-eval calls `win_rate`, and our tie-adjusted
win rate is its `discrete_win_rate`.

The package keeps no cache here: in its own, what failed once stays failed. The server and its key are those of the
environment: OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import copy
import difflib
import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from cme import Unavailable
from cme.judges import JudgeVerdict, replace_surrogates, verdict_from_scores
from cme.records import Generation, Prompt
from cme.runtime.extras import require

# What alpaca-eval's template and ChatML take for their own marks: a text with one would be put in another's place.
TEMPLATE_MARKERS = ("{instruction}", "{output_1}", "{output_2}", "<|im_start|>", "<|im_end|>")


class _Failed(Exception):
    """The call failed; the message says how, without the server's words, which can quote a key."""


class AlpacaEvalAnnotator:
    """Compares as one of alpaca-eval's annotators does; a preference of exactly 1.5 is a tie.

    Args:
        annotator: the name of one, such as `weighted_alpaca_eval_gpt4_turbo` (AlpacaEval 2.0), or a folder with a
            `configs.yaml` in alpaca-eval's format, such as a copy of one that names another model.
        concurrency: how many rulings may be asked for at once.

    Raises ValueError for an annotator that does not exist, that draws from several, or that has no template.
    """

    def __init__(self, annotator: str, concurrency: int) -> None:
        self.check(annotator, concurrency)
        self.concurrency = concurrency
        require("alpaca_eval", "alpaca", f"the annotator {annotator}")
        level = logging.root.level
        with warnings.catch_warnings(action="ignore"):  # it imports pkg_resources, which says that it is old
            from alpaca_eval.annotators import PairwiseAnnotator
            from alpaca_eval.decoders import openai as decoder
            from alpaca_eval.processors import RandomSwitchTwoColumnsProcessor

        logging.root.setLevel(level)  # the package sets it to INFO, and logs to the root itself
        logging.root.addFilter(_not_by_alpaca_eval)
        decoder.tqdm = SimpleNamespace(tqdm=_no_bar)  # it would draw one a call
        try:
            pool = PairwiseAnnotator(annotators_config=_place(annotator), caching_path=None)
        except FileNotFoundError as error:
            raise ValueError(
                f"annotator is {annotator!r}, whose prompt_template is not at {error.filename}: give its whole path"
            ) from error
        if len(pool.annotators) != 1:
            raise ValueError(
                f"annotator is {annotator!r}, which draws from {', '.join(pool.annotators)}: name one of a kind"
            )
        [self._annotator] = pool.annotators.values()
        # not an argument above, since some annotators' own configurations give it too
        self._annotator.processors = [
            p for p in self._annotator.processors if not isinstance(p, RandomSwitchTwoColumnsProcessor)
        ]

    @staticmethod
    def check(annotator: str, concurrency: int) -> None:
        """Raise ValueError for an annotator that does not exist, or no concurrency; loads nothing."""
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; it must be at least 1")
        if not (Path(_place(annotator)) / "configs.yaml").is_file():
            near = difflib.get_close_matches(annotator, [p.name for p in _folder().iterdir()], n=1)
            hint = f"did you mean {near[0]}?" if near else "name one of alpaca-eval's, or a folder with one"
            raise ValueError(f"annotator is {annotator!r}, which has no configs.yaml; {hint}")

    @staticmethod
    def fingerprint(annotator: str, concurrency: int) -> str:
        """The alpaca-eval version, and a digest of the annotator's files, which its name alone does not tell."""
        config = Path(_place(annotator)) / "configs.yaml"
        templates = [str(each.get("prompt_template")) for each in yaml.safe_load(config.read_text()).values()]
        files = [config, *(path for name in templates if (path := _folder() / name).is_file())]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
        return f"alpaca-eval {version('alpaca-eval')}, {digest}"

    def rule(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses, the first shown first. A call that fails is unscored; equal texts tie unasked.

        A preference of 0 is a tie, as alpaca-eval's `completion_parsers` define it for all parsers.
        """
        if first.response == second.response:  # as in alpaca-eval
            return verdict_from_scores(0.5, 0.5, margin=0)
        texts = (
            replace_surrogates(prompt.text),
            replace_surrogates(first.response),
            replace_surrogates(second.response),
        )
        found = [mark for mark in TEMPLATE_MARKERS if any(mark in text for text in texts)]
        if found:
            return JudgeVerdict(
                "unscored", f"a text has {found[0]}, which alpaca-eval takes for a mark of its own"
            )
        said: list[str] = []
        try:
            preference = self._preference(texts, said)
        except _Failed as error:
            return JudgeVerdict("unscored", str(error), calls=1, usd=None)
        if preference is None:
            reply = f"the reply {said[0][:80]!r} has" if said and said[0].strip() else "no reply, so"
            reason = f"{reply} no preference that alpaca-eval reads"
            return JudgeVerdict("unscored", reason, calls=1, usd=None)
        return replace(verdict_from_scores(2 - preference, preference - 1, margin=0), calls=1, usd=None)

    def probe(self) -> None:
        """Ask once, before a run begins. Raises Unavailable with the reason for which nothing would be scored."""
        question = Prompt("probe", "What is the capital of France?")
        ruling = self.rule(question, Generation("Paris.", True, None), Generation("Rome.", True, None))
        if ruling.outcome == "unscored":
            raise Unavailable(
                f"judge alpaca_eval: {ruling.reason}: set OPENAI_BASE_URL and OPENAI_API_KEY, or use another judge"
            )

    def _preference(self, texts: tuple[str, str, str], said: list[str]) -> float | None:
        """From 1, the first is better, to 2, the second is; None where there is none. Puts the reply in `said`."""
        import pandas as pd

        annotator = copy.copy(self._annotator)  # one a call, so that calls can run side by side

        def complete(prompts: Sequence[str], **settings: Any) -> Any:
            completions = _completed(self._annotator.fn_completions, prompts, settings)
            said.extend(str(text) for text in completions["completions"])
            return completions

        def parse(completion: Any) -> list[Any]:
            found = list(self._annotator.fn_completion_parser(completion))
            odd.extend(p for p in found if isinstance(p, int | float) and p != 0 and (p < 1 or p > 2))
            return [1.5 if p == 0 else None if p in odd else p for p in found]

        odd: list[float] = []
        annotator.fn_completion_parser = parse
        annotator.fn_completions = complete
        asked = pd.DataFrame([texts], columns=["instruction", "output_1", "output_2"])
        annotated = annotator(asked)
        if annotated.empty and odd:
            raise _Failed(f"the preference is {odd[0]:g}, neither from 1 to 2 nor 0 for a tie")
        return None if annotated.empty else float(annotated["preference"].iloc[0])


def _completed(complete: Any, prompts: Sequence[str], settings: dict[str, Any]) -> Any:
    import openai

    try:
        return complete(prompts=prompts, **settings)
    except openai.APIStatusError as error:
        raise _Failed(f"the server answered {error.status_code} ({type(error).__name__})") from error
    except openai.OpenAIError as error:
        raise _Failed(f"the call failed: {type(error).__name__}") from error
    except (AssertionError, AttributeError, TypeError) as error:  # alpaca-eval reads the reply unchecked
        raise _Failed(
            f"the reply is not a chat completion with its usage ({type(error).__name__})"
        ) from error


def _folder() -> Path:
    spec = find_spec("alpaca_eval")
    if spec is None or spec.origin is None:
        raise ValueError("judge alpaca_eval needs the package alpaca-eval: run `make install`")
    return Path(spec.origin).parent / "evaluators_configs"


def _place(annotator: str) -> str:
    """The folder of an annotator: the package's, or the caller's own."""
    return str(_folder() / annotator if (_folder() / annotator).is_dir() else Path(annotator).resolve())


def _not_by_alpaca_eval(record: logging.LogRecord) -> bool:
    return "alpaca_eval" not in Path(record.pathname).parts


def _no_bar(rows: Any, **_: Any) -> Any:
    return rows
