"""The parts of the rehearsal: the commands of scale=paper as users type them, with fewer steps, prompts and tokens."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
FAST = (
    "trainer.learning_rate=3e-3",
    "trainer.warmup_steps=0",
    "monitor_every=1",
)  # two steps change a policy
GRPO = (*TRAINING, *FAST, f"trainer.max_completion_length={TOKENS}")
CAPABILITIES = ("capabilities.tasks=[gsm8k,hendrycks_math500]", "capabilities.limit=1")
NO_EXTRAS = ("capabilities=none",)


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
QWEN = ("scale=paper", "family=qwen", "regime=pretrained", *NO_EXTRAS, *SELECTION)
LLAMA = ("scale=paper", "family=llama", "regime=instruct", *NO_EXTRAS, *SELECTION)
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
            *("scale=paper", "family=llama", "regime=instruct", "comparators=paper", *GRPO, *SELECTION),
            *(*CAPABILITIES, "judge=gpt_5_2", "experiment.name=main_table"),
        ),
        GPT,
    ),
    "baselines": Part(("-m", *QWEN, *GRPO, "preset=paper", SEVERAL_REWARDS), GPT),
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
            *(
                "scale=paper",
                "family=llama",
                "regime=instruct",
                *NO_EXTRAS,
                *EVALUATION,
                "data.train_prompts=16",
            ),
            *("trainer=best_of_n", "trainer.num_generations=4", "selection.every=null"),
        ),
        {"judge.base_url": "openai"},
    ),
    "mathematics": Part(("-m", "experiment=math", "scale=paper", *GRPO, *SELECTION, *NO_EXTRAS), {}),
    "verifier sweep": Part(
        ("-m", "experiment=verifier_sweep", "scale=paper", *GRPO, *SELECTION, *NO_EXTRAS), GPT
    ),
    "verifier sweep of mathematics": Part(
        ("-m", "experiment=verifier_sweep_math", "scale=paper", *GRPO, *SELECTION, *NO_EXTRAS), {}
    ),
    # on the bundled instructions: the paper's data have no reference answers
    "reward probe": Part(
        ("probe", "scale=paper", "family=llama", "regime=instruct", "data=instructions", *EVALUATION),
        GPT,
        EXPERIMENTS,
    ),
    "two processes": Part((*LLAMA, *GRPO, "seed=7"), GPT, LAUNCHED),
}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str
    cpu_seconds: float


def run_part(name: str, cache: HubCache, server: JudgeServer, results: Path, *further: str) -> Done:
    """Run a part to its end, with further words of a command line."""
    part = PARTS[name]
    addresses = [f"{field}={server.url(maker)}" for field, maker in part.judges.items()]
    words = [*part.words, *further, *addresses, f"results_dir={results}"]
    return run_command([*part.start, *words], cache)


def run_command(command: list[str], cache: HubCache, timeout: float = 3600) -> Done:
    """Run a command in the repository, on one thread of the CPU. Raises TimeoutExpired after `timeout` seconds."""
    environment = cache.environment() | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
        "PYTHON": sys.executable,  # of the recipes
    }
    before = _cpu_seconds_of_children()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr, _cpu_seconds_of_children() - before)


class Rehearsal:
    """Runs each part once, in one of the processes that share `folder`, and reads its records."""

    def __init__(self, cache: HubCache, server: JudgeServer, folder: Path) -> None:
        self.cache, self.server, self.folder = cache, server, folder

    def results(self, part: str) -> Path:
        """The results directory of a part."""
        return self.folder / part.replace(" ", "-")

    def run(self, part: str, *further: str) -> Done:
        """A part, which must succeed."""
        outcome = self.folder / f"{part}.done.json"
        with FileLock(outcome.with_suffix(".lock")):
            if not outcome.exists():
                done = run_part(part, self.cache, self.server, self.results(part), *further)
                print(f"{part}: {done.cpu_seconds:.0f} s of CPU")
                outcome.write_text(json.dumps(asdict(done)))
        done = Done(**json.loads(outcome.read_text()))
        assert done.code == 0, done.stderr[-3000:]
        return done

    def records(self, part: str) -> list[RunRecord]:
        """The run records of a part."""
        self.run(part)
        return [read_record(path) for path in sorted(self.results(part).glob("*/record.json"))]

    def snapshot(self, name: str) -> str:
        """The folder of a checkpoint."""
        return str(self.cache.snapshot(name))


def _cpu_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system
