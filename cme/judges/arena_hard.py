"""Arena-Hard's judge (Li et al., arXiv 2406.11939; lmarena/arena-hard-auto, Apache-2.0): one verdict of five levels.

The judge is told by the category of a prompt what to do, and ends with one label. A label counts as in the repository's
`show_result.py`, as points of the first and the second response:

    [[A>>B]] 3, 0    [[A>B]] 1, 0    [[A=B]] 0.5, 0.5    [[B>A]] 0, 1    [[B>>A]] 0, 3

The Arena-Hard score of a model is its share of all points, over both orders of each pair; a pair without a label in
either order is left out (`analysis.stats.benchmarks.arena_hard_score`). The win rate counts each verdict once.

Deviations: the two responses are those of the policy and of the model it is compared with, where the leaderboard
compares with the answers of one fixed model per category. A prompt of other data is judged as a hard prompt.
"""

import re
from typing import Any

from cme.data.arena_hard import category_of
from cme.judges.base import JudgeVerdict, replace_surrogates, verdict_from_scores
from cme.judges.chat_endpoint import ChatEndpoint
from cme.judges.chat_format import FIELDS, digest
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


class ArenaHard(ChatEndpoint):
    """Compares two responses with Arena-Hard's prompts. The scores of a verdict are the points of its label.

    Args:
        prompt: the user message, with `{instruction}`, `{first}` and `{second}` each once; nothing is truncated.
        system_prompts: the system message by category; the first is for prompts of other data.

    The other arguments are those of `ChatEndpoint`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        prompt: str,
        system_prompts: dict[str, str],
        decoding: dict[str, Any],
        api_key_variable: str | None = None,
        usd_per_million_input: float | None = None,
        usd_per_million_output: float | None = None,
        max_calls: int | None = None,
        max_usd: float | None = None,
        concurrency: int = 16,
        timeout: float = 120.0,
        retries: int = 5,
    ) -> None:
        super().__init__(
            base_url,
            model,
            prompt,
            reply_with="",
            reply="json",
            tie_margin=0.0,
            decoding=decoding,
            max_response_chars=1,
            api_key_variable=api_key_variable,
            usd_per_million_input=usd_per_million_input,
            usd_per_million_output=usd_per_million_output,
            max_calls=max_calls,
            max_usd=max_usd,
            concurrency=concurrency,
            timeout=timeout,
            retries=retries,
        )
        self.prompt = prompt
        self.system_prompts = system_prompts

    @staticmethod
    def check(**settings: Any) -> None:
        """Raise ValueError for arguments that cannot work. Sends nothing."""
        if not settings["system_prompts"]:
            raise ValueError("system_prompts is empty; it must have a system message for each category")
        ChatEndpoint.check(**settings, reply="json", max_response_chars=1)

    @staticmethod
    def fingerprint(**settings: Any) -> str:
        """Digest of the prompts and of how labels are read."""
        return digest(repr([settings["prompt"], settings["system_prompts"], PATTERNS, POINTS]))

    def messages(self, prompt: Prompt, first: Generation, second: Generation) -> list[dict[str, str]]:
        """The system message of the prompt's category, and the prompt with both responses."""
        fallback = next(iter(self.system_prompts.values()))
        system = self.system_prompts.get(category_of(prompt.id) or "", fallback)
        texts = dict(zip(FIELDS, (prompt.text, first.response, second.response), strict=True))
        content = re.sub("|".join(map(re.escape, FIELDS)), lambda match: texts[match[0]], self.prompt)
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": replace_surrogates(content)},
        ]

    def parse(self, reply: str) -> JudgeVerdict:
        """The verdict of the last label in a reply. Raises ValueError if there is none, or one that is unknown."""
        for pattern in PATTERNS:
            if labels := re.findall(pattern, reply.upper()):
                if labels[-1] not in POINTS:
                    break
                return verdict_from_scores(*POINTS[labels[-1]], margin=0.0)
        raise ValueError(f"the reply has no label such as [[A>B]]: {reply[-200:]}")
