"""What each checkpoint must do, from its files and the table written by hand (prompts.yaml), the slow, obvious way."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM


@dataclass(frozen=True)
class ExpectedPrompt:
    """One checkpoint's row; `prompt` is rendered for `question`."""

    question: str
    prompt: str
    stops: list[str]
    end_of_turn: str

    def render(self, question: str) -> str:
        """The rendered prompt of another question."""
        return self.prompt.replace(self.question, question)


_CONTENT = yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text())
EXPECTED = {
    name: ExpectedPrompt(question=_CONTENT["question"], **row)
    for name, row in _CONTENT["checkpoints"].items()
}


@cache
def tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a checkpoint, from its file."""
    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


@cache
def model(folder: str) -> Any:
    """The model of a checkpoint, in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def ids_of(folder: str, text: str, *, controls: bool) -> list[int]:
    """Token ids of a text; with `controls`, what spells a control token is one."""
    encoder = tokenizer(folder)
    encoder.encode_special_tokens = not controls
    return list(encoder.encode(text, add_special_tokens=False).ids)


@torch.no_grad()
def token_scores(
    folder: str, name: str, question: str, response: str, ended: bool, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-likelihood and entropy (T,) of a response's tokens in nats, its end of turn last where it ended.

    Of more than `limit` tokens the first ones: a response of as many of the generator's tokens may have more of these.
    """
    prompt = ids_of(folder, EXPECTED[name].render(question), controls=True)
    end = ids_of(folder, EXPECTED[name].end_of_turn, controls=True)
    tokens = [*ids_of(folder, response, controls=False), *(end if ended else [])][:limit]
    logits = model(folder)(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
    log_p = logits.double().log_softmax(-1)
    return log_p[range(len(tokens)), tokens], -(log_p.exp() * log_p).sum(-1)


@torch.no_grad()
def greedy(folder: str, name: str, question: str, tokens: int) -> tuple[str, bool, int]:
    """The response of argmax after argmax, without a cache: its text, whether it ended, and its number of tokens."""
    ids = ids_of(folder, EXPECTED[name].render(question), controls=True)
    stops = {stop for text in EXPECTED[name].stops for stop in ids_of(folder, text, controls=True)}
    new: list[int] = []
    while len(new) < tokens and not stops & set(new):
        new.append(int(model(folder)(input_ids=torch.tensor([[*ids, *new]])).logits[0, -1].argmax()))
    ended = bool(stops & set(new))
    text = tokenizer(folder).decode(new[:-1] if ended else new, skip_special_tokens=True)
    return str(text), ended, len(new)
