"""Bad command lines are refused, before anything runs, by one sentence that names field, value and remedy."""

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import hub_stub
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.config import composition, registration
from experiments.config.schema import Config
from experiments.config.settings import declaration, group_of
from experiments.config.trainers import TRAINERS
from experiments.config.validation import BadConfig
from experiments.run import inputs, preparation
from experiments.sweep.help import help_text

ROOT = Path(composition.CONF).parent

OPEN_ENDED = ["scale=laptop", "data=instructions", "judge=reference_similarity"]
OPENAI = ["judge=openai", "judge.model=x"]
BAD = [
    (["family=qwn"], ["family=qwn", "qwen"]),
    (["family=nothing_like_it"], ["family=nothing_like_it", "gemma, llama, olmo, qwen, qwen_1_5b, qwen_math, smollm2"]),
    (["reward=cmee"], ["reward=cmee", "cme"]),
    (["regime=sftt"], ["regime=sftt is unknown", "pretrained, sft, instruct"]),
    (["tracker=nowhere"], ["tracker=nowhere", "mlflow, none, tensorboard, trackio, wandb"]),
    (["trainer.lora.r=8"], ["trainer.lora.r=8: trainer.lora is null", "adapter=lora"]),
    (["trainer.lerning_rate=1e-4"], ["trainer.lerning_rate=1e-4", "trainer.learning_rate"]),
    (["trainer.max_steps=ten"], ["trainer.max_steps=ten", "int"]),
    (["scale=paper", "selection.every=100"], ["selection.every=100 saves 49", "max_checkpoints=25"]),
    (["scale=paper", "regime=sft"], ["regime=sft", "family=qwen", "scale=paper", "pretrained, instruct"]),
    (["verifier=qwen_coder_1_5b"], ["verifier=qwen_coder_1_5b", "scale=miniature", "laptop"]),
    ([*OPEN_ENDED, "reward=majority_vote"], ["reward=majority_vote", "data=instructions", "data=world"]),
    (["scale=laptop", "data=instructions"], ["judge", "data=instruction_following", "judge=reference_similarity"]),
    ([*OPEN_ENDED, "judge=oracle"], ["judge=oracle", "data=instructions", "judge=reference_similarity"]),
    (["trainer.num_generations=1"], ["trainer.num_generations=1", "at least 2"]),
    (["trainer.num_generations=7"], ["trainer.num_generations=7", "64", "2, 4, 8, 16, 32, 64"]),
    (["family=qwen,llama"], ["family=qwen,llama", "-m"]),
    (["preset=paper"], ["preset=paper", "scale=miniature", "scale=paper", "preset=matched"]),
    (["reward=majority_vote", "reward.train_on=9"], ["train_on=9", "num_generations=8"]),
    (["reward=token_entropy_format", "data.answers=none"], ["no_answer=-7.0", "answers=none"]),
    (["reward=reverse_kl", "reward.max_prompt_tokens=0"], ["max_prompt_tokens=0", "at least 1"]),
    (["+reward.foo=1"], ["reward.foo", "CrossModelEntropy", "empty_response"]),
    (["~reward.score_end_of_turn", "~reward.verifier"], ["reward", "verifier"]),
    (["reward._target_=cme.rewards.Nope"], ["reward._target_=cme.rewards.Nope, which no file in conf/ names"]),
    (["trainer.learning_rate=0"], ["trainer.learning_rate=0", "above 0"]),
    *(([f"{field}=2000000"], [f"{field}=2000000; it must be above 0 and at most 1000000"])
      for field in ("evaluation.max_new_tokens", "trainer.max_completion_length")),
    *(([f"data.{field}=mine.jsonl"], [f"data.{field}=mine.jsonl has no effect with data=world", "use data=file"])
      for field in ("path", "eval_path")),
    (["reward.verifier=5"], ["verifier=5; it must be the name of a checkpoint, or a list of names"]),
    (["generator=''"], ["generator=''", "name of a checkpoint"]),
    (["trainer.learning_rate=-inf"], ["trainer.learning_rate=-inf; it must be a finite number"]),
    *(([*group, f"{field}=nan"], [f"{field.lstrip('+')}=nan; it must be a finite number"])
      for group, field in [
      ([], "reward.std_floor"), (OPENAI, "judge.decoding.temperature"), ([], "+chat_template.generator.x")]),
    (["reward.clip=[0,inf]"], ["reward.clip[1]=inf; it must be a finite number"]),
    (["+chat_template.generator.x='\udcff'"], [r"chat_template.generator.x='\udcff'; it must be text without"]),
    (["trainer.adam_beta2=1"], ["trainer.adam_beta2=1", "below 1"]),
    (["seed=-1"], ["seed=-1; it must be at least 0"]),
    (["seed=4294967296"], ["seed=4294967296", "below 4294967296"]),
    ([*OPENAI, "judge.decoding.max_completion_tokens=-5"], ["max_completion_tokens=-5", "least 1"]),
    *(([option], [f"{option} is not an option", "plan=true"])
      for option in ("--dry-run", "-", "--seed=1", "-m=2")),
    (["~guard.patience"], ["~guard.patience: a field of the configuration cannot be deleted"]),
    (["reward.score_end_of_turn=maybe"], ["reward.score_end_of_turn=maybe", "bool"]),
    (["trusted_packages=[nowhere]", "judge._target_=nowhere.x"], ["judge._target_=nowhere.x cannot be imported"]),
    *(([f"{path}._target_={value}"], [f"{path}._target_={shown} is not in cme"])
      for path, value, shown in (("reward", "5", "5"), ("judge", "[1]", "[1]"), ("data.source", "null", "None"))),
    # a target that is not one of ours is refused before it is imported
    (["reward._target_=nowhere.Reward"], ["reward._target_=nowhere.Reward", "trusted_packages=[nowhere]"]),
    (["experiment.run=nowhere.run"], ["experiment.run=nowhere.run", "trusted_packages=[nowhere]"]),
    (["judge._target_=os.system"], ["judge._target_=os.system", "trusted_packages=[os]"]),
    (["data.source._target_=cme.runtime.files.os.system"], ["data.source._target_=", "which no file in conf/ names"]),
    # a name becomes part of file names
    *(([f"{group}.name=x/../evil"], [f"{group}.name='x/../evil'", "part of file names"])
      for group in ("family", "reward", "selection.judge")),
    *(([f"reward.name={name}"], [f"reward.name={name!r}"]) for name in ("..", "a b")),
    (["experiment=rewards", "experiment.name=../evil"], ["experiment.name='../evil'"]),
    (["results_dir="], ["results_dir is empty"]),
    # a resolved configuration is recorded
    *(([f"{field}=${{oc.env:OPENAI_API_KEY}}"], ["OPENAI_API_KEY is a secret", "api_key_variable"])
      for field in ("results_dir", "generator", "data.path")),
    (["judge=openai", "judge.model=${oc.env:OPENAI_API_KEY,x}"], ["OPENAI_API_KEY is a secret"]),
    # a trusted package may be named, but its class must be a reward and take the arguments
    (["trusted_packages=[collections]", "reward._target_=collections.Counter"], ["is not an argument of coll"]),
    (["trusted_packages=[array]", "reward._target_=array.array"], ["reward._target_=array.array", "arguments"]),
    (["trusted_packages=[collections]", "reward=self_certainty", "reward._target_=collections.UserDict"],
     ["reward._target_=collections.UserDict must derive from cme.rewards.base.Reward"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "named"), BAD, ids=lambda value: " ".join(value))
def test_bad_input_is_one_sentence(arguments: list[str], named: list[str]) -> None:
    with pytest.raises(BadConfig) as caught:
        composition.compose_cells(arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message and not message.startswith("'")
    for part in named:
        assert part in message, message


def test_one_bad_cell_fails_the_whole_sweep_and_is_named() -> None:
    with pytest.raises(BadConfig, match=r"cell scale=paper family=llama regime=sft"):
        composition.compose_cells(["-m", "scale=paper", "family=olmo,llama", "regime=sft"])
    with pytest.raises(BadConfig, match=r"trainer\.max_steps=0.*cell trainer\.max_steps=0"):
        composition.compose_cells(["-m", "trainer.max_steps=2,0"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["family=llama", "seed=3", "trainer.beta=0.1"],
        ["scale=paper", "reward=majority_vote", "data=world", "preset=paper", "trainer.learning_rate=1e-4"],
        ["trainer.lora.r=4", "adapter=lora", "data.path='a, b'"],
        ["+evaluation.comparators.x=y", "trainer.beta=1", "++trainer.beta=2"],
        ["judge@selection.judge=local", "reward.server={url: u, model: m}", "reward.clip=[0,1]"],
        ["results_dir=${data.name}", "~scale.heldout.olmo", "experiment.name=null"],
    ],
    ids=" ".join,
)
def test_a_cell_is_what_hydra_composes(overrides: list[str]) -> None:
    """Twice, since cells share the composition of their groups."""
    registration.register()
    with initialize_config_dir(str(composition.CONF), version_base="1.3"):
        expected = OmegaConf.to_yaml(compose("config", overrides=overrides))
    groups = composition.config_groups()
    assert [OmegaConf.to_yaml(composition._compose(overrides, groups)) for _ in range(2)] == [expected] * 2


def test_a_grid_that_is_no_mapping_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(composition.CONF, tmp_path / "conf")
    monkeypatch.setattr(composition, "CONF", tmp_path / "conf")
    text = "# @package _global_\nexperiment: {name: mine, sweep: {miniature: [sft]}}\n"
    (tmp_path / "conf/experiment/mine.yaml").write_text(text)
    with pytest.raises(BadConfig, match=r"experiment/mine.*sft"):
        composition.compose_cells(["-m", "experiment=mine"])


def test_a_sweep_is_the_product_of_its_values() -> None:
    found = composition.compose_cells(
        ["--multirun", "family=qwen,gemma", "seed=range(0,3)", "trainer.beta=0.5"]
    )
    assert [(c.family.name, c.seed) for c in found] == [(f, s) for f in ("qwen", "gemma") for s in range(3)]
    assert {c.trainer.beta for c in found} == {0.5}
    assert [c.generator for c in found[::3]] == [
        "miniature:qwen-1/pretrained",
        "miniature:gemma-1/pretrained",
    ]


def test_a_verifier_that_is_the_generator_warns_once_for_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    same = ["-m", "family=gemma", "regime=instruct", "verifier=gemma_instruct,gemma", "seed=0,1,2"]
    composition.compose_cells(same)
    first = "family=gemma regime=instruct verifier=gemma_instruct seed=0"
    assert capsys.readouterr().err.splitlines() == [
        "warning: verifier equals generator (miniature:gemma-1/instruct), but the experiment claims an "
        f"independent verifier (cell {first} and 2 more)"
    ]
    composition.compose_cells([*same, "experiment.independent_verifier=false"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (
            ["-m", "reward=cme,random"],
            ["miniature:gemma-1/verifier", "miniature:olmo-1/verifier", "miniature:qwen-1/pretrained"],
        ),
        (["reward=random"], ["miniature:olmo-1/verifier", "miniature:qwen-1/pretrained"]),
        (["experiment=judge_sanity"], ["miniature:qwen-1/pretrained"]),
    ],
)
def test_checkpoints_are_those_that_cells_load_each_once(arguments: list[str], names: list[str]) -> None:
    judged = [
        "judge=local",
        "judge.checkpoint=x",
        "judge@selection.judge=local",
        "selection.judge.checkpoint=y",
    ]
    for more, judges in (([], ["x"]), (["selection.every=1"], ["x", "y"])):
        cells = composition.compose_cells([*arguments, *judged, *more])
        assert sorted(preparation.checkpoint_names(cells)) == [*names, *judges]


def test_the_data_have_all_prompts_for_tuning(tmp_path: Path) -> None:
    preparation.prepare(composition.compose_cells(["experiment=tuning", f"results_dir={tmp_path}"]))


def test_everything_missing_is_named_before_anything_runs(tmp_path: Path) -> None:
    """The judge's key, two gated models and both data sets, from a hub of our own over real HTTP."""
    with hub_stub.running() as (url, asked):
        done = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), "scale=paper", "family=llama", "regime=instruct",
             f"results_dir={tmp_path / 'runs'}"],
            capture_output=True, text=True, cwd=tmp_path, timeout=120,
            env=hub_stub.environment(tmp_path / "home", url),
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    key, *weights, train, evaluation = done.stderr.splitlines()
    assert "OPENAI_API_KEY" in key and "gpt-5.2" in key
    assert [line.split(" is gated")[0] for line in weights] == [
        "error: checkpoint google/gemma-4-E4B-it",
        "error: checkpoint meta-llama/Llama-3.2-1B-Instruct",
    ]
    assert "data set openbmb/UltraFeedback is not on the hub" in train
    assert "data set tatsu-lab/alpaca_eval is not on the hub" in evaluation
    assert len(asked) == 4, "one request each"
    assert not (tmp_path / "runs").exists()


def test_a_local_file_with_wrong_columns_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    (tmp_path / "x.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    [config] = composition.compose_cells(["data=math", *OPENAI, f"data.source.path={tmp_path / 'x.jsonl'}"])
    with pytest.raises(BadConfig, match=r"lacks the column.*prompt, completion"):
        inputs.load_prompts(config.data, "train", 1)


def test_validation_imports_no_torch() -> None:
    code = (
        "import sys\nfrom experiments.config.composition import compose_cells\n"
        "from experiments.config.validation import BadConfig\n"
        "for scale in ('miniature', 'laptop', 'paper'): assert len(compose_cells([f'scale={scale}'])) == 1\n"
        "for reward in ('majority_vote', 'token_entropy', 'ground_truth'): compose_cells([f'reward={reward}'])\n"
        "for bad in ('family=qwn', 'trainer.num_generations=1', '+reward.foo=1'):\n"
        "    try: compose_cells([bad])\n    except BadConfig: pass\n    else: raise SystemExit(bad)\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'sentence_transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr


def test_every_number_has_a_lower_bound() -> None:
    def unbounded(schema: type, path: str) -> list[str]:
        names = []
        for one in fields(schema):
            options, group = (one.type, *get_args(one.type)), group_of(one)
            setting = declaration(one)
            if setting is None and group is not None:
                names += unbounded(group, f"{path}{one.name}.")
            elif setting is not None and {int, float} & set(options):
                names += [] if setting.limits.keys() & {"at_least", "above"} else [f"{path}{one.name}"]
        return names

    every = {"": Config, **{f"{method}: trainer.": schema for method, schema in TRAINERS.items()}}
    assert [name for path, schema in every.items() for name in unbounded(schema, path)] == []


def test_help_lists_groups_and_fields_with_their_help() -> None:
    text = help_text()
    summed = "several, as in [cme,length], are summed"
    assert f"reward: reward that the policy is trained on; {summed}\n    reward=cme, " in text
    assert "trainer.beta (float = 0.0): weight of the KL penalty; at least 0" in text
    assert "selection.every (int | None = null): " in text and "data.eval_prompts (int): " in text
    assert "trainer.lora.r (int): rank" in text and "scale.name" in text
    assert text.count("trainer.learning_rate (float)") == 1
    assert "Arguments of reward=cme, cme_answer" in text and "reward.pmi (bool = false): subtract" in text
    assert "reward.granularity (sequence | token = sequence): " in text
    assert text.count("judge.max_usd (float | None = null)") == 1 and "data.source.eval_source (" in text
    assert "hydra/launcher=" in text and "source=" not in text and "accelerate=" not in text
