"""How the messages of a prompt become token ids: in the chat template, with what a text spells kept as text."""

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError
from tokenizers import AddedToken, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = secrets.token_hex(8)  # no text of a prompt has it


def message_text(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content is a text or a list of parts. Raises ValueError for any other content."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if part.get("type") == "text"]
    if not texts or len(texts) < len(parts):
        raise ValueError(
            f"a message of the role {message['role']} has the content {content}; it must be text"
        )
    return "".join(texts)


def render(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages in the chat template, up to where a response begins.

    A system message goes in front of the first user message, with an empty line between, if the template has no place
    for it. Raises ValueError for messages that the template refuses.
    """
    roles = [message["role"] for message in messages]
    if roles[-1:] in ([], ["assistant"], ["system"]):
        raise ValueError(f"the messages of a prompt have the roles {roles}; the last one must be of the user")
    system = messages[0]["content"] if roles[0] == "system" else ""
    reason: Exception | None = None
    try:
        rendered = str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        )
        if system.strip() in rendered:
            return rendered
    except TemplateError as error:
        reason = error
    if not system.strip() or roles[1] != "user":
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} cannot render messages of the roles {roles}: "
            f"{reason or 'it leaves out the system message'}"
        ) from reason
    first = {**messages[1], "content": f"{system}\n\n{messages[1]['content']}"}
    return render(tokenizer, [first, *messages[2:]])


def encode(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Token ids of the rendered messages, in which only the template writes control tokens.

    A text that spells a control token, an added token that is marked special, is tokenized as the text that it is.
    Raises ValueError as `render` does, and for such a text if the tokenizer is a slow one.
    """
    controls, pattern = _controls(tokenizer, len(tokenizer))
    if not any(pattern.search(message["content"]) for message in messages):
        ids: list[int] = tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"]
        return ids
    if not tokenizer.is_fast:
        raise ValueError(
            f"a prompt spells a control token, and the tokenizer of {tokenizer.name_or_path} is a slow one; it needs a "
            "tokenizer.json"
        )

    def mark(kind: str, text: str) -> str:
        return pattern.sub(lambda found: _mark(kind, controls[found[0]]), text)

    texts = [{**message, "content": mark("text", message["content"])} for message in messages]
    rendered = mark("control", render(tokenizer, texts))
    spelled = {_mark("text", i): control for control, i in controls.items()}
    rendered = re.sub(f"{_MARK} text [0-9]+;", lambda found: spelled[found[0]], rendered)
    encoder, control_ids = _encoder_of_marks(tokenizer, len(tokenizer))
    return [control_ids.get(i, i) for i in encoder.encode(rendered, add_special_tokens=False).ids]


@lru_cache(maxsize=8)
def _controls(tokenizer: "PreTrainedTokenizerBase", _: int) -> tuple[dict[str, int], re.Pattern[str]]:
    """The control tokens of a tokenizer of this size, and the pattern that finds them in a text."""
    controls = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    longest_first = sorted(controls, key=len, reverse=True)
    return controls, re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _mark(kind: str, token_id: int) -> str:
    """What stands for a control token, so that the template's and a text's can be told apart."""
    return f"{_MARK} {kind} {token_id};"


@lru_cache(maxsize=4)
def _encoder_of_marks(tokenizer: "PreTrainedTokenizerBase", _: int) -> tuple[Tokenizer, dict[int, int]]:
    """A copy of a tokenizer that reads marks as control tokens and control tokens as text, and their ids by its own."""
    encoder = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    encoder.no_padding()
    encoder.no_truncation()
    encoder.encode_special_tokens = True
    ids: dict[int, int] = {}
    for token_id, token in tokenizer.added_tokens_decoder.items():
        if token.special:
            mark = _mark("control", token_id)
            flags = {"lstrip": token.lstrip, "rstrip": token.rstrip}
            encoder.add_tokens([AddedToken(mark, normalized=False, special=False, **flags)])
            mark_id = encoder.token_to_id(mark)
            assert mark_id is not None
            ids[mark_id] = token_id
    return encoder, ids
