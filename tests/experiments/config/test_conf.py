"""Every YAML file of `conf/` opens with a valid command; the paper's settings are those of the paper."""

import re
import shlex
import shutil
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from composed_runs import compose
from omegaconf import OmegaConf

from experiments.config import composition, identity
from experiments.config.components import option_settings
from experiments.config.composition import CONF, OPTIONAL_GROUPS, config_groups
from experiments.config.registration import load_entries

OTHERS = {"accelerate", "hydra"}  # read by accelerate and Hydra: test_devices.py, tests/experiments/sweep
FILES = sorted(p for p in CONF.rglob("*.yaml") if not OTHERS & {*p.parts})
FAMILIES = {file.stem for file in (CONF / "family").glob("*.yaml")}
OUTSIDE_LISTS = r",(?![^\[]*\])"
"""A comma that is not in a list such as [cme,length]."""
NAMED_GROUPS = ("family", "reward", "data", "judge", "scale", "experiment")
VERIFIERS = load_entries("verifiers.yaml")


def command(file: Path) -> list[str]:
    """The arguments of the command at the top of a file, below its package if it has one."""
    [line] = [line for line in file.read_text().splitlines()[:2] if line.startswith("# python run.py")]
    return shlex.split(line)[3:]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(CONF)))
def test_a_file_composes_and_validates_by_its_own_command(file: Path) -> None:
    line = composition.expand_command_line(command(file))[0]
    first_cell = [re.split(OUTSIDE_LISTS, argument)[0] for argument in line if argument != "-m"]
    [config] = composition.compose_one_line(first_cell)
    if (group := file.parent.name) in NAMED_GROUPS:
        assert getattr(config, group).name == file.stem


@pytest.mark.parametrize("name", VERIFIERS)
def test_a_verifier_composes(name: str) -> None:
    scales = {
        "miniature": (),
        "laptop": ("scale=laptop", "family=smollm2", "regime=instruct"),
        "paper": ("scale=paper", "family=qwen_math", "data=math"),
    }
    scale = next((s for s in scales if s in VERIFIERS[name]["checkpoints"]), "laptop")
    verifier = compose(*scales[scale], f"verifier={name}").verifier
    assert verifier.name == name and verifier.checkpoint and verifier.family
    first = verifier.checkpoint if isinstance(verifier.checkpoint, str) else verifier.checkpoint[0]
    if ":" in first:  # a bundled checkpoint, whose name has its family; others may be of any family
        assert verifier.family in FAMILIES and verifier.family in first


def test_a_verifier_may_have_a_file_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "conf"
    shutil.copytree(CONF, own)
    (own / "verifier").mkdir(exist_ok=True)
    (own / "verifier" / "mine.yaml").write_text(
        "name: mine\nfamily: llama\ncheckpoints: {miniature: 'miniature:llama-1/verifier'}\n"
    )
    monkeypatch.setattr(composition, "CONF", own)
    cells = composition.compose_cells(["-m", "verifier=mine,gemma"])
    names = [run.verifier.checkpoint for run in cells]
    assert names == ["miniature:llama-1/verifier", "miniature:gemma-1/verifier"]
    (own / "verifier" / "gemma.yaml").touch()
    with pytest.raises(
        composition.BadConfig, match=r"verifier=gemma is in conf/verifiers\.yaml and in conf/verifier/"
    ):
        config_groups()


@pytest.mark.parametrize("group", OPTIONAL_GROUPS)
def test_none_is_an_option_without_a_file(group: str) -> None:
    assert not (CONF / group / "none.yaml").exists() and "none" in config_groups()[group]
    assert compose(f"{group}=none").values == compose().values


def test_the_data_have_every_split_that_is_named() -> None:
    from cme.miniature import world

    for file in sorted((CONF / "data").glob("*.yaml")):
        data = OmegaConf.merge({"train_split": "train", "eval_split": "eval"}, OmegaConf.load(file))
        target = option_settings("data", file.stem)["source"]["_target_"]
        module = vars(import_module(target.rpartition(".")[0]))
        known = module.get("SPLITS", world.SPLITS)  # arithmetic has the splits of the world
        assert {data.train_split, data.eval_split} <= set(known)


SIZES = [(m, s) for m in ("grpo", "dpo", "sft", "distillation") for s in ("miniature", "laptop", "paper")]


@pytest.mark.parametrize(("method", "scale"), [size for size in SIZES if size != ("dpo", "laptop")])
def test_every_setting_reaches_trl_unchanged(method: str, scale: str) -> None:
    import trl

    from experiments.run.training import NOT_TRL, trl_settings

    classes: dict[str, Any] = {
        "grpo": trl.GRPOConfig,
        "dpo": trl.DPOConfig,
        "sft": trl.SFTConfig,
        "distillation": trl.DistillationConfig,
    }
    config = compose(f"scale={scale}", f"trainer={method}")
    settings = trl_settings(config)
    assert {*settings, *NOT_TRL} >= set(config.values["trainer"]) and not {*settings} & {*NOT_TRL}
    settings["bf16"] = bool(settings["bf16"])  # null is for `TrainingJob.arguments` to decide
    made = classes[method](output_dir="x", report_to=[], use_cpu=True, **settings)
    for name, value in settings.items():
        expected = [value] if (method, name) == ("dpo", "loss_type") else value
        assert getattr(made, name) == expected, name


LAPTOP = [
    (("gemma", "pretrained"), "package:gemma-3-270m", "package:smollm2-135m-instruct"),
    (("gemma", "sft"), "tuned:gemma-3-270m-sft", "package:smollm2-135m-instruct"),
    (("smollm2", "instruct"), "package:smollm2-135m-instruct", "package:gemma-3-270m"),
    (("qwen", "instruct"), "package:qwen2.5-coder-0.5b-instruct", "package:smollm2-135m-instruct"),
]


@pytest.mark.parametrize(("cell", "generator", "heldout"), LAPTOP)
def test_the_models_of_each_cell_at_laptop_scale(cell: tuple[str, str], generator: str, heldout: str) -> None:
    arguments = ["scale=laptop", f"family={cell[0]}", f"regime={cell[1]}"]
    config = compose(*arguments)
    assert (config.generator, config.heldout_verifier) == (generator, heldout)
    assert config.verifier.checkpoint == "package:qwen2.5-coder-1.5b-instruct"
    assert (config.data.name, config.judge.name) == ("instruction_following", "instruction_following")
    smaller = compose(*arguments, "verifier=qwen_coder_0_5b")
    assert smaller.verifier.checkpoint == "package:qwen2.5-coder-0.5b-instruct"


def test_the_default_cells() -> None:
    """At laptop scale, the rate of SmolLM2 is calibrated; trainings of Gemma pretrained collapse: docs/log.md."""
    assert (
        compose("scale=laptop").run_id == compose("scale=laptop", "family=smollm2", "regime=instruct").run_id
    )
    for arguments in (["family=llama"], ["scale=laptop"], ["scale=paper"]):
        config = compose(*arguments)
        assert config.verifier.family != config.family.name


PAPER = ["scale=paper", "family=llama", "regime=instruct"]


@pytest.mark.parametrize("reward", load_entries("sources.yaml"))
def test_preset_paper_has_the_settings_of_a_publication(reward: str) -> None:
    """The settings themselves, and those of the paper's cells: tests/rehearsal/trainer_settings.yaml."""
    own = compose(*PAPER, "data=world", f"reward={reward}", "preset=paper")
    source = identity.flatten(load_entries("sources.yaml")[reward])
    values = identity.flatten(own.values)
    assert source and {path: values[path] for path in source} == source


def test_preset_matched_is_the_default_and_fields_override_a_preset() -> None:
    cell = [*PAPER, "data=world", "reward=majority_vote"]
    own, matched = compose(*cell, "preset=paper"), compose(*cell)
    assert own.run_id != matched.run_id == compose(*cell, "preset=matched").run_id
    assert (matched.trainer.num_generations, matched.trainer.learning_rate) == (8, 3e-6)
    assert compose(*cell, "preset=paper", "trainer.learning_rate=1e-4").trainer.learning_rate == 1e-4


def test_the_settings_of_the_study_of_dense_rewards() -> None:
    cell = [*PAPER, "reward=cme", "reward.granularity=token", "preset=dense_study"]
    study, usual = compose(*cell), compose(*cell[:-1])
    assert (study.trainer.max_steps, study.trainer.learning_rate) == (400, 5e-6)
    assert (study.trainer.beta, study.trainer.max_completion_length) == (0.0, 1024)
    assert study.evaluation.max_new_tokens == usual.evaluation.max_new_tokens == 2048
    with pytest.raises(composition.BadConfig, match=r"preset=dense_study at scale=miniature"):
        compose("preset=dense_study")


def test_a_preset_without_own_settings_is_the_same_run() -> None:
    assert compose(*PAPER, "preset=paper").run_id == compose(*PAPER).run_id


@pytest.mark.slow
def test_the_whole_main_table_is_valid() -> None:
    cells = composition.compose_cells(["-m", "experiment=main_table"])
    families, regimes, builds = 4, 3, 2
    cme, others = 5, 5 * 3  # runs per cell: seeds, and seeds of five other rewards
    more = (
        families * builds * 2 * 2 + 3 * 2
    )  # two seeds of two rewards in every sft cell, of three in one of Qwen's
    runs = families * regimes * builds * (cme + others) + more
    assert len(cells) == len({c.run_id for c in cells}) == runs == 518
    assert len({identity.start_id(c) for c in cells}) == 4 * 3 * 2


CLAIMS = (
    "main_table",
    "independence",
    "verifier_sweep",
    "rewards",
    "overoptimisation",
    "math",
    "verifier_sweep_math",
)


def settings_beside_the_reward(grid: dict[str, str]) -> set[tuple[str, ...]]:
    """Every family, regime, data set, build and trainer setting of a grid."""
    places = ("family", "regime", "data", "scale.build")
    named = [key for key in grid if key in places or key.startswith("trainer.")]
    values = [[f"{key}={value}" for value in str(grid[key]).split(",")] for key in sorted(named)]
    return {tuple(v for v in combination if v != "scale.build=1") for combination in product(*values)}


@pytest.mark.parametrize("experiment", CLAIMS)
def test_a_grid_that_makes_a_claim_has_its_controls_beside_it(experiment: str) -> None:
    """The random reward and the truth, under the settings of every other run of build 1, with three seeds or more."""
    grids = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"))
    miniature = grids["experiment"]["sweep"]["miniature"]  # type: ignore[call-overload, index]
    covered: dict[str, set[tuple[str, ...]]] = {"random": set(), "ground_truth": set()}
    wanted: set[tuple[str, ...]] = set()
    for grid in miniature:
        assert len(str(grid["seed"]).split(",")) >= 3
        settings = settings_beside_the_reward(grid)
        wanted |= {one for one in settings if "scale.build=2" not in one}
        for control, places in covered.items():
            if {control, f"{control}_answer"} & set(re.split(r"[,\s]+", grid.get("reward", ""))):
                places |= settings
    assert covered["random"] >= wanted and covered["ground_truth"] >= wanted


def test_the_comparison_of_rewards_has_every_reward() -> None:
    """Every file of conf/reward, and a sum in its list form."""
    lines = composition.expand_command_line(["-m", "experiment=rewards"])
    grids = [dict(word.split("=", 1) for word in line if "=" in word) for line in lines]
    trained = {
        reward
        for grid in grids
        if grid.get("trainer", "grpo") == "grpo"
        for reward in re.split(OUTSIDE_LISTS, grid["reward"])
    }
    assert trained == {path.stem for path in (CONF / "reward").glob("*.yaml")} | {"[cme,length]"}


def test_settings_of_a_family_apply_at_their_scale_only() -> None:
    miniature = compose("family=gemma")
    assert (miniature.trainer.repetition_penalty, miniature.trainer.max_steps) == (1.0, 60)
    rates = {
        (scale, regime): compose(f"scale={scale}", "family=gemma", f"regime={regime}").trainer.learning_rate
        for scale in ("miniature", "laptop")
        for regime in ("pretrained", "sft")
    }
    assert rates == {
        ("miniature", "pretrained"): 3e-4,
        ("miniature", "sft"): 3e-4,
        ("laptop", "pretrained"): 3e-5,
        ("laptop", "sft"): 1e-5,
    }


def test_a_family_without_settings_at_the_papers_scale_is_refused() -> None:
    line = ["scale=paper", "family=llama", "~family.grpo_paper.pretrained"]
    with pytest.raises(composition.BadConfig, match=r"no sizes for family=llama .*conf/family/llama\.yaml"):
        composition.compose_cells(line)
    sizes = ["beta=0.0", "max_completion_length=512", "max_steps=300"]
    assert compose(*line, *(f"trainer.{size}" for size in sizes)).trainer.max_steps == 300


QUICK = {("advantage_norm", "paper"), ("math", "laptop")}
GRIDS = [
    pytest.param(file.stem, scale, marks=() if (file.stem, scale) in QUICK else pytest.mark.slow)
    for file in sorted((CONF / "experiment").glob("*.yaml"))
    for scale in OmegaConf.load(file).experiment.get("sweep", ())
]


@pytest.mark.parametrize(("experiment", "scale"), GRIDS)
def test_every_cell_of_a_grid_is_valid(experiment: str, scale: str) -> None:
    for line in composition.expand_command_line(["-m", f"experiment={experiment}", f"scale={scale}"]):
        assert composition.compose_one_line(line)
