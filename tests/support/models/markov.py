"""A policy small enough to compute by hand: the next token depends on the last alone."""

from types import SimpleNamespace
from typing import Any, ClassVar

import torch


class Markov(torch.nn.Module):
    """A policy with the interface that scoring uses; it keeps no keys and values, so it is scored densely.

    Row i of `table` (4, 4) has the probabilities of the tokens after token i.
    """

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = (table + 1e-30).log()

    def forward(self, input_ids: torch.Tensor, logits_to_keep: int = 0, **_: Any) -> Any:
        return SimpleNamespace(logits=self.table[input_ids][:, -logits_to_keep:])

    def get_output_embeddings(self) -> Any:
        return SimpleNamespace(weight=self.table.T, bias=None)

    def get_decoder(self) -> Any:
        one_hot = torch.eye(4)
        return lambda input_ids, **_: SimpleNamespace(last_hidden_state=one_hot[input_ids])


class Digits:
    """A tokenizer of four digits without a template and without control tokens."""

    added_tokens_decoder: ClassVar[dict[int, Any]] = {}

    def __len__(self) -> int:
        return 4

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return messages[-1]["content"]

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(c) for c in text]}


def trainer(table: torch.Tensor) -> Any:
    """A trainer whose policy is Markov, wrapped as accelerate wraps it, with the fields that a reward reads."""
    return SimpleNamespace(processing_class=Digits(), model=torch.nn.DataParallel(Markov(table)))
