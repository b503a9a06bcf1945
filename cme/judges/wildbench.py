"""WildBench's judges (Lin et al., arXiv 2406.04770; allenai/WildBench, Apache-2.0), which read a checklist per prompt.

`WildBench` compares two responses, and `WildBenchScore` grades each by itself. Their measures, over the verdicts of a
run (`analysis.stats.benchmarks`):

    WB-Reward   mean reward of the policy: 1 much better, 0.5 slightly better, 0 equal, -0.5 and -1 likewise.
                A response that is slightly better and longer by more than `length_margin` characters is equal.
    WB-Score    mean of (grade - 5) * 2 over the policy's responses, with grades from 1 to 10.

Deviations: the two responses are those of the policy and of the model it is compared with, where WB-Reward is the mean
over three fixed models. WildBench shows a pair in one random order; here the caller chooses it, so that both can be
judged. A reply without a choice is asked for again, and then unscored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cme import Unavailable
from cme.data import files, wildbench
from cme.judges.base import JudgeVerdict, verdict_from_scores
from cme.judges.chat_format import check_placeholders, digest, fill, without_fence
from cme.judges.server import ServerJudge
from cme.records import Generation, Prompt, parse_json

REWARDS = {"A++": 1.0, "A+": 0.5, "A=B": 0.0, "B+": -0.5, "B++": -1.0}
"""Reward of the first response by choice; that of the second is its negative."""

TRIAL = wildbench.Task([{"role": "user", "content": "Name a colour."}], ("Does the response name a colour?",))


@dataclass(kw_only=True, eq=False, repr=False)
class WildBench(ServerJudge):
    """Compares two responses with WildBench's prompt. The scores of a verdict are the rewards of both responses.

    Args:
        prompt: the question, with `{history}`, `{query}`, `{first}`, `{second}` and `{checklist}` each once.
        max_words: the longest text in words; a longer one is cut and marked as truncated; None for no limit.
        length_margin: characters by which a slightly better response may be longer; None for no margin.
        path, revision: where the checklists are read from, as for `data=wildbench`.

    The other arguments are those of `ServerJudge`.
    """

    NEUTRAL = ServerJudge.NEUTRAL | {"path", "revision"}  # the fingerprint has the version of what is there
    FIELDS: ClassVar[tuple[str, ...]] = ("{history}", "{query}", "{first}", "{second}", "{checklist}")

    prompt: str
    max_words: int | None
    length_margin: int | None = None
    path: str | None = None
    revision: str | None = None

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for arguments that cannot work. Sends nothing."""
        super().check(**settings)
        check_placeholders(settings["prompt"], cls.FIELDS)
        for name in ("max_words", "length_margin"):
            if settings.get(name) is not None and settings[name] < 0:
                raise ValueError(f"{name}={settings[name]}; it must be at least 0, or null")

    @staticmethod
    def fingerprint(**settings: Any) -> str:
        """Digest of the prompt, of how replies are read, and of the version of the checklists."""
        version = files.Copy(wildbench.SOURCE, settings.get("path"), settings.get("revision")).version
        return digest(repr([settings["prompt"], REWARDS, version]))

    @staticmethod
    def missing(prompt: Prompt, *responses: Generation) -> str | None:
        """A sentence for a prompt that is not of WildBench."""
        return None if prompt.id.startswith(wildbench.PREFIX) else "it has no checklist of WildBench"

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses; an empty one loses by far without a call, and two empty ones tie."""
        if (lack := self._lack(prompt)) is not None:
            return JudgeVerdict("unscored", lack)
        empty = [not one.response.strip() for one in (first, second)]
        if any(empty):
            reward = float(empty[1]) - float(empty[0])
            return verdict_from_scores(reward, -reward, margin=0.0)
        verdict = super().compare(prompt, first, second)
        if verdict.scores is None or self.length_margin is None:
            return verdict
        shown = [len(self._shorten(one.response).strip()) for one in (first, second)]
        longer = shown[0] - shown[1]
        slight = abs(verdict.scores[0]) == REWARDS["A+"]
        if slight and (longer if verdict.outcome == "first" else -longer) > self.length_margin:
            return replace(verdict, outcome="tie", scores=(0.0, 0.0))
        return verdict

    def messages(self, prompt: Prompt, first: Generation, second: Generation) -> list[dict[str, str]]:
        """The judging prompt with the conversation, the responses and the checklist."""
        task = self._task(prompt)
        names = {"user": "USER", "assistant": "ASSISTANT"}
        turns = [f"{names[m['role']]}: {m['content']}\n\n" for m in task.messages[:-1] if m["role"] in names]
        texts = ("".join(turns), task.messages[-1]["content"], first.response, second.response)
        values = dict(zip(WildBench.FIELDS, map(self._shorten, texts), strict=False))
        values["{checklist}"] = "".join(f"- {item}\n" for item in task.checklist)
        return [{"role": "user", "content": fill(self.prompt, values)}]

    def parse(self, reply: str) -> JudgeVerdict:
        """The verdict of the choice in a reply. Raises ValueError if there is none."""
        choice = read_value(reply, "choice").strip()
        if choice not in REWARDS:
            raise ValueError(f"the choice is {choice!r}; it must be one of {', '.join(REWARDS)}")
        return verdict_from_scores(REWARDS[choice], -REWARDS[choice], margin=0.0)

    def _lack(self, prompt: Prompt) -> str | None:
        known = prompt.id == "trial" or prompt.id in wildbench.tasks(self.path, self.revision)
        return None if known else f"the prompt {prompt.id} has no checklist of WildBench"

    def _task(self, prompt: Prompt) -> wildbench.Task:
        if not prompt.id.startswith(wildbench.PREFIX):  # the trial, or an estimate of tokens
            return replace(TRIAL, messages=[{"role": "user", "content": prompt.text}])
        return wildbench.tasks(self.path, self.revision)[prompt.id]

    def _shorten(self, text: str) -> str:
        words = text.split(" ")
        if self.max_words is None or len(words) <= self.max_words:
            return text
        return f"{' '.join(words[: self.max_words])}... (truncated)"


class WildBenchScore(WildBench):
    """Grades each response by itself from 1 to 10, two requests per comparison; the scores are the two grades.

    `prompt` has `{history}`, `{query}`, `{first}` and `{checklist}`. An empty response has grade 1. Equal grades tie.
    """

    FIELDS = ("{history}", "{query}", "{first}", "{checklist}")
    calls_per_comparison = 2

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by their grades."""
        if (lack := self._lack(prompt)) is not None:
            return JudgeVerdict("unscored", lack)
        grades: list[JudgeVerdict] = []
        try:
            for response in (first, second):
                grades.append(self._grade(prompt, response))
        except Unavailable as error:  # the first grade is paid for
            error.calls, error.usd = _spent([*grades, error])
            raise
        calls, usd = _spent(grades)
        if failed := next((grade for grade in grades if grade.scores is None), None):
            return replace(failed, calls=calls, usd=usd)
        one, other = (grade.scores[0] for grade in grades if grade.scores is not None)
        return replace(verdict_from_scores(one, other, margin=0.0), calls=calls, usd=usd)

    def parse(self, reply: str) -> JudgeVerdict:
        """The grade in a reply, as both scores of a tie. Raises ValueError if there is none."""
        grade = float(read_value(reply, "score"))
        if not 1 <= grade <= 10:
            raise ValueError(f"the grade is {grade:g}; it must be from 1 to 10")
        return JudgeVerdict("tie", scores=(grade, grade))

    def _grade(self, prompt: Prompt, response: Generation) -> JudgeVerdict:
        if not response.response.strip():
            return JudgeVerdict("tie", scores=(1.0, 1.0))
        return ServerJudge.compare(self, prompt, response, response)


def _spent(grades: Sequence[JudgeVerdict | Unavailable]) -> tuple[int, float | None]:
    """Calls of all grades, and their cost in US dollars; None if prices are unknown."""
    usd = [grade.usd for grade in grades if grade.usd is not None]
    return sum(grade.calls for grade in grades), sum(usd) if len(usd) == len(grades) else None


def read_value(reply: str, key: str) -> str:
    """A value of the JSON object in a reply; the object need not be valid, as in the example of the prompt.

    Raises ValueError if it has no such value.
    """
    text = without_fence(reply)
    try:
        found = parse_json(text)
    except ValueError:
        found = dict(re.findall(rf'"({key})"\s*:\s*"([^"]*)"', text)[:1])
    if not isinstance(found, Mapping) or key not in found:
        raise ValueError(f"the reply has no {key!r}: {reply[-200:]}")
    return str(found[key])
