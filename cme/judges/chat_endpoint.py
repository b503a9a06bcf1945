"""A language model as judge with a prompt of this project, behind any OpenAI-compatible chat endpoint.

The model answers with one JSON object or, for `reply="label"`, with one token whose log-probabilities are read; see
`cme.judges.chat_format`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from cme.judges.base import JudgeVerdict
from cme.judges.chat_format import (
    FIELDS,
    check_placeholders,
    fingerprint,
    judging_prompt,
    parse_reply,
    verdict_from_logprobs,
)
from cme.judges.server import ServerJudge
from cme.records import Generation, Prompt


@dataclass(kw_only=True, eq=False, repr=False)
class ChatEndpoint(ServerJudge):
    """Compares two responses by asking a chat model.

    Args:
        prompt: the question, with `{instruction}`, `{first}` and `{second}` each once.
        reply_with: instructions for the reply, appended to the prompt.
        reply: `json`, an object with `winner` (A, B or tie) and `reason`; or `label`, one token, A or B, whose
            `top_logprobs` give P(first) = p(A) / (p(A) + p(B)). The scores are then (P(first), P(second)).
        tie_margin: with `label`, difference of the scores up to which the verdict is a tie.
        min_label_mass: with `label`, the least probability of A and B together; below it the verdict is unscored.
        max_response_chars: longer responses are truncated to this length, with a note that says so.

    The other arguments are those of `ServerJudge`.
    """

    prompt: str
    reply_with: str
    reply: Literal["json", "label"]
    tie_margin: float
    max_response_chars: int
    min_label_mass: float = 0.5

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for arguments that cannot work. Sends nothing."""
        super().check(**settings)
        check_placeholders(settings["prompt"], FIELDS)
        if settings["reply"] == "label" and not settings["decoding"].get("top_logprobs"):
            raise ValueError(
                "reply=label reads decoding.top_logprobs; set it, and set decoding.logprobs=true"
            )
        if settings["max_response_chars"] <= 0:
            raise ValueError(f"max_response_chars={settings['max_response_chars']}; it must be above 0")
        if settings["tie_margin"] < 0:
            raise ValueError(f"tie_margin={settings['tie_margin']}; it must be at least 0")
        if not 0 <= settings.get("min_label_mass", 0) <= 1:
            raise ValueError(f"min_label_mass={settings['min_label_mass']}; it must be from 0 to 1")

    @staticmethod
    def fingerprint(**settings: Any) -> str:
        """Digest of the fixed parts of the judging prompt and of how replies are read."""
        return fingerprint(f"{settings['prompt']}\n{settings['reply_with']}", settings["max_response_chars"])

    def messages(self, prompt: Prompt, first: Generation, second: Generation) -> list[dict[str, str]]:
        """The judging prompt with both responses between marker lines."""
        question = f"{self.prompt}\n{self.reply_with}"
        shown = prompt.text, first.response, second.response
        return [{"role": "user", "content": judging_prompt(question, *shown, self.max_response_chars)}]

    def read_choice(self, choice: Any) -> JudgeVerdict:
        """The verdict in the text of a choice or, with `label`, in the log-probabilities of its first token.

        Raises ValueError for a choice without a verdict.
        """
        if self.reply == "json":
            return super().read_choice(choice)
        try:
            top_logprobs = choice["logprobs"]["content"][0]["top_logprobs"]
            return verdict_from_logprobs(top_logprobs, self.tie_margin, self.min_label_mass)
        except (LookupError, TypeError, AttributeError):
            raise ValueError(f"the reply has no top_logprobs: {choice}") from None

    def parse(self, reply: str) -> JudgeVerdict:
        """The verdict in a JSON object. Raises ValueError for another reply."""
        return parse_reply(reply)
