"""GRPO on tiny random models: the history, the guard, and which weights training changes."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import trainings
from trainings import PROMPTS, rows_of, run_grpo, same, weights
from transformers import AutoModelForCausalLM, TrainerCallback, TrainerControl, TrainerState
from trl import GRPOTrainer
from verifiers import Folder, Tiny, make_verifier

from cme import TrainingFailed
from cme.checkpoints import Checkpoint, load
from cme.miniature import world
from cme.models import chat
from cme.models.generation import sample
from cme.records import Grade
from cme.rewards import CrossModelEntropy, Reward
from cme.scoring.token_scorer import TokenScorer
from cme.training import grpo, trl_internals
from cme.training.collapse import CollapseCallback, CollapseGuard
from cme.training.history import HISTORY, TrainingResult
from cme.training.job import TrainingJob, checkpoint_folder
from cme.training.monitors import Monitors
from cme.training.trl_internals import PromptTrainer

OF_VOTES = {"accuracy", "majority_share", "label_accuracy", "semantic_entropy"}  # of what compares answers


def letters(completions: list[Any], **_: Any) -> list[float | None]:
    """The number of letters `e` in a completion."""
    return [float(chat.to_text(c).count("e")) for c in completions]


def constant(completions: list[Any], **_: Any) -> list[float | None]:
    return [1.0] * len(completions)


def run(
    tiny: Tiny, folder: Path, reward: Any, *, policy: Checkpoint | None = None, **given: Any
) -> TrainingResult:
    return run_grpo(policy or tiny("qwen"), tiny("qwen"), reward, TrainingJob(0, folder, quiet=True), **given)


def modules(checkpoint: Checkpoint | TokenScorer) -> set[int]:
    return {id(m) for m in checkpoint.model.modules()}


def test_the_parts_of_the_steps_are_timed_apart(tiny: Tiny, tmp_path: Path) -> None:
    def slow(completions: list[Any], **_: Any) -> list[float | None]:
        time.sleep(0.4)
        return letters(completions)

    began = time.perf_counter()
    seconds = run(tiny, tmp_path, slow).seconds
    assert sum(seconds.values()) < time.perf_counter() - began
    assert set(seconds) == {"sampling", "scoring", "monitoring", "update"}
    assert seconds["scoring"] >= 1.2 and all(part > 0 for part in seconds.values())


def test_history_and_saved_policy(tiny: Tiny, tmp_path: Path) -> None:
    policy, start = tiny("gemma"), tiny("gemma")
    verifier = tiny("llama")
    heldout = make_verifier(verifier)
    before, held_before = weights(start), weights(verifier)
    result = run(tiny, tmp_path, letters, policy=policy, monitors=Monitors(start, heldout, world.grade))
    history = result.history
    assert result.stopped is None
    assert {len(column) for column in history.values()} == {3}
    assert history["step"] == [1, 2, 3]
    assert set(history) == set(HISTORY) - OF_VOTES
    assert history["kl"][0] == pytest.approx(0, abs=1e-4), "the policy is its start before the first update"
    assert history["kl"][2] is not None and abs(history["kl"][2]) > 1e-3
    assert history["unscored"] == [0, 0, 0]
    assert all(q is not None and 0 <= q <= 1 for q in history["quality"])
    assert all(h is not None and h < 0 for h in history["heldout"])
    assert all(n is not None and 0 < n <= 6 for n in history["length"])

    assert same(weights(start), before) and same(weights(verifier), held_before)
    assert not same(weights(policy), before)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".json", ".jinja", ".safetensors"}
    saved = load(str(tmp_path))
    assert same(weights(saved), weights(policy))
    assert saved.tokenizer.chat_template == policy.tokenizer.chat_template
    assert saved.tokenizer.eos_token_id == policy.tokenizer.eos_token_id


def test_completions_left_out_on_purpose_are_not_unscored_and_get_no_advantage(
    tiny: Tiny, tmp_path: Path, batches: list[dict[str, Any]]
) -> None:
    """In each group of four, two completions are scored; four in all are left out on purpose."""

    class Some(Reward):
        __name__ = "some"
        left_out = 4

        def __call__(self, *_: Any, **__: Any) -> list[float | None]:
            return [1.0, 0.0, None, None, None, 0.5, None, None]

    result = run(tiny, tmp_path, Some())
    assert result.history["unscored"] == [1 / 4] * 3
    assert result.history["reward"] == [0.5] * 3
    for advantages in (batch["advantages"].tolist() for batch in batches):
        assert advantages[0] == pytest.approx(-advantages[1]) and advantages[0] > 0.5
        assert advantages[2:] == [0] * 6


def test_a_verifier_shares_no_module_with_the_policy_of_the_same_name(
    tiny: Tiny, tiny_folder: Folder, tmp_path: Path
) -> None:
    reward = CrossModelEntropy(str(tiny_folder("qwen")), score_end_of_turn=True)
    policy, verifier = tiny("qwen"), reward.verifiers[0].engine
    assert isinstance(verifier, TokenScorer)
    assert not modules(policy) & modules(verifier)
    before = weights(verifier)
    [fixed] = reward.verifiers[0].score(["name two animals."], ["fox, bear."], [True])
    run(tiny, tmp_path, reward, policy=policy)
    assert same(weights(verifier), before)
    assert not same(weights(policy), before)
    [again] = reward.verifiers[0].score(["name two animals."], ["fox, bear."], [True])
    assert again.mean == fixed.mean
    assert not any(p.requires_grad for p in verifier.model.parameters())
    assert all(p.requires_grad for p in policy.model.parameters())


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Each batch of completions as the trainer prepared it: advantages, token ids."""
    seen: list[dict[str, Any]] = []

    class Watched(PromptTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            seen.append(super()._generate_and_score_completions(inputs))
            return seen[-1]

    monkeypatch.setattr(grpo, "PromptTrainer", Watched)
    return seen


def test_an_unscored_completion_gets_no_advantage(
    tiny: Tiny, tmp_path: Path, batches: list[dict[str, Any]]
) -> None:
    given: list[float | None] = [1.0, 2.0, None, 6.0, None, None, None, None]
    result = run(tiny, tmp_path, lambda completions, **_: given, max_steps=1, scale_rewards="none")
    # group 1: baseline of the three that were scored is 3; group 2: nothing was
    assert batches[0]["advantages"].tolist() == pytest.approx([-2, -1, 0, 3, 0, 0, 0, 0])
    assert result.history["unscored"] == [5 / 8]
    assert result.history["reward"] == [3.0]


@pytest.mark.parametrize("family", ["qwen", "llama"])  # without a BOS and with one
def test_the_policy_is_trained_on_the_prompts_that_scorers_see(
    tiny: Tiny, tmp_path: Path, batches: list[dict[str, Any]], family: str
) -> None:
    """Also where the prompts spell control tokens, which stay text. The reward gets the answers of these prompts."""
    policy = tiny(family)
    policy.tokenizer.add_special_tokens({"extra_special_tokens": [p.text[1:6] for p in PROMPTS]})
    seen: list[str] = []

    def reward(prompts: list[Any], answer: list[str | None], **_: Any) -> list[float | None]:
        seen.extend(chat.to_text(p) for p in prompts)
        assert answer == [{p.text: p.answer for p in PROMPTS}[text] for text in seen]
        return [float(i) for i in range(len(prompts))]

    run(tiny, tmp_path, reward, policy=policy, monitors=Monitors(tiny(family), None, None), max_steps=1)
    assert rows_of(batches[0], "prompt") == [chat.prompt_ids(tiny(family).tokenizer, p) for p in seen]
    assert len(set(seen)) == 2 and seen[:4] == seen[:1] * 4


@pytest.mark.parametrize(
    ("family", "masked"),
    [("qwen", False), ("llama", False), ("gemma", False), ("olmo", False), ("qwen", True)],
)
def test_log_probabilities_entropies_and_gradients_equal_those_of_trl(
    tiny: Tiny, tmp_path: Path, family: str, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL computes the prompt of each completion by itself. Where all completions are cut, masking leaves no token."""
    compared = 0

    class Compared(PromptTrainer):
        def _get_per_token_logps_and_entropies(self, model: Any, *rows: torch.Tensor, **settings: Any) -> Any:
            nonlocal compared
            found = super()._get_per_token_logps_and_entropies(model, *rows, **settings)
            expected = GRPOTrainer._get_per_token_logps_and_entropies(self, model, *rows, **settings)
            kept = rows[1][:, -rows[2] :].bool()
            weights = torch.randn(kept.shape)
            gradients = []
            for log_probs, entropies, _ in (found, expected):
                loss = ((log_probs + entropies) * weights * kept).sum()
                gradients.append(torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))
            for ours, theirs in zip(found[:2], expected[:2], strict=True):
                torch.testing.assert_close(ours * kept, theirs * kept, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)
            compared += 1
            return found

    monkeypatch.setattr(grpo, "PromptTrainer", Compared)
    settings = {"max_completion_length": 12, "temperature": 0.8, "mask_truncated_completions": masked}
    monitors = Monitors(tiny(family), None, None)
    run(tiny, tmp_path, letters, policy=tiny(family), monitors=monitors, max_steps=2, **settings)
    assert compared == 2


def test_in_bfloat16_a_rounded_copy_of_the_present_policy_samples(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """The policy keeps float32 weights, and the copy the float32 frequencies of its positions."""
    policy = tiny(family)
    copies: list[list[torch.Tensor]] = []

    def watched(model: Any, *arguments: Any, **settings: Any) -> list[list[int]]:
        copies.append([weight.to(torch.bfloat16) for weight in policy.model.parameters()])
        assert same(copies[-1], list(model.parameters())) and model is not policy.model
        assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}
        assert model(torch.tensor(arguments[0][:1])).logits.dtype == torch.bfloat16, (
            "the copy itself computes"
        )
        return sample(model, *arguments, **settings)

    monkeypatch.setattr(trl_internals, "sample", watched)
    monitors = Monitors(tiny(family), None, None)
    run(tiny, tmp_path, letters, policy=policy, monitors=monitors, max_steps=2, bf16=True)
    assert len(copies) == 2 and not same(*copies), "the first step must change the weights"
    assert policy.model.dtype == torch.float32
    saved = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert saved.dtype == torch.bfloat16
    assert same([w.to(torch.bfloat16) for w in policy.model.parameters()], list(saved.parameters()))


def test_in_bfloat16_the_loss_is_that_of_mixed_precision(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Like TRL's up to the rounding, and unlike float32; the same before and in the update, so that no ratio is off."""
    gaps: list[list[float]] = []

    class Compared(PromptTrainer):
        def _get_per_token_logps_and_entropies(self, model: Any, *rows: Any, **settings: Any) -> Any:
            found = super()._get_per_token_logps_and_entropies(model, *rows, **settings)
            theirs = GRPOTrainer._get_per_token_logps_and_entropies(self, model, *rows, **settings)
            ids, mask, width = rows
            parts = [
                [row[kept.bool()].tolist() for row, kept in zip(ids[:, at], mask[:, at], strict=True)]
                for at in (slice(-width), slice(-width, None))
            ]
            exact = torch.cat([one.log_likelihoods for one in TokenScorer(model).score(*parts)])
            values = [each[0].detach()[mask[:, -width:].bool()] for each in (found, theirs)]
            gaps.append([float((values[0] - other).abs().mean()) for other in (values[1], exact)])
            return found

    class Clipped(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            clipped.extend(logs[name] for name in ("clip_ratio/region_mean",) if name in logs)

    clipped: list[float] = []
    monkeypatch.setattr(grpo, "PromptTrainer", Compared)
    settings: dict[str, Any] = {"bf16": True, "num_iterations": 2, "epsilon": 1e-6, "learning_rate": 1e-12}
    job = TrainingJob(0, tmp_path, callbacks=[Clipped()], quiet=True)
    run_grpo(tiny(family), tiny(family), letters, job, max_steps=2, **settings)
    assert all(to_trl < 0.05 and to_float32 > 1e-3 for to_trl, to_float32 in gaps), gaps
    assert len(gaps) == 3 and clipped == [0.0, 0.0], "old log-probabilities once, then two updates"


@pytest.mark.parametrize(
    ("settings", "steps"),
    [  # groups per step
        ({}, 4),  # 2
        ({"gradient_accumulation_steps": 2}, 2),  # 4, from one sampling
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 1}, 2),  # 4, from two samplings
        ({"num_generations": 8}, 7),  # 1
    ],
)
def test_the_guard_waits_for_seven_groups(
    tiny: Tiny, tmp_path: Path, settings: dict[str, Any], steps: int
) -> None:
    guard = CollapseGuard(patience=1, patience_groups=7, max_unscored=1.0)
    result = run(tiny, tmp_path, constant, guard=guard, max_steps=8, **settings)
    assert result.stopped == f"at step {steps}: every group's rewards were constant for {steps} steps"
    assert result.history["step"] == [*range(1, steps + 1)] and (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("ending", ["<|endoftext|>", "<|im_end|>"])
def test_a_completion_that_ends_at_any_end_token_is_finished(tiny: Tiny, tmp_path: Path, ending: str) -> None:
    """The generation config of the untrained model ends at the first, its chat template at the second."""
    policy, start = tiny("qwen"), tiny("qwen")
    end = policy.tokenizer.convert_tokens_to_ids(ending)
    for checkpoint in (policy, start):
        with torch.no_grad():
            checkpoint.model.get_input_embeddings().weight[end] *= 20  # the head is tied: it is sampled often
    seen: list[tuple[list[int], bool]] = []

    class Ends(Reward):
        __name__ = "ends"

        def __call__(
            self, prompts: Any, completions: Any, completion_ids: Any, **_: Any
        ) -> list[float | None]:
            seen.extend(zip(completion_ids, self.finished_flags(completion_ids), strict=True))
            return [float(i % 3) for i in range(len(prompts))]

    flags: list[bool] = []

    def oracle(prompt: str, response: str, finished: bool) -> Grade:
        flags.append(finished)
        return Grade(0.0, "wrong", {})

    monitors = Monitors(start, None, oracle)
    result = run(
        tiny, tmp_path, Ends(), policy=policy, monitors=monitors, max_completion_length=12, max_steps=1
    )
    ended = [ids for ids, finished in seen if finished]
    assert 0 < len(ended) < 8 == len(seen)
    assert all(ids.index(end) == len(ids) - 1 for ids in ended)
    assert not any(end in ids for ids, finished in seen if not finished)
    assert flags == [finished for _, finished in seen]
    assert result.history["clipped"] == [1 - len(ended) / 8]
    assert load(str(tmp_path)).end_ids == start.end_ids == (1, 2)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert sorted(saved["eos_token_id"]) == [1, 2]


def test_vllm_stops_at_every_end_token(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Constructed(Exception):
        pass

    def construct(*, args: Any, **_: Any) -> None:
        assert args.use_vllm and args.generation_kwargs == {"stop_token_ids": [1, 2]}
        raise Constructed

    monkeypatch.setattr(grpo, "PromptTrainer", construct)
    with pytest.raises(Constructed):
        run(tiny, tmp_path, letters, use_vllm=True)


FINE = {"reward": 1.0, "unscored": 0.2, "frac_reward_zero_std": 0.0, "completions/clipped_ratio": 0.5}
MANY, FLAT = FINE | {"unscored": 0.31}, FINE | {"frac_reward_zero_std": 1.0}
CUT = FINE | {"completions/clipped_ratio": 1.0}


@pytest.mark.parametrize(
    ("logs", "stopped"),
    [
        ([MANY, MANY], "at step 2: more than 30% of completions were unscored for 2 steps"),
        ([FINE, MANY, FINE, MANY, FINE], None),  # never two in a row
        ([MANY, FLAT, MANY, FLAT], None),  # each reason counts by itself
        ([FINE | {"unscored": 0.3}] * 4, None),  # at the limit is within it
        ([FINE, FLAT, FLAT, MANY, MANY], "at step 3: every group's rewards were constant for 2 steps"),
        ([FLAT, {"train_runtime": 1.0}, FINE], None),  # a line of the log that is no step
        ([CUT, CUT], "at step 2: every completion was cut at the length limit for 2 steps"),
    ],
)
def test_the_guard_counts_consecutive_steps(logs: list[dict[str, float]], stopped: str | None) -> None:
    callback = CollapseCallback(CollapseGuard(2, 1, max_unscored=0.3), groups_per_step=8)
    control = TrainerControl()
    for step, entry in enumerate(logs, start=1):
        callback.on_log(
            None, TrainerState(global_step=step, max_steps=9), control, {"grad_norm": 1.0, **entry}
        )
    assert callback.stopped == stopped
    assert control.should_training_stop == (stopped is not None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_rewards_that_are_not_finite_raise(tiny: Tiny, tmp_path: Path, value: float) -> None:
    def reward(completions: list[Any], **_: Any) -> list[float | None]:
        return [1.0, None, value, value, 0.0, 0.0, 0.0, 0.0]

    with pytest.raises(TrainingFailed, match=rf"'reward' gave {value} for 2 of 8 completions"):
        run(tiny, tmp_path, reward)
    assert not (tmp_path / "model.safetensors").exists()


def test_gradients_that_are_not_finite_raise(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tiny("qwen")
    next(policy.model.parameters()).register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainingFailed, match="gradient norm is nan at step 1"):
        run(tiny, tmp_path, letters, policy=policy, max_steps=1)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_training_that_changes_no_weight_says_so(tiny: Tiny, tmp_path: Path) -> None:
    policy = tiny("qwen")
    before = weights(policy)
    found = run(tiny, tmp_path / "a", constant, policy=policy)  # no gradient
    assert same(weights(policy), before) and len(found.history["step"]) == 3
    assert found.untrained == "the training changed no weight"
    assert run(tiny, tmp_path / "b", letters).untrained is None
    assert TrainingResult({}, None).untrained == "the training made no step"


def test_a_penalty_does_not_change_the_measured_kl(tiny: Tiny, tmp_path: Path) -> None:
    """TRL logs another `kl`, per token and at every step, where beta > 0."""
    histories = []
    for beta in (0.0, 1e-9):
        watched = Monitors(tiny("qwen"), None, None, every=2)
        policy = tiny("qwen")
        found = run(tiny, tmp_path / str(beta), letters, policy=policy, monitors=watched, beta=beta)
        histories.append(found.history["kl"])
    without, penalised = histories
    assert without[1] is None and penalised[1] is None
    assert without[2] is not None and abs(without[2]) > 1e-3
    assert penalised[2] == pytest.approx(without[2], rel=1e-3)


def test_training_is_reproducible_from_its_seed(tiny: Tiny, tmp_path: Path) -> None:
    a, b = tiny("olmo"), tiny("olmo")
    first = run(tiny, tmp_path / "a", letters, policy=a, monitors=Monitors(tiny("olmo"), None, None))
    second = run(tiny, tmp_path / "b", letters, policy=b, monitors=Monitors(tiny("olmo"), None, None))
    assert first == second
    assert same(weights(a), weights(b))


def test_gradient_checkpointing_changes_no_gradient(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps no cache, through which prompts are shared on a CPU."""

    class Checkpointed(PromptTrainer):
        def __init__(self, args: Any, **settings: Any) -> None:
            args.gradient_checkpointing = True
            super().__init__(args=args, **settings)

    plain = run(tiny, tmp_path / "a", letters, max_steps=1).history
    monkeypatch.setattr(grpo, "PromptTrainer", Checkpointed)
    found = run(tiny, tmp_path / "b", letters, max_steps=1).history
    for column in ("reward", "entropy", "grad_norm"):
        assert found[column] == pytest.approx(plain[column], rel=1e-4)


def test_saved_checkpoints_are_the_policy_at_their_steps(tiny: Tiny, tmp_path: Path) -> None:
    """With a constant learning rate, the policy after two of three steps is that of a training of two steps."""

    def trained(name: str, steps: int, every: int | None) -> Path:
        job = TrainingJob(0, tmp_path / name, every, quiet=True)
        constant = {"lr_scheduler_type": "constant", "max_steps": steps}
        run_grpo(tiny("qwen"), tiny("qwen"), letters, job, **constant)
        return tmp_path / name

    whole, short, plain = trained("whole", 3, 1), trained("short", 2, None), trained("plain", 3, None)

    def same(a: Path, b: Path) -> bool:
        return trainings.same(weights(load(str(a))), weights(load(str(b))))

    assert same(checkpoint_folder(whole, 2), short)
    assert same(whole, plain)
    assert not same(checkpoint_folder(whole, 1), short)
    # the last is the policy itself
    assert sorted(p.name for p in whole.glob("step-*")) == ["step-1", "step-2"]
    kept = {p.suffix for p in checkpoint_folder(whole, 1).iterdir()}
    assert kept <= {".json", ".jinja", ".safetensors"}
