"""Values of the variables of chat templates: the date, thinking, and what a saved policy keeps."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers.utils import chat_template_utils

from cme.checkpoints import Checkpoint, load, load_tokenizer
from cme.models import chat
from cme.models.template_variables import DEFAULTS, check, set_variables

Tiny = Callable[..., Checkpoint]
BODY = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[A]{% endif %}"
LLAMA = (  # the part of the template of Llama 3.2 that writes the date
    "{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n    {%- else %}\n'
    '        {%- set date_string = "26 Jul 2024" %}\n    {%- endif %}\n{%- endif %}\n'
    '{{- "Today Date: " + date_string + "\\n\\n" }}'
) + BODY
CLOCK = "{{ strftime_now('%A, %-d %B %Y, %H:%M') }}\n" + BODY  # as in SmolLM 3 and gpt-oss
QWEN = (  # the generation prompt of Qwen 3
    BODY + "{%- if add_generation_prompt %}{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
OPENS = BODY + "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"  # DeepSeek R1
CLOSED = "q[A]<think>\n\n</think>\n\n"


def tokenizer(tiny: Tiny, template: str, values: Any = None) -> Any:
    """A tokenizer with this template and the values."""
    found = tiny("qwen").tokenizer
    found.chat_template = template
    set_variables(found, values)
    return found


def shown(one: Any, **more: Any) -> str:
    messages = [{"role": "user", "content": "q"}]
    return str(one.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **more))


@pytest.fixture
def on_another_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers renders on 2031-01-05."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Clock":
            return cls.fromisoformat("2031-01-05")

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    chat_template_utils._compile_jinja_template.cache_clear()


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        (LLAMA, DEFAULTS, "Today Date: 26 Jul 2024\n\nq[A]"),
        (LLAMA, {"date": "2025-01-31"}, "Today Date: 31 Jan 2025\n\nq[A]"),
        (LLAMA, {"date_string": "today"}, "Today Date: today\n\nq[A]"),
        (CLOCK, None, "Friday, 26 July 2024, 00:00\nq[A]"),
        (CLOCK, {"date": "2025-02-03"}, "Monday, 3 February 2025, 00:00\nq[A]"),
    ],
)
@pytest.mark.usefixtures("on_another_day")
def test_the_date_is_the_given_one_on_every_day(
    tiny: Tiny, template: str, values: Any, expected: str
) -> None:
    unset = tiny("qwen").tokenizer
    unset.chat_template = template
    assert "2031" in shown(unset), "the template writes the day by itself"
    assert shown(tokenizer(tiny, template, values)) == expected


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        (QWEN, {"enable_thinking": None}, "q[A]"),
        (BODY, {"enable_thinking": False, "date": "2025-01-31"}, "q[A]"),
        (QWEN, {"enable_thinking": True}, "q[A]"),
        (QWEN, {"enable_thinking": False, "close_thought": True}, CLOSED),
        (OPENS, {"close_thought": True}, CLOSED),
        (OPENS.replace("<think>", "[THINK]"), {"close_thought": True}, "q[A][THINK]\n\n[/THINK]\n\n"),
        ("{{ effort | default('high') }} " + BODY, {"effort": "it's low"}, "it's low q[A]"),
    ],
)
def test_thinking(tiny: Tiny, template: str, values: Any, expected: str) -> None:
    one = tokenizer(tiny, template, values)
    assert shown(one) == expected
    assert "enable_thinking" not in template or shown(one, enable_thinking=True) == "q[A]", (
        "a value is a default"
    )
    assert one.decode(chat.prompt_ids(one, "q")) == expected


@pytest.mark.parametrize(
    ("template", "remedy"),
    [
        (OPENS, "set close_thought=true"),
        (QWEN.replace("is false", "is true") + OPENS, "enable_thinking=false, or"),
    ],
)
def test_a_prompt_that_opens_a_thought_is_refused(tiny: Tiny, template: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=rf"opens a thought \(<think>\).*{remedy}"):
        tokenizer(tiny, template)


def test_a_saved_policy_keeps_its_values_until_others_are_given(tiny: Tiny, tmp_path: Path) -> None:
    policy = tiny("qwen")
    policy.tokenizer.chat_template = LLAMA + OPENS
    set_variables(policy.tokenizer, {"date": "2025-01-31", "close_thought": True})
    policy.model.save_pretrained(tmp_path)
    policy.tokenizer.save_pretrained(tmp_path)
    saved = shown(policy.tokenizer)
    assert saved.startswith("Today Date: 31 Jan 2025") and saved.endswith("</think>\n\n")
    assert shown(load(str(tmp_path)).tokenizer) == saved
    changed = load_tokenizer(str(tmp_path), {"date": "2025-02-01", "close_thought": True})
    assert shown(changed) == saved.replace("31 Jan", "01 Feb")
    with pytest.raises(ValueError, match="opens a thought"):
        load(str(tmp_path), chat_template_kwargs={"date": "2025-02-01"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"date": "tomorrow"}, "date=tomorrow; it must be a date such as 2024-07-26"),
        ({"close_thought": "yes"}, "close_thought=yes; it must be true or false"),
        ({"enable_thinking": 0}, "enable_thinking=0; it must be true or false"),
        ({"a b": 1}, "has a b, which is not the name of a variable"),
    ],
)
def test_values_that_no_template_can_have(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(values)
