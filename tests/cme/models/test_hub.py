"""Repositories that are not available: named with the remedy, all of them, quickly."""

import json
import time
from pathlib import Path

import hub_stub
import pytest
from hub_snapshots import FIRST, SECOND, add_snapshot

ASK = """
import json
from cme.models import hub
models = [hub.checkpoint_repository(name) for name in {models}]
data = [hub.Repository(name, "dataset", "README.md") for name in {data}]
print(json.dumps(hub.missing_repositories(models + data)))
"""


def ask(models: list[str], data: list[str], environment: dict[str, str]) -> list[str]:
    found = hub_stub.python(ASK.format(models=models, data=data), environment)
    assert isinstance(found, list)
    assert not any("\n" in why for why in found)
    return found


def test_gated_and_missing_repositories_are_named_with_the_remedy(tmp_path: Path) -> None:
    models = ["google/gemma-4-E4B-it", "owner/public", "owner/nothing", "meta-llama/Llama-3.2-1B-Instruct"]
    with hub_stub.running() as (url, asked):
        found = ask(models, ["owner/gated-data", "owner/public-data"], hub_stub.environment(tmp_path, url))
    gated, nothing, also_gated, data = found
    assert gated.startswith("checkpoint google/gemma-4-E4B-it is gated")
    assert f"{url}/google/gemma-4-E4B-it," in gated and "hf auth login" in gated
    assert nothing.startswith("checkpoint owner/nothing is not on the hub") and "spelling" in nothing
    assert "Llama-3.2-1B-Instruct is gated" in also_gated
    assert (
        data.startswith("data set owner/gated-data is gated") and f"{url}/datasets/owner/gated-data," in data
    )
    assert len(asked) == 6, "one request each"


def test_a_failing_hub_does_not_count_as_having_the_repository(tmp_path: Path) -> None:
    with hub_stub.running() as (url, asked):
        [why] = ask(["owner/broken"], [], hub_stub.environment(tmp_path, url))
    assert "503" in why
    assert len(asked) == 1


@pytest.mark.parametrize(("offline", "says"), [(False, "cannot be reached"), (True, "HF_HUB_OFFLINE")])
def test_without_a_hub_one_sentence_has_the_commands_for_all_repositories(
    tmp_path: Path, offline: bool, says: str
) -> None:
    with hub_stub.running() as (url, _):
        pass  # now nothing listens there
    began = time.perf_counter()
    [why] = ask(["a/a", "b/b@v1", "c/c"], ["d/d"], hub_stub.environment(tmp_path, url, offline))
    assert time.perf_counter() - began < 20  # most of it is Python starting on a busy machine
    assert why.startswith("checkpoint a/a is not in the local cache, 3 more are missing") and says in why
    commands = ("a/a", "b/b --revision v1", "c/c", "--repo-type dataset d/d")
    assert f"`{' && '.join(f'hf download {each}' for each in commands)}`" in why
    assert "data.source.path=" in why and "scale=miniature" in why


def cached(home: Path, *files: str) -> None:
    """Put owner/cached at a commit into the cache, with these files of two shards of weights."""
    source = home / "source"
    source.mkdir()
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for name in files:
        (source / name).write_text(json.dumps({"weight_map": shards}))
    add_snapshot(home / "hub", "owner/cached", FIRST, source)


WHOLE = ("config.json", "model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors")


def test_cached_repositories_are_not_requested(tmp_path: Path) -> None:
    cached(tmp_path, *WHOLE)
    with hub_stub.running() as (url, asked):
        assert ask(["owner/cached", f"owner/cached@{FIRST}"], [], hub_stub.environment(tmp_path, url)) == []
    assert asked == []


@pytest.mark.parametrize(
    ("files", "missing"), [(WHOLE[:1], "model.safetensors"), (WHOLE[:3], "model-2.safetensors")]
)
def test_a_cache_without_weights_is_named(tmp_path: Path, files: tuple[str, ...], missing: str) -> None:
    cached(tmp_path, *files)
    [why] = ask(["owner/cached"], [], hub_stub.environment(tmp_path, "http://127.0.0.1:9", offline=True))
    assert why.startswith(f"checkpoint owner/cached is in the local cache without its {missing} and ")
    assert "`hf download owner/cached`" in why


def test_another_revision_is_not_the_cached_one(tmp_path: Path) -> None:
    cached(tmp_path, *WHOLE)
    environment = hub_stub.environment(tmp_path, "http://127.0.0.1:9", offline=True)
    [why] = ask([f"owner/cached@{SECOND}"], [], environment)
    assert f"owner/cached@{SECOND} is not in the local cache" in why
    assert f"`hf download owner/cached --revision {SECOND}`" in why


def test_a_revision_that_the_hub_does_not_have(tmp_path: Path) -> None:
    with hub_stub.running() as (url, asked):
        found = ask(["owner/public@v1", "owner/public@absent"], [], hub_stub.environment(tmp_path, url))
    assert [path.split("/resolve/")[1] for path in asked] == ["v1/config.json", "absent/config.json"]
    [why] = found
    assert why.startswith("checkpoint owner/public@absent has no such revision")


def test_a_name_that_the_hub_cannot_have(tmp_path: Path) -> None:
    [why] = ask(["./no/such/folder"], [], hub_stub.environment(tmp_path, "http://127.0.0.1:9"))
    assert "./no/such/folder" in why and "config.json" in why
