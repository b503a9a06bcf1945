"""The judge's endpoint for the prompts of Arena-Hard and WildBench."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.rehearsal.stand_ins.judge_server import JudgeServer, completion

RESPONSES = {
    "gpt-4.1": (
        r"Start of Assistant A's Answer\|>\n(.*)\n<\|The End of Assistant A",
        r"Start of Assistant B's Answer\|>\n(.*)\n<\|The End of Assistant B",
    ),
    "gpt-4-turbo-2024-04-09": (
        r"begin_of_response_A\|>\n\n(.*)\n\n<\|end_of_response_A",
        r"begin_of_response_B\|>\n\n(.*)\n\n<\|end_of_response_B",
    ),
    "gpt-4o-2024-05-13": (r"begin_of_response\|>\n\n(.*)\n\n<\|end_of_response",),
}
"""Where the responses stand in the prompt, by the model that each judge asks."""


class BenchmarkServer(JudgeServer):
    """The endpoint of these models: the longer response wins, by far if it is twice as long."""

    def reply(self, maker: str, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        message, model = body["messages"][-1]["content"], body["model"]
        lengths = [len(re.findall(pattern, message, re.DOTALL)[0]) for pattern in RESPONSES[model]]
        return completion(model, message, self.verdict(model, lengths))

    @staticmethod
    def verdict(model: str, lengths: list[int]) -> str:
        """The reply of a model to responses of such lengths."""
        if model == "gpt-4o-2024-05-13":
            return json.dumps({"strengths": "s", "weaknesses": "w", "score": str(min(10, 1 + lengths[0]))})
        a, b = lengths
        much = max(a, b) >= 2 * min(a, b)
        if model == "gpt-4.1":
            label = "A=B" if a == b else ("A>>B" if much else "A>B") if a > b else ("B>>A" if much else "B>A")
            return f"My own answer comes first. Some say [[A=B]].\n\nMy final verdict is: [[{label}]]"
        choice = "A=B" if a == b else ("A" if a > b else "B") + ("++" if much else "+")
        # with the comma of the prompt's own example, which is not valid JSON
        return f'{{"analysis of A": "[a]", "analysis of B": "[b]", "choice": "{choice}",}}'
