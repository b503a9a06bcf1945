"""The parts of the rehearsal: the commands of scale=paper as users type them, with fewer steps, prompts and tokens."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from cme.records import RunRecord, read_record
from tests.rehearsal.stand_ins.hub_cache import HubCache
from tests.rehearsal.stand_ins.judge_server import JudgeServer

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reproduce.md"
STEPS, TOKENS, PROMPTS = 2, 24, 6
RUN = (sys.executable, "run.py")
LAUNCHED = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", "conf/accelerate/cpu_ddp.yaml"),
    *("--main_process_port", "0", "run.py"),
)
EXPERIMENTS = (sys.executable, "-m", "experiments")

EVALUATION = (f"data.eval_prompts={PROMPTS}", f"evaluation.max_new_tokens={TOKENS}", "tracker=none")
SELECTION = ("selection.every=1", "selection.prompts=4")
TRAINING = (f"trainer.max_steps={STEPS}", "data.train_prompts=16", *EVALUATION)
GRPO = (
    *(*TRAINING, f"trainer.max_completion_length={TOKENS}", "monitor_every=1"),
    *("trainer.learning_rate=3e-3", "trainer.warmup_steps=0"),  # two steps change a policy
)
CAPABILITIES = ("capabilities.tasks=[gsm8k,hendrycks_math500]", "capabilities.limit=1")
MAIN_TABLE = {
    *((family, regime) for family in ("qwen", "llama", "gemma") for regime in ("pretrained", "instruct")),
    *(("olmo", regime) for regime in ("pretrained", "sft", "instruct")),
}
"""The cells: family and regime."""


def page_commands() -> list[str]:
    """The commands of docs/reproduce.md, in their order: the lines of its code blocks without their comments."""
    blocks = PAGE.read_text().split("\n```\n")[1::2]
    lines = [line for block in blocks for line in block.splitlines()]
    return [command for line in lines if (command := re.sub(r"\s+#.*", "", line).strip())]


@dataclass(frozen=True)
class Part:
    """A command of the rehearsal.

    Attributes:
        words: the command's words, but for the judges' addresses and the results directory.
        judges: the fields that take a judge's address, each with the maker that it is the address of.
        start: what starts the command.
        typed: the command of docs/reproduce.md that this is in reduced form; empty for any other.
    """

    words: tuple[str, ...]
    judges: Mapping[str, str]
    start: tuple[str, ...] = RUN
    typed: str = ""


def of_page(command: str, *reduced: str, judges: Mapping[str, str] | None = None) -> Part:
    """A command of docs/reproduce.md and what reduces it, run by this Python and without vLLM, which needs a GPU."""
    words = shlex.split(command.replace(".venv/bin/python", sys.executable))
    kept = [word for word in words if word != "trainer.use_vllm=true"]
    return Part((*kept, *reduced), judges or {}, (), command)


GPT = {"judge.base_url": "openai", "selection.judge.base_url": "openai"}
PANEL = {
    "judge.members.gpt_5_2.base_url": "openai",
    "judge.members.anthropic.base_url": "anthropic",
    "selection.judge.base_url": "openai",
}
SHORT = (*SELECTION, "capabilities=none")
CELL = ("scale=paper", "family=llama", "regime=instruct")
LLAMA = (*CELL, *SHORT)
SEVERAL_REWARDS = (
    "reward=cme,reverse_kl,token_entropy,token_entropy_last,self_certainty,semantic_entropy,random"
)

MAIN_TABLE_COMMAND = (
    ".venv/bin/python run.py -m experiment=main_table scale=paper judge=panel trainer.use_vllm=true"
)
ONE_CELL_COMMAND = "docs/recipes/one-cell.sh trainer.use_vllm=true judge.max_usd=20"

PARTS: dict[str, Part] = {
    "plan of a cell": of_page("docs/recipes/llama-instruct.sh plan=true"),
    "plan": of_page(
        ".venv/bin/python run.py -m experiment=main_table scale=paper comparators=paper judge=panel plan=true"
    ),
    "main table": of_page(MAIN_TABLE_COMMAND, *GRPO, *SELECTION, *CAPABILITIES, judges=PANEL),
    "main table by a launcher": of_page(
        MAIN_TABLE_COMMAND.replace("-m ", "-m hydra/launcher=local "),
        *(*GRPO, *SELECTION, *CAPABILITIES),
        judges=PANEL,
    ),
    "judge sanity": of_page(
        ".venv/bin/python run.py experiment=judge_sanity scale=paper family=llama regime=instruct judge=gpt_5_2 "
        "selection.every=null capabilities=none",
        *EVALUATION,
        judges=GPT,
    ),
    "status": of_page(".venv/bin/python -m experiments status"),
    "resume": of_page(".venv/bin/python -m experiments resume"),
    "recipe of mathematics": of_page("docs/recipes/mathematics.sh trainer.use_vllm=true", *GRPO),
    "separation": of_page(
        ".venv/bin/python run.py -m experiment=separation scale=paper",
        *(*EVALUATION, "trainer.num_generations=4"),
    ),
    "one cell": of_page(ONE_CELL_COMMAND, *GRPO, judges=GPT),
    "one cell, random weights": of_page(f"{ONE_CELL_COMMAND} verifier=random", *GRPO, judges=GPT),
    "second judge": Part(
        (
            *(*CELL, *GRPO, *SELECTION, *CAPABILITIES),
            *("comparators=paper", "judge=gpt_5_2", "experiment.name=main_table"),
        ),
        GPT,
    ),
    "baselines": Part(
        (
            "-m",
            "scale=paper",
            "family=qwen",
            "regime=pretrained",
            *GRPO,
            *SHORT,
            "preset=paper",
            SEVERAL_REWARDS,
        ),
        GPT,
    ),
    "dense": Part((*LLAMA, *GRPO, "reward.granularity=token"), GPT),
    "lora": Part((*LLAMA, *GRPO, "adapter=lora"), GPT),
    "dpo": Part((*LLAMA, *TRAINING, "trainer=dpo", "trainer.monitor_prompts=2"), GPT),
    "sft": Part(
        (
            *LLAMA,
            *TRAINING,
            "trainer=sft",
            "trainer.monitor_prompts=2",
            f"trainer.sampling.max_new_tokens={TOKENS}",
        ),
        GPT,
    ),
    "best of n": Part(
        (
            *(*CELL, *EVALUATION, "data.train_prompts=16", "capabilities=none", "selection.every=null"),
            *("trainer=best_of_n", "trainer.num_generations=4"),
        ),
        {"judge.base_url": "openai"},
    ),
    "mathematics": Part(("-m", "experiment=math", "scale=paper", *GRPO, *SHORT), {}),
    "verifier sweep": Part(("-m", "experiment=verifier_sweep", "scale=paper", *GRPO, *SHORT), GPT),
    "verifier sweep of mathematics": Part(
        ("-m", "experiment=verifier_sweep_math", "scale=paper", *GRPO, *SHORT), {}
    ),
    # on the bundled instructions: the paper's data have no reference answers
    "reward probe": Part(("probe", *CELL, "data=instructions", *EVALUATION), GPT, EXPERIMENTS),
    "two processes": Part((*LLAMA, *GRPO, "seed=7"), GPT, LAUNCHED),
}


def run_command(command: list[str], cache: HubCache) -> "subprocess.CompletedProcess[str]":
    """Run a command in the repository, on one thread of the CPU. Raises TimeoutExpired after an hour."""
    environment = cache.environment() | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
        "PYTHON": sys.executable,  # of the recipes
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3600, check=False
    )


class Rehearsal:
    """Runs each part once, in one of the processes that share `folder`, and reads its records."""

    def __init__(self, cache: HubCache, server: JudgeServer, folder: Path) -> None:
        self.cache, self.server, self.folder = cache, server, folder

    def results(self, part: str) -> Path:
        """The results directory of a part."""
        return self.folder / part.replace(" ", "-")

    def run_in(self, results: Path, name: str, *further: str) -> str:
        """Run a part in a results directory, with further words; it must succeed. Returns what it prints."""
        part = PARTS[name]
        addresses = [f"{field}={self.server.url(maker)}" for field, maker in part.judges.items()]
        words = [*part.start, *part.words, *further, *addresses, f"results_dir={results}"]
        done = run_command(words, self.cache)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def run(self, part: str) -> str:
        """What a part prints; it runs once."""
        printed = self.folder / f"{part}.stdout"
        with FileLock(printed.with_suffix(".lock")):
            if not printed.exists():
                printed.write_text(self.run_in(self.results(part), part))
        return printed.read_text()

    def records(self, part: str) -> list[RunRecord]:
        """The run records of a part."""
        self.run(part)
        return [read_record(path) for path in sorted(self.results(part).glob("*/record.json"))]

    def snapshot(self, name: str) -> str:
        """The folder of a checkpoint."""
        return str(self.cache.snapshot(name))
