"""Names, folders, beliefs and digests of the miniature checkpoints."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cme import Unavailable
from cme.availability import check_available, ensure
from cme.miniature import corpus, families, models, vocabulary
from cme.miniature.models import RECIPES, checkpoint_folder, checkpoint_names, missing_weights, recipe_digest


def test_each_family_has_two_builds_and_gemma_the_weaker_verifiers() -> None:
    names = checkpoint_names()
    assert len(names) == len(set(names)) == 4 * 2 * 4 + 2 * 3
    assert {name.partition("-")[0] for name in names if "verifier_" in name} == {"gemma"}
    assert [models.split_name(name) for name in names[:2]] == [("qwen", 1, "pretrained"), ("qwen", 1, "sft")]


@pytest.mark.parametrize("name", ["qwen/sft", "qwen-3/sft", "qwen-1", "qwen-1/base", "llama-1/verifier_70"])
def test_unknown_names_are_refused(name: str) -> None:
    for use in (models.split_name, checkpoint_folder, missing_weights, recipe_digest):
        with pytest.raises(
            ValueError, match=f"'{name}'; it must be one of qwen-1/pretrained, .*olmo-2/verifier"
        ):
            use(name)


def test_weights_are_in_the_package_or_in_a_named_folder(
    monkeypatch: pytest.MonkeyPatch, miniature_weights: Path
) -> None:
    monkeypatch.delenv(models.WEIGHTS_VARIABLE, raising=False)
    package = Path(models.__file__).parent / "weights"
    for folder in (package, miniature_weights):
        assert ensure(["miniature:qwen-2/sft", "random:miniature:gemma-1/verifier_70"]) == {
            "miniature:qwen-2/sft": str(folder / "qwen-2-sft"),
            "random:miniature:gemma-1/verifier_70": str(folder / "gemma-1-verifier_70"),
        }
        monkeypatch.setenv(models.WEIGHTS_VARIABLE, str(miniature_weights))


def test_missing_and_foreign_weights_are_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(models.WEIGHTS_VARIABLE, str(tmp_path))
    folder, remedy = tmp_path / "olmo-1-sft", r"again with `python -m cme\.miniature olmo-1/sft`"
    absent = f"miniature:olmo-1/sft are not in {folder}; .*{remedy}"

    def refused(message: str) -> None:
        with pytest.raises(Unavailable, match=message):
            check_available(["miniature:olmo-1/sft"])

    refused(absent)
    folder.mkdir()
    weights = folder / models.WEIGHTS_FILE
    weights.write_bytes(b"weights")
    refused(absent)  # without build.json
    for damaged in ("{", "[]", "{}"):
        (folder / "build.json").write_text(damaged)
        refused(f"{folder / 'build.json'} (is not JSON|has no sha256).*{remedy}")
    (folder / "build.json").write_text(json.dumps({"sha256": "0" * 64}))
    refused(f"{weights} is not the file that was built; .*{remedy}")
    # as `printf weights | sha256sum` says
    (folder / "build.json").write_text(
        json.dumps({"sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"})
    )
    assert missing_weights("olmo-1/sft") is None
    weights.write_bytes(b"other weights")
    refused("is not the file that was built")


def test_a_digest_is_of_all_that_makes_a_checkpoint() -> None:
    before = {name: recipe_digest(name) for name in checkpoint_names()}
    assert len(set(before.values())) == len(before), "family, build and recipe"

    def changed() -> set[str]:
        recipe_digest.cache_clear()
        ours = {recipe: f"gemma-2/{recipe}" for recipe in RECIPES}
        return {recipe for recipe, name in ours.items() if recipe_digest(name) != before[name]}

    places, generators = corpus._places("gemma"), {"pretrained", "sft", "instruct"}
    architectures = families.FAMILIES
    larger = replace(architectures["gemma"], vocabulary=700)
    believed = vocabulary.false_beliefs()
    cases: list[tuple[dict[Any, Any], str, object, set[str]]] = [
        (RECIPES, "sft", replace(RECIPES["sft"], steps=999), {"sft", "instruct"}),
        (RECIPES, "verifier", replace(RECIPES["verifier"], width=64), {"verifier", *models.WEAK}),
        (models.STEPS, ("gemma", "verifier"), 1500, {"verifier", *models.WEAK}),
        (models.STEPS, ("qwen", "verifier"), 1500, set()),
        (architectures, "gemma", larger, set(RECIPES)),
        (architectures, "qwen", larger, set()),
        (believed["gemma"], next(iter(believed["gemma"])), "another", set(RECIPES)),
        (believed["qwen"], next(iter(believed["qwen"])), "another", set()),
        (vars(corpus), "_places", lambda family: places[::-1], generators),
    ]
    for table, key, value, expected in cases:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(table, key, value)
            assert changed() == expected, key
    assert changed() == set()
