"""A run: the composed configuration, resolved once, and what it implies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cme.records import CUT_START, Oracle
from experiments.config.classification import Classified, classify
from experiments.config.components import Component
from experiments.config.schema import SWITCHES, Config


@dataclass(kw_only=True)
class Run(Config):
    """A run: every field of the schema as an attribute.

    Attributes:
        values: the fields as plain mappings, as in the record.
        overrides: the overrides of a command line that compose this run alone.
        run_id: the name of the run and of its folder, from `identity.run_id`.
    """

    values: dict[str, Any]
    overrides: list[str] = field(default_factory=list)
    run_id: str = field(init=False)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration as the record keeps it, without groups that are off or that the trainer does not use."""
        off = [group for group, switch in SWITCHES.items() if not self.values[group][switch]]
        return {key: value for key, value in self.values.items() if key not in (*off, *self.trainer.UNUSED)}

    @cached_property
    def classified(self) -> list[Classified]:
        """The settings with the first stage that each changes, from which all ids are made."""
        return classify(self.settings, self.values, type(self.trainer))

    @property
    def method(self) -> str:
        """The method in tables and run ids: the trained reward, or the trainer if it uses no reward."""
        reward, trainer = self.reward.name, self.trainer.method
        return str({"grpo": reward, "best_of_n": f"best_of_n_{reward}"}.get(trainer, trainer))

    @property
    def reward_parts(self) -> dict[str, Component]:
        """The reward by its path, or its members by theirs; empty if the trainer uses no reward."""
        if "reward" in self.trainer.UNUSED:
            return {}
        members = {f"reward.members.{name}": member for name, member in self.reward.members.items()}
        return members or {"reward": self.reward}

    @property
    def reward_judges(self) -> dict[str, Component]:
        """The judges that the reward asks, by their paths."""
        nodes = {f"{path}.judge": part.arguments.get("judge") for path, part in self.reward_parts.items()}
        return {path: Component.from_node(node) for path, node in nodes.items() if node is not None}

    @property
    def judges(self) -> dict[str, Component]:
        """All judges by their paths: of the evaluation (the members of a panel), the selection and the reward."""
        panel = {f"judge.members.{name}": member for name, member in self.judge.members.items()}
        selection = {} if self.selection.every is None else {"selection.judge": self.selection.judge}
        return (panel or {"judge": self.judge}) | selection | self.reward_judges

    @property
    def verifiers(self) -> list[str]:
        """The verifiers that the run trains on; empty for a reward without a verifier and for DPO."""
        if self.trainer.method in ("sft", "distillation"):
            return [self.verifier.checkpoint]
        parts = self.reward_parts.values()
        names = [name for part in parts for name in reward_verifiers(part.arguments)]
        return list(dict.fromkeys(names)) if self.reward.members else names

    @property
    def served_verifiers(self) -> list[str]:
        """The verifiers that a server runs, so that this process needs their tokenizers alone."""
        return self.verifiers if self._reward_argument("server") is not None else []

    @property
    def responding_verifier(self) -> str | None:
        """The verifier whose own responses the run records; None unless there is exactly one, in this process.

        None as well where `evaluation.verifier_responses` is false.
        """
        is_single = self.evaluation.verifier_responses and len(self.verifiers) == 1
        return self.verifiers[0] if is_single and not self.served_verifiers else None

    @property
    def heldout_verifier(self) -> str | None:
        """The held-out verifier: the first that is of neither the generator's nor the verifier's family, or None."""
        used = {self.family.name, self.verifier.family}
        return next((name for family, name in self.scale.heldout.items() if family not in used), None)

    @property
    def verifier_name(self) -> str:
        """The configured verifier's checkpoint, or those of an ensemble separated by commas."""
        return ", ".join(reward_verifiers({"verifier": self.verifier.checkpoint}))

    @property
    def verifier_template(self) -> Mapping[str, Any]:
        """The values for the variables of the chat template of the reward's verifier, or of the trainer's verifier."""
        of_reward = self._reward_argument("chat_template_kwargs")
        return self.chat_template.verifier if of_reward is None else of_reward

    @property
    def quantization(self) -> Any:
        """The quantization of the weights of the reward's verifiers; None for full precision."""
        return self._reward_argument("quantization")

    @property
    def averages_policy(self) -> bool:
        """Whether the reward's verifier is an average of the policy, in float32 and a part of each checkpoint."""
        return self._reward_argument("decay") is not None

    def _reward_argument(self, name: str) -> Any:
        """An argument of the reward, or of the first of its members that has it; None if the trainer uses no reward."""
        values = (part.arguments.get(name) for part in self.reward_parts.values())
        return next((value for value in values if value is not None), None)

    @property
    def comparators(self) -> dict[str, str]:
        """The further models with which the policy is compared, by name, without the untrained model."""
        return {name: c for name, c in self.evaluation.comparators.items() if c != self.generator}

    @property
    def comparisons(self) -> dict[str, str]:
        """Checkpoints by name: those of the comparators, and of the cut start, which is the untrained model."""
        return ({CUT_START: self.generator} if self.evaluation.cut_start else {}) | self.comparators

    def load_oracle(self) -> Oracle | None:
        """The function that grades a response; None if the true quality is unknown."""
        return None if self.data.oracle is None else self.data.oracle.instantiate()


def reward_verifiers(reward: Mapping[str, Any]) -> list[str]:
    """The verifiers in a reward's settings."""
    verifier = reward.get("verifier")
    return [] if verifier is None else [verifier] if isinstance(verifier, str) else list(verifier)
