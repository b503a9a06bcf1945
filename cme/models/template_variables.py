"""Values of the variables of a chat template, written into the template, so that all that renders it uses them.

These are this library, TRL, lm-eval, and whoever loads a policy that was saved with its tokenizer. The values are
defaults: `tokenizer.apply_chat_template(..., enable_thinking=True)` replaces them.
"""

import datetime
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cme.models.rendering import render
from cme.models.thoughts import opened_thought

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE = "2024-07-26"
"""What a template writes as today's date: the date of Llama 3's templates where they are given none."""

DEFAULTS: dict[str, Any] = {"date": DATE, "enable_thinking": None, "close_thought": False}
"""The values of the configuration's defaults: the fixed date alone."""

OWN_VARIABLES = ("date", "close_thought")
"""Variables that this module defines."""

_HEAD_END = "{# the template of the checkpoint begins #}\n"
_TAIL_BEGIN = "{# the template of the checkpoint ends #}"
_DIRECTIVES = ("-d", "-m", "-I", "-H", *"aAbBcdeDFHIjmMpSTuUwWxXyYZ")


def check(values: Mapping[str, Any] | None) -> None:
    """Raise ValueError for values that no template can have."""
    for name, value in (values or {}).items():
        if not name.isidentifier():
            raise ValueError(f"chat_template_kwargs has {name}, which is not the name of a variable")
        if name in ("enable_thinking", "close_thought") and not isinstance(value, bool | None):
            raise ValueError(f"chat_template_kwargs.{name}={value}; it must be true or false")
        if name == "date" and value is not None:
            try:
                datetime.date.fromisoformat(str(value))
            except ValueError:
                raise ValueError(
                    f"chat_template_kwargs.date={value}; it must be a date such as {DATE}"
                ) from None


def set_variables(tokenizer: "PreTrainedTokenizerBase", values: Mapping[str, Any] | None = None) -> None:
    """Write values into the tokenizer's chat template, in place of those that an earlier call has written.

    Args:
        tokenizer: The tokenizer, with a chat template.
        values: Variables of the template, such as `enable_thinking`; those that are None, or that it does not use, have
            no effect. `date` is what it writes as today's date, by default `DATE`. With `close_thought`, a thought that
            it opens in front of a response is closed there. None: the values of an earlier call, else `DEFAULTS`.

    Raises ValueError as `check` does, and if the template opens a thought and `close_thought` is not set: a response
    would begin within it.
    """
    check(values)
    template = str(tokenizer.get_chat_template())
    if values is None and _HEAD_END in template:
        return
    given = {name: value for name, value in (values or {}).items() if value is not None}
    body = template.rpartition(_HEAD_END)[2].partition(_TAIL_BEGIN)[0]
    head = _date_macro(str(given.get("date", DATE))) if "strftime_now" in body else ""
    for name, value in given.items():
        if name not in OWN_VARIABLES and re.search(rf"\b{name}\b", body):
            head += f"{{%- set {name} = {name} | default({value!r}) -%}}"
    tokenizer.chat_template = f"{head}{_HEAD_END}{body}" if head else body
    rendered = render(tokenizer, [{"role": "user", "content": "zqz"}])
    markers = opened_thought(rendered.rpartition("zqz")[2])
    if markers is None:
        return
    if not given.get("close_thought"):
        switch = "enable_thinking=false, or " if "enable_thinking" in body else ""
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} opens a thought ({markers[0]}) in front of a response; set "
            f"{switch}close_thought=true in chat_template_kwargs"
        )
    tail = f"{_TAIL_BEGIN}{{% if add_generation_prompt %}}{{{{ '\\n{markers[1]}\\n\\n' }}}}{{% endif %}}"
    tokenizer.chat_template = f"{head}{_HEAD_END}{body}{tail}"


def _date_macro(date: str) -> str:
    """A macro in place of transformers' `strftime_now`, which formats today's date."""
    day = datetime.datetime.fromisoformat(date)
    replaced = "".join(f" | replace('%{d}', {day.strftime(f'%{d}')!r})" for d in _DIRECTIVES)
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro -%}}"
