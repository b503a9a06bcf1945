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


def test_repositories_that_the_hub_does_not_give_are_named_with_the_remedy(tmp_path: Path) -> None:
    models = [
        "google/gemma-4-E4B-it",
        "owner/public@v1",
        "owner/nothing",
        "owner/broken",
        "owner/public@absent",
    ]
    with hub_stub.running() as (url, asked):
        found = ask(models, ["owner/gated-data", "owner/public-data"], hub_stub.environment(tmp_path, url))
    for sentence, begin, remedy in zip(
        found,
        (
            "checkpoint google/gemma-4-E4B-it is gated",
            "checkpoint owner/nothing is not on the hub",
            "checkpoint owner/broken is refused by the hub with status 503",
            "checkpoint owner/public@absent has no such revision",
            "data set owner/gated-data is gated",
        ),
        (
            f"{url}/google/gemma-4-E4B-it, then run `hf auth login`",
            "spelling",
            "try later",
            f"{url}/owner/public/commits/main",
            f"{url}/datasets/owner/gated-data,",
        ),
        strict=True,
    ):
        assert sentence.startswith(begin) and remedy in sentence
    assert len(asked) == 7, "one request each"
    assert {path.split("/resolve/")[1] for path in asked if "/public/" in path} == {
        "v1/config.json",
        "absent/config.json",
    }


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


@pytest.mark.parametrize(
    ("files", "revision", "why"),
    [
        (WHOLE, "", ""),
        (WHOLE, f"@{FIRST}", ""),
        (WHOLE, f"@{SECOND}", "is not in the local cache and "),
        (WHOLE[:1], "", "is in the local cache without its model.safetensors and "),
        (WHOLE[:3], "", "is in the local cache without its model-2.safetensors and "),
    ],
)
def test_a_cached_commit_with_all_weights_is_available_without_a_request(
    tmp_path: Path, files: tuple[str, ...], revision: str, why: str
) -> None:
    cached(tmp_path, *files)
    environment = hub_stub.environment(tmp_path, "http://127.0.0.1:9", offline=bool(why))
    found = ask([f"owner/cached{revision}"], [], environment)
    assert len(found) == bool(why)
    for sentence in found:
        assert sentence.startswith(f"checkpoint owner/cached{revision} {why}")
        assert f"`hf download owner/cached{revision.replace('@', ' --revision ')}`" in sentence


def test_a_name_that_the_hub_cannot_have(tmp_path: Path) -> None:
    [why] = ask(["./no/such/folder"], [], hub_stub.environment(tmp_path, "http://127.0.0.1:9"))
    assert "./no/such/folder" in why and "config.json" in why
