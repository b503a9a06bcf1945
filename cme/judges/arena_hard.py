"""Arena-Hard's judge (Li et al., arXiv 2406.11939; lmarena/arena-hard-auto, Apache-2.0): one verdict of five levels.

The judge is told by the category of a prompt what to do, and ends with one label. A label counts as in the repository's
`show_result.py`, as points of the first and the second response:

    [[A>>B]] 3, 0    [[A>B]] 1, 0    [[A=B]] 0.5, 0.5    [[B>A]] 0, 1    [[B>>A]] 0, 3

The Arena-Hard score of a model is its share of all points, over both orders of each pair; a pair without a label in
either order is left out (`analysis.stats.benchmarks`). The win rate counts each verdict once.

Deviations: the two responses are those of the policy and of the model it is compared with, where the leaderboard
compares with the answers of one fixed model per category. A prompt of other data is judged as a hard prompt.
"""

import re
from dataclasses import dataclass
from typing import Any

from cme.data.arena_hard import category_of
from cme.judges.base import JudgeVerdict, verdict_from_scores
from cme.judges.chat_format import FIELDS, check_placeholders, digest, fill
from cme.judges.server import ServerJudge
from cme.records import Generation, Prompt

PATTERNS = (r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]")
POINTS = {
    **dict.fromkeys(("A>>B", "B<<A"), (3.0, 0.0)),
    **dict.fromkeys(("A>B", "B<A"), (1.0, 0.0)),
    **dict.fromkeys(("A=B", "B=A"), (0.5, 0.5)),
    **dict.fromkeys(("B>A", "A<B"), (0.0, 1.0)),
    **dict.fromkeys(("B>>A", "A<<B"), (0.0, 3.0)),
}
"""Points of the first and the second response by label."""


@dataclass(kw_only=True, eq=False, repr=False)
class ArenaHard(ServerJudge):
    """Compares two responses with Arena-Hard's prompts. The scores of a verdict are the points of its label.

    Args:
        prompt: the user message, with `{instruction}`, `{first}` and `{second}` each once; nothing is truncated.
        system_prompts: the system message by category; the first is for prompts of other data.

    The other arguments are those of `ServerJudge`.
    """

    prompt: str
    system_prompts: dict[str, str]

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for arguments that cannot work. Sends nothing."""
        super().check(**settings)
        check_placeholders(settings["prompt"], FIELDS)
        if not settings["system_prompts"]:
            raise ValueError("system_prompts is empty; it must have a system message for each category")

    @staticmethod
    def fingerprint(**settings: Any) -> str:
        """Digest of the prompts and of how labels are read."""
        return digest(repr([settings["prompt"], settings["system_prompts"], PATTERNS, POINTS]))

    def messages(self, prompt: Prompt, first: Generation, second: Generation) -> list[dict[str, str]]:
        """The system message of the prompt's category, and the prompt with both responses."""
        fallback = next(iter(self.system_prompts.values()))
        system = self.system_prompts.get(category_of(prompt.id) or "", fallback)
        texts = dict(zip(FIELDS, (prompt.text, first.response, second.response), strict=True))
        return [{"role": "system", "content": system}, {"role": "user", "content": fill(self.prompt, texts)}]

    def parse(self, reply: str) -> JudgeVerdict:
        """The verdict of the last label in a reply. Raises ValueError if there is none, or one that is unknown."""
        for pattern in PATTERNS:
            if labels := re.findall(pattern, reply.upper()):
                if labels[-1] not in POINTS:
                    break
                return verdict_from_scores(*POINTS[labels[-1]], margin=0.0)
        raise ValueError(f"the reply has no label such as [[A>B]]: {reply[-200:]}")
