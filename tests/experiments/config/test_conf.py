"""Every YAML of every group opens with a command line, and that command line is valid."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments.config import composition, identity
from experiments.config.composition import CONF
from experiments.config.groups import OPTIONAL, group_options

OTHERS = (
    "accelerate",
    "hydra",
)  # of accelerate and of Hydra itself: test_devices.py, tests/experiments/sweep
FILES = sorted(p for p in CONF.rglob("*.yaml") if not {*OTHERS} & {*p.parts})
GROUPS = sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name not in OTHERS)


def command(file: Path) -> list[str]:
    """The arguments of the command that a file opens with."""
    lines = [line for line in file.read_text().splitlines()[:2] if line.startswith("# python run.py")]
    assert len(lines) == 1, f"{file} does not open with the command that runs it"
    return shlex.split(lines[0])[3:]


def first_cell(arguments: list[str]) -> list[str]:
    """The same command line without its sweep."""
    return [a.split(",")[0] for a in arguments if a != "-m"]


def test_there_are_the_groups_of_the_design() -> None:
    assert {
        "family",
        "regime",
        "verifier",
        "reward",
        "data",
        "judge",
        "trainer",
        "adapter",
        "scale",
        "experiment",
        "capabilities",
        "comparators",
        "preset",
        "source",
        "cell",
    } == set(GROUPS)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(CONF)))
def test_it_composes_and_validates_by_its_own_command(file: Path) -> None:
    for line in composition.expand_command_line(command(file)):
        [config] = composition.compose_one_line(first_cell(line))
    group = file.parent.name
    if group in ("family", "regime", "verifier", "reward", "data", "judge", "scale", "preset"):
        assert getattr(config, group).name == file.stem
    if group == "experiment":
        assert config.experiment.name == file.stem


@pytest.mark.parametrize("group", OPTIONAL)
def test_none_is_an_option_of_the_groups_that_may_be_left_out(group: str) -> None:
    assert not (CONF / group / "none.yaml").exists() and "none" in group_options(group)
    [plain], [none] = composition.compose_cells([]), composition.compose_cells([f"{group}=none"])
    assert none.values == plain.values


def test_the_same_data_have_every_split_that_is_named() -> None:
    from cme.data import instructions, math, ultrafeedback, word_problems
    from cme.miniature import world

    known = {
        "world": world.SPLITS,
        "arithmetic": world.SPLITS,
        "word_problems": word_problems.SPLITS,
        "instructions": instructions.SPLITS,
        "ultrafeedback": ultrafeedback.SPLITS,
        "math": math.SPLITS,
        "math_amc23": math.SPLITS,
        "math_aime24": math.SPLITS,
    }
    for file in sorted((CONF / "data").glob("*.yaml")):
        data = OmegaConf.merge({"train_split": "train", "eval_split": "eval"}, OmegaConf.load(file))
        assert {data.train_split, data.eval_split} <= set(known[file.stem])


def trls_config(method: str) -> type[Any]:
    import trl

    found: type[Any] = {"grpo": trl.GRPOConfig, "dpo": trl.DPOConfig, "sft": trl.SFTConfig}[method]
    return found


CELLS = [
    (m, s)
    for m in ("grpo", "dpo", "sft")
    for s in ("miniature", "laptop", "paper")
    if (m, s) != ("dpo", "laptop")
]


@pytest.mark.parametrize(("method", "scale"), CELLS)
def test_every_setting_reaches_trl_unchanged(method: str, scale: str) -> None:
    from experiments.run.training import OURS, _settings

    [config] = composition.compose_cells([f"scale={scale}", f"trainer={method}"])
    settings = _settings(config)
    assert {*settings, *OURS} >= set(config.values["trainer"]) and not {*settings} & {*OURS}
    made = trls_config(method)(output_dir="x", report_to=[], bf16=False, use_cpu=True, **settings)
    for name, value in settings.items():
        expected = [value] if (method, name) == ("dpo", "loss_type") else value
        assert getattr(made, name) == expected, name


@pytest.mark.parametrize("scale", ["miniature", "laptop", "paper"])
def test_a_verifier_is_never_its_generators_family_by_default(scale: str) -> None:
    families = {"laptop": "smollm2 regime=instruct"}.get(scale, "llama")
    [config] = composition.compose_cells([f"scale={scale}", *f"family={families}".split()])
    assert config.verifier.family != config.family.name
    assert config.verifier.checkpoint != config.generator


@pytest.mark.parametrize(
    ("reward", "expected"),
    [  # generations, learning rate, KL penalty
        ("token_entropy", (5, 1e-6, 0.001)),
        ("token_entropy_last", (5, 1e-6, 0.001)),
        ("token_entropy_format", (5, 1e-6, 0.001)),
        ("self_certainty", (7, 3e-6, 0.005)),
        ("semantic_entropy", (7, 1e-6, 0.0)),
        ("majority_vote", (64, 5e-7, 0.01)),
    ],
)
def test_the_sources_own_settings(reward: str, expected: tuple[int, float, float]) -> None:
    cell = ["scale=paper", "family=llama", "regime=instruct", "data=world", f"reward={reward}"]
    [own], [matched], [usual] = (
        composition.compose_cells([*cell, *more]) for more in (["preset=paper"], ["preset=matched"], [])
    )
    assert (own.trainer.num_generations, own.trainer.learning_rate, own.trainer.beta) == expected
    assert own.trainer.steps_per_generation == own.trainer.gradient_accumulation_steps == expected[0]
    assert (matched.trainer.num_generations, matched.trainer.learning_rate) == (8, 3e-6)
    assert matched.run_id == usual.run_id != own.run_id
    [chosen] = composition.compose_cells([*cell, "preset=paper", "trainer.learning_rate=1e-4"])
    assert chosen.trainer.learning_rate == 1e-4


def test_ttrl_trains_on_half_of_its_votes() -> None:
    cell = ["scale=paper", "family=llama", "regime=instruct", "data=world", "reward=majority_vote"]
    [own] = composition.compose_cells([*cell, "preset=paper"])
    assert (
        own.reward.arguments["train_on"],
        own.reward.arguments["num_generations"],
        own.trainer.max_completion_length,
    ) == (
        32,
        64,
        3072,
    )


def test_a_preset_alone_is_no_part_of_a_run() -> None:
    cell = ["scale=paper", "family=llama", "regime=instruct", "reward=cme"]
    [own], [usual] = composition.compose_cells([*cell, "preset=paper"]), composition.compose_cells(cell)
    assert own.run_id == usual.run_id


@pytest.mark.slow
def test_the_whole_reference_grid_is_valid() -> None:
    cells = composition.compose_cells(command(CONF / "experiment" / "reference.yaml"))
    assert len(cells) == len({c.run_id for c in cells}) == 4 * 3 * 5 * 3
    assert len({identity.start_id(c) for c in cells}) == 4 * 3


# family, regime, generator, beta, length, steps: what the paper says of its cells
PAPER = [
    ("qwen", "pretrained", "Qwen/Qwen2.5-0.5B", 0.01, 2048, 5000),
    ("qwen", "instruct", "Qwen/Qwen2.5-0.5B-Instruct", 0.01, 2048, 5000),
    ("llama", "pretrained", "meta-llama/Llama-3.2-1B", 0.0, 1536, 3000),
    ("llama", "instruct", "meta-llama/Llama-3.2-1B-Instruct", 0.01, 2048, 5000),
    ("gemma", "pretrained", "google/gemma-3-1b-pt", 0.0, 1536, 3000),
    ("gemma", "instruct", "google/gemma-3-270m-it", 0.01, 2048, 5000),
    ("olmo", "sft", "allenai/OLMo-2-0425-1B-SFT", 0.0, 1536, 3000),
]


@pytest.mark.parametrize(("family", "regime", "generator", "beta", "length", "steps"), PAPER)
def test_the_papers_cells(
    family: str, regime: str, generator: str, beta: float, length: int, steps: int
) -> None:
    [config] = composition.compose_cells(["scale=paper", f"family={family}", f"regime={regime}"])
    trainer = config.trainer
    assert config.generator == generator
    assert (trainer.beta, trainer.max_completion_length, trainer.max_steps) == (beta, length, steps)
    assert config.evaluation.max_new_tokens == config.scoring.max_response_tokens == length
    odd = (family, regime) == ("gemma", "pretrained")
    assert trainer.repetition_penalty == (1.25 if odd else 1.0)
    assert trainer.gradient_accumulation_steps == trainer.steps_per_generation == (32 if odd else 8)
    assert (trainer.learning_rate, trainer.lr_scheduler_type, trainer.warmup_steps) == (3e-6, "linear", 20)
    assert (trainer.num_generations, trainer.temperature, trainer.top_p, trainer.max_grad_norm) == (
        8,
        1,
        1,
        1,
    )
    assert (trainer.per_device_train_batch_size, config.seed) == (1, 42)
    assert config.verifier.checkpoint == "google/gemma-4-E4B-it"
    assert (config.judge.arguments["model"], config.judge.arguments["max_response_chars"]) == (
        "gpt-5.2",
        2500,
    )
    source = config.data.source.arguments
    assert (config.data.train_prompts, config.data.eval_prompts, config.data.seed) == (5000, 200, 42)
    assert (source["max_prompt_tokens"], source["tokenizer"]) == (512, generator)
    assert (config.selection.every, config.selection.prompts) == (200, 50)
    assert regime not in config.family.ours


def test_cells_that_are_ours_say_so() -> None:
    cells = composition.compose_cells(["-m", "scale=paper", "family=olmo", "regime=pretrained,sft,instruct"])
    assert [c.regime.name in c.family.ours for c in cells] == [True, False, True]
    files = {f"grpo_paper_{family}_{regime}.yaml" for family, regime, *_ in PAPER}
    for file in (CONF / "cell").glob("*.yaml"):
        assert ("Ours, not the paper's" in file.read_text()) != (
            file.name in files or file.stem == "grpo_paper_qwen_math_pretrained"
        )


def test_a_cells_own_settings_yield_to_the_command_line_and_stay_at_their_scale() -> None:
    [second] = composition.compose_cells(
        ["scale=paper", "family=qwen", "regime=instruct", "trainer.beta=0", "trainer.max_steps=3000"]
    )
    assert (second.trainer.beta, second.trainer.max_steps) == (0, 3000)
    [miniature] = composition.compose_cells(["family=gemma"])
    assert (miniature.trainer.repetition_penalty, miniature.trainer.max_steps) == (1.0, 60)


def test_the_papers_mathematics() -> None:
    [config] = composition.compose_cells(
        ["scale=paper", "family=qwen_math", "verifier=qwen_math", "data=math", "reward.no_answer_penalty=5",
         "reward.span=answer"]
    )  # fmt: skip
    assert config.generator == "Qwen/Qwen2.5-Math-1.5B"
    assert config.verifier.checkpoint == "Qwen/Qwen2.5-Math-7B-Instruct"
    assert (config.trainer.beta, config.trainer.max_completion_length, config.trainer.max_steps) == (
        0,
        3072,
        600,
    )
    assert (config.data.answers, config.data.eval_prompts) == ("boxed", 100)


QUICK = {("advantage_norm", "paper"), ("math", "laptop")}
SWEEPS = [
    pytest.param(file.stem, scale, marks=() if (file.stem, scale) in QUICK else pytest.mark.slow)
    for file in sorted((CONF / "experiment").glob("*.yaml"))
    for scale in OmegaConf.load(file).experiment.get("sweep", ())
    if scale != "miniature"
]


@pytest.mark.parametrize(("experiment", "scale"), SWEEPS)
def test_every_cell_of_an_experiments_grid_is_valid(experiment: str, scale: str) -> None:
    for line in composition.expand_command_line(["-m", f"experiment={experiment}", f"scale={scale}"]):
        assert composition.compose_one_line(line)
