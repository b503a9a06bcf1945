"""AlpacaEval's annotators as judges, with their prompts, models, settings and parsers from the alpaca-eval package.

Source: Dubois et al., arXiv 2404.04475 (AlpacaEval 2.0). alpaca-eval shows each pair in one random order; here the
caller chooses the order, so both can be judged. The scores are the annotator's probabilities that the first and the
second response are better. Over a run, the policy's mean score is what alpaca-eval calls `win_rate`, and our
tie-adjusted win rate is its `discrete_win_rate`.

alpaca-eval's cache is not used, because it keeps failures. The environment variables OPENAI_BASE_URL and OPENAI_API_KEY
name the server and its key.
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
from cme.judges.base import Judge, JudgeVerdict, replace_surrogates, verdict_from_scores
from cme.models.thoughts import split_thoughts
from cme.records import Generation, Prompt
from cme.runtime.extras import install_command, require

# alpaca-eval's template and ChatML would interpret these in a text instead of showing them
TEMPLATE_MARKERS = ("{instruction}", "{output_1}", "{output_2}", "<|im_start|>", "<|im_end|>")


class _CallFailed(Exception):
    """The call failed; the message omits the server's words, which can quote the key."""


class AlpacaEvalAnnotator(Judge):
    """Compares as one of alpaca-eval's annotators does; a preference of exactly 1.5 is a tie.

    Args:
        annotator: the name of an alpaca-eval annotator, such as `weighted_alpaca_eval_gpt4_turbo` (AlpacaEval 2.0), or
            a folder with a `configs.yaml` in alpaca-eval's format, for example to use another model.
        concurrency: the number of comparisons made at the same time.

    Raises ValueError for an annotator that does not exist, that combines several annotators, or that has no template.
    """

    NEUTRAL = frozenset({"concurrency"})
    asks_server = True

    def __init__(self, annotator: str, concurrency: int) -> None:
        self.check(annotator, concurrency)
        self.concurrency = concurrency
        require("alpaca_eval", "alpaca", f"the annotator {annotator}")
        level = logging.root.level
        with warnings.catch_warnings(action="ignore"):  # the package imports the deprecated pkg_resources
            from alpaca_eval.annotators import PairwiseAnnotator
            from alpaca_eval.decoders import openai as decoder
            from alpaca_eval.processors import RandomSwitchTwoColumnsProcessor

        logging.root.setLevel(level)  # the import sets it to INFO, and the package logs to the root logger
        logging.root.addFilter(_is_not_from_alpaca_eval)
        decoder.tqdm = SimpleNamespace(tqdm=lambda rows, **_: rows)  # no progress bar for each call
        try:
            ensemble = PairwiseAnnotator(annotators_config=_annotator_folder(annotator), caching_path=None)
        except FileNotFoundError as error:
            raise ValueError(
                f"annotator is {annotator!r}, but its prompt_template {error.filename} does not exist: "
                "give its absolute path"
            ) from error
        if len(ensemble.annotators) != 1:
            raise ValueError(
                f"annotator is {annotator!r}, which combines {', '.join(ensemble.annotators)}; "
                "choose a single annotator"
            )
        [self._annotator] = ensemble.annotators.values()
        # removed here, because an argument for it fails if the annotator's configuration sets it too
        self._annotator.processors = [
            p for p in self._annotator.processors if not isinstance(p, RandomSwitchTwoColumnsProcessor)
        ]

    @staticmethod
    def check(annotator: str, concurrency: int) -> None:
        """Raise ValueError for an annotator that does not exist or a concurrency below 1. Loads nothing."""
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; it must be at least 1")
        if not (Path(_annotator_folder(annotator)) / "configs.yaml").is_file():
            near = difflib.get_close_matches(annotator, [p.name for p in _package_folder().iterdir()], n=1)
            hint = f"did you mean {near[0]}?" if near else "name an alpaca-eval annotator or a folder"
            raise ValueError(f"annotator is {annotator!r}, which has no configs.yaml; {hint}")

    @staticmethod
    def fingerprint(annotator: str, concurrency: int) -> str:
        """The version of alpaca-eval and a digest of the annotator's files."""
        config = Path(_annotator_folder(annotator)) / "configs.yaml"
        templates = [str(each.get("prompt_template")) for each in yaml.safe_load(config.read_text()).values()]
        files = [config, *(path for name in templates if (path := _package_folder() / name).is_file())]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
        return f"alpaca-eval {version('alpaca-eval')}, {digest}"

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses. A failed call is unscored; equal responses tie without a call.

        A preference of 0 is a tie, as alpaca-eval's `completion_parsers` define it for all parsers.
        """
        if first.response == second.response:  # a tie in alpaca-eval too
            return verdict_from_scores(0.5, 0.5, margin=0)
        texts = tuple(replace_surrogates(text) for text in (prompt.text, first.response, second.response))
        if markers := [marker for marker in TEMPLATE_MARKERS if any(marker in text for text in texts)]:
            return JudgeVerdict(
                "unscored", f"a text contains {markers[0]}, which alpaca-eval would interpret"
            )
        replies: list[str] = []
        try:
            preference = self._preference(texts, replies)
        except _CallFailed as error:
            return JudgeVerdict("unscored", str(error), calls=1, usd=None)
        if preference is None:
            reply = f"the reply {replies[0][:80]!r}" if replies and replies[0].strip() else "an empty reply"
            reason = f"{reply} has no preference that alpaca-eval can read"
            return JudgeVerdict("unscored", reason, calls=1, usd=None)
        return replace(verdict_from_scores(2 - preference, preference - 1, margin=0), calls=1, usd=None)

    def probe(self) -> None:
        """Judge a trial pair. Raises Unavailable if that gives no verdict."""
        trial = Prompt("probe", "What is the capital of France?")
        verdict = self.compare(trial, Generation("Paris.", True, None), Generation("Rome.", True, None))
        if verdict.outcome == "unscored":
            raise Unavailable(
                f"judge alpaca_eval gives no verdict on a trial pair: {verdict.reason}; "
                "set OPENAI_BASE_URL and OPENAI_API_KEY, or use another judge"
            )

    def _preference(self, texts: Sequence[str], replies: list[str]) -> float | None:
        """The preference, from 1 (first is better) to 2 (second is better), or None. Appends the reply to `replies`."""
        import openai
        import pandas as pd

        annotator = copy.copy(self._annotator)  # one per call, so that calls can run in parallel
        invalid: list[float] = []

        def complete(prompts: Sequence[str], **settings: Any) -> Any:
            try:
                completions = self._annotator.fn_completions(prompts=prompts, **settings)
            except openai.APIStatusError as error:
                failure = f"the server answered {error.status_code} ({type(error).__name__})"
                raise _CallFailed(failure) from error
            except openai.OpenAIError as error:
                raise _CallFailed(f"the call failed: {type(error).__name__}") from error
            except (AssertionError, AttributeError, TypeError) as error:  # alpaca-eval does not check replies
                failure = f"the reply is not a chat completion with its usage ({type(error).__name__})"
                raise _CallFailed(failure) from error
            replies.extend(str(text) for text in completions["completions"])
            return completions

        def parse(completion: Any) -> list[Any]:
            if isinstance(completion, str):
                completion = split_thoughts(completion).response
            preferences = list(self._annotator.fn_completion_parser(completion))
            invalid.extend(
                p for p in preferences if isinstance(p, int | float) and p != 0 and (p < 1 or p > 2)
            )
            return [1.5 if p == 0 else None if p in invalid else p for p in preferences]

        annotator.fn_completion_parser = parse
        annotator.fn_completions = complete
        annotated = annotator(pd.DataFrame([texts], columns=["instruction", "output_1", "output_2"]))
        if annotated.empty and invalid:
            raise _CallFailed(f"the preference is {invalid[0]:g}; it must be from 1 to 2, or 0 for a tie")
        return None if annotated.empty else float(annotated["preference"].iloc[0])


def _package_folder() -> Path:
    spec = find_spec("alpaca_eval")
    if spec is None or spec.origin is None:
        raise ValueError(
            f"needs the package alpaca-eval, which is not installed: {install_command('alpaca')}"
        )
    return Path(spec.origin).parent / "evaluators_configs"


def _annotator_folder(annotator: str) -> str:
    """The folder of an annotator in the package or, if there is none, the user's folder."""
    packaged = _package_folder() / annotator
    return str(packaged if packaged.is_dir() else Path(annotator).resolve())


def _is_not_from_alpaca_eval(record: logging.LogRecord) -> bool:
    return "alpaca_eval" not in Path(record.pathname).parts
