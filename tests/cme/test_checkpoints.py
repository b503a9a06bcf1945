"""Loading by name, what every loaded checkpoint has, and errors for checkpoints that are unavailable."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hub_snapshots import FIRST, SECOND, add_snapshot
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from cme import Unavailable, availability, checkpoints
from cme.availability import check_available, ensure
from cme.checkpoints import Checkpoint, load, stop_ids
from cme.models import chat, packages

Tiny = Callable[..., Checkpoint]


@pytest.mark.parametrize("plain", [False, True])
def test_every_checkpoint_can_chat_pad_and_end(tiny: Tiny, family: str, plain: bool) -> None:
    loaded = tiny(family, plain)
    tokenizer, generation = loaded.tokenizer, loaded.model.generation_config
    assert tokenizer.chat_template is not None
    assert (tokenizer.chat_template == chat.PLAIN_TEMPLATE) == plain
    assert tokenizer.pad_token_id is not None
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"
    assert tokenizer.eos_token_id == chat.end_of_turn_id(tokenizer)
    assert (
        generation.eos_token_id == sorted({1, tokenizer.eos_token_id}) == list(loaded.end_ids)
    )  # 1: end of text
    assert generation.pad_token_id == tokenizer.pad_token_id
    assert not loaded.model.training


def configured(folder: Path, name: str, **changes: object) -> None:
    """Change fields of a JSON file of a checkpoint."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_end_tokens_of_each_stop_rule(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "qwen"
    shutil.copytree(tiny_folder("qwen"), folder)

    def rules() -> list[tuple[int, ...]]:
        return [stop_ids(str(folder), rule) for rule in ("both", "checkpoint", "template")]

    configured(folder, "generation_config.json", eos_token_id=[7, 5])
    assert rules() == [(2, 5, 7), (5, 7), (2,)]
    assert load(str(folder)).end_ids == load(f"random:{folder}").end_ids == (2, 5, 7)
    (folder / "generation_config.json").unlink()  # then the model config counts
    configured(folder, "config.json", eos_token_id=6)
    assert rules() == [(2, 6), (6,), (2,)]
    configured(folder, "config.json", eos_token_id=None)
    assert load(str(folder)).end_ids == (2,)
    with pytest.raises(ValueError, match="names no token that ends a response"):
        stop_ids(str(folder), "checkpoint")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("package:gemma-4", r"'package:gemma-4'.*gemma-3-270m, smollm2-135m-instruct"),
        ("miniature:qwen-1/pretraind", r"'qwen-1/pretraind'.*qwen-1/pretrained"),
        ("tuned:gemma", "'tuned:gemma'.*gemma-3-270m-sft"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(name: str, known: str) -> None:
    with pytest.raises(ValueError, match=known):
        ensure([name])


def test_nothing_is_converted_when_one_of_several_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def convert(*_: object) -> None:
        raise AssertionError("converted before everything was looked up")

    monkeypatch.setitem(availability.LOCAL, "package", (packages.missing_parts, convert))
    monkeypatch.setenv("CME_MINIATURE", str(tmp_path))
    names = ["package:gemma-3-270m", "miniature:qwen-1/pretrained", "no-such-owner/no-such-model"]
    with pytest.raises(Unavailable) as caught:
        ensure(names)
    assert [line.split(" are not in ")[0] for line in str(caught.value).splitlines()][:1] == [
        "the weights of miniature:qwen-1/pretrained"
    ]
    assert "no-such-owner/no-such-model" in str(caught.value)


def test_a_folder_is_tokenized_by_its_own_file(tiny_folder: Callable[..., Path], family: str) -> None:
    folder = tiny_folder(family)
    assert ensure([str(folder)] * 2) == {str(folder): str(folder)}
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "what is 0 plus 5?\nfox and bell: the fox sees the bell. 12."
    assert (
        load(str(folder)).tokenizer(text, add_special_tokens=False)["input_ids"]
        == own.encode(text, add_special_tokens=False).ids
    )


def test_a_checkpoint_of_the_hub_is_the_cached_commit_or_the_named_one(
    hub_cache: Path, tiny_folder: Callable[..., Path]
) -> None:
    first = add_snapshot(hub_cache, "owner/model", FIRST, tiny_folder("qwen"))
    second = add_snapshot(hub_cache, "owner/model", SECOND, tiny_folder("llama"))
    names = ["owner/model", f"owner/model@{FIRST}", "random:owner/model"]
    assert ensure(names) == dict(zip(names, map(str, (second, first, second)), strict=True))
    assert [availability.commit(name) for name in names] == [SECOND, FIRST, SECOND]
    assert availability.commit(str(tiny_folder("qwen"))) is None
    kinds = [load(name).model.config.model_type for name in names]
    assert kinds == ["llama", "qwen2", "llama"]
    add_snapshot(hub_cache, "owner/model", "3" * 40, tiny_folder("olmo"))
    assert ensure(["owner/model"]) == {"owner/model": str(second)}, "a process stays with its commit"


def test_weights_are_required_unless_only_the_tokenizer_is_loaded(
    hub_cache: Path, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    snapshot = add_snapshot(hub_cache, "owner/model", FIRST, tiny_folder("qwen"), without="model.safetensors")
    local = tmp_path / "model"
    shutil.copytree(snapshot, local)
    for name in ("owner/model", str(local)):
        with pytest.raises(Unavailable, match=rf"checkpoint {name} .*model\.safetensors"):
            check_available([name])
        check_available([name, f"random:{name}"], tokenizers_of=[name])
        assert len(checkpoints.load_tokenizer(name)) > 0
        assert load(f"random:{name}").model.config.model_type == "qwen2"


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("model.safetensors", "no tensors", "SafetensorError: .*header"),
        ("tokenizer.json", "{", "JSONDecodeError: Expecting property name"),
        ("tokenizer.json", '{"version": "1.0", "added_tokens": [], "model": {"type": "X"}}', "untagged enum"),
        ("generation_config.json", "{", "is not a valid JSON"),
        ("config.json", '{"model_type": "unheard_of"}', "unheard_of"),
        ("chat_template.jinja", "{{ 1 / 0 }}", "ZeroDivisionError"),
        ("chat_template.jinja", "", "leaves out the user's message; correct chat_template"),
    ],
)
def test_an_error_of_loading_is_one_line_with_its_innermost_cause(
    tiny_folder: Callable[..., Path], tmp_path: Path, file: str, content: str, cause: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("llama"), folder)
    (folder / file).write_text(content)
    with pytest.raises(Unavailable, match=cause) as caught:
        load(str(folder))
    assert str(caught.value).startswith(f"checkpoint {folder} cannot be loaded (")
    assert "\n" not in str(caught.value)


def test_weights_that_the_files_lack_are_refused(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    """The library would initialise them at random."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("qwen"), folder)
    whole = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in whole.items() if ".layers.1." not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    lacking = sorted(whole.keys() - kept.keys())
    message = f"its files lack the weights {lacking[0]} and {len(lacking) - 1} more, which would be random"
    with pytest.raises(Unavailable, match=message):
        load(str(folder))


@pytest.mark.parametrize("files", [["tokenizer.json"], ["tokenizer.json", "tokenizer_config.json"]])
def test_a_folder_without_a_tokenizer_is_refused(
    tiny_folder: Callable[..., Path], hub_cache: Path, tmp_path: Path, files: list[str]
) -> None:
    """Of some architectures, transformers makes a tokenizer without any file, which knows no text."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("gemma"), folder)
    for file in files:
        (folder / file).unlink()
    with pytest.raises(Unavailable, match=rf"checkpoint {folder} has no tokenizer\.json"):
        check_available([str(folder)])
    add_snapshot(hub_cache, "owner/model", FIRST, folder)
    for name in (str(folder), "owner/model"):
        for read in (load, checkpoints.load_tokenizer):
            with pytest.raises(Unavailable, match=rf"checkpoint {name} .*no tokenizer\.json"):
                read(name)


def test_a_tokenizer_with_more_tokens_than_the_model_embeds_is_refused(
    tiny_folder: Callable[..., Path], tiny: Tiny, tmp_path: Path
) -> None:
    sizes = {name: tiny(name).tokenizer.vocab_size for name in ("qwen", "llama", "gemma", "olmo")}
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder(small), folder)
    shutil.copy(tiny_folder(large) / "tokenizer.json", folder)
    with pytest.raises(Unavailable, match=f"{sizes[large]} tokens.* embeds {sizes[small]}"):
        load(str(folder))


def test_two_loads_share_nothing(tiny: Tiny, family: str) -> None:
    a, b = tiny(family).model, tiny(family).model
    assert not {id(m) for m in a.modules()} & {id(m) for m in b.modules()}
    assert not {p.data_ptr() for p in a.parameters()} & {p.data_ptr() for p in b.parameters()}
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_weights_have_the_requested_dtype(tiny_folder: Callable[..., Path]) -> None:
    assert load(str(tiny_folder("qwen")), dtype="bfloat16").model.dtype == torch.bfloat16
