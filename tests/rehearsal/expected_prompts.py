"""The table of prompts and stop tokens, and token ids by the tokenizer's file alone."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from tokenizers import Tokenizer


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


def _read() -> dict[str, ExpectedPrompt]:
    content = yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text())
    rows = content["checkpoints"].items()
    return {name: ExpectedPrompt(question=content["question"], **row) for name, row in rows}


EXPECTED = _read()


@cache
def tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a checkpoint, from its file."""
    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def ids_of(folder: str, text: str, *, controls: bool) -> list[int]:
    """Token ids of a text; with `controls`, what spells a control token is one."""
    encoder = tokenizer(folder)
    encoder.encode_special_tokens = not controls
    return list(encoder.encode(text, add_special_tokens=False).ids)
