"""The contract of every reward: TRL's callable signature, and hooks that do nothing unless a reward overrides them."""

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, SupportsFloat

from cme.models import chat
from cme.models.chat import Text
from cme.runtime.errors import in_part
from cme.scoring.policy import PolicyScorer

if TYPE_CHECKING:
    import torch

    from cme.scoring.policy import PolicyHolder
    from cme.scoring.token_scorer import TokenScores

Texts = Sequence[Text]
TokenIds = Sequence[Sequence[int]]
LogMetric = Callable[[str, float], None]
"""TRL's `log_metric(name, value)`: adds a number to the log of the training step."""

Granularity = Literal["sequence", "token"]
Normalize = Literal["position", "sequence"]


class _ConstructorSignature:
    """The signature of a class: that of its constructor, which a dataclass gets after it is made."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature | None:
        if instance is not None:
            return None  # no statement on what an instance is called with
        _, *parameters = inspect.signature(owner.__init__).parameters.values()  # type: ignore[misc]
        return inspect.Signature(parameters)


class Reward(ABC):
    """A reward function for `GRPOTrainer(reward_funcs=...)`.

    A reward returns one float per completion, higher is better, or None for a completion that it cannot score. None is
    never replaced by a number: TRL leaves such a completion out of its group's baseline and gives it no advantage, also
    beside other reward functions (`_leave_out_unscored_rows`).

    Attributes:
        __name__: the name under which TRL logs the reward; by default that of its class.
        NEUTRAL: names of settings that do not change the values, such as the device.
        NEUTRAL_VALUES: values at which later settings change nothing. A run's identity omits them.
        needs_answers: whether the reward compares answers, so that the data must have them.
        whole_batch: whether the reward looks at several completions at once. With several processes it is then called
            with the completions of all of them.
        parts: the rewards that this one calls, by name. They are bound, saved and restored with it.
        granularity: `token` for one advantage per token, computed from `token_values`.
        normalize: how values per token are normalised over a group (`cme.training.advantages`).
        std_floor: lowest standard deviation by which the advantages of a group are divided.
        token_values: with `granularity="token"`, the values of the last call: (T,) per completion, NaN for a token
            without a value.
        left_out: number of completions of the last call that got None on purpose.
    """

    __name__: str
    NEUTRAL: ClassVar[frozenset[str]] = frozenset()
    NEUTRAL_VALUES: ClassVar[dict[str, Any]] = {}
    needs_answers: ClassVar[bool] = False
    whole_batch: ClassVar[bool] = False
    parts: "Mapping[str, Reward]" = MappingProxyType({})
    granularity: Granularity = "sequence"
    normalize: Normalize = "position"
    std_floor: float = 0.0
    token_values: "Sequence[torch.Tensor]" = ()
    left_out: int = 0
    _policy: PolicyScorer | None = None

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Create a reward, whose None TRL's trainers respect from now on."""
        _leave_out_unscored_rows()
        made = super().__new__(cls)
        if all("__name__" not in vars(base) for base in cls.__mro__):
            made.__name__ = cls.__name__
        return made

    # without it, Python 3.11.2 shows the arguments of __new__ for a class that inherits its constructor
    __signature__ = _ConstructorSignature()

    def __init__(self) -> None:  # noqa: B027 - not abstract
        """Take no settings, unless a subclass does."""

    @classmethod  # noqa: B027 - a hook
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for arguments that the constructor would refuse. Loads no model."""

    def bind(self, trainer: "PolicyHolder") -> None:
        """Receive the trainer, before training, from which the reward can read the policy and its tokenizer."""
        self._policy = PolicyScorer(trainer)
        for part in self.parts.values():
            part.bind(trainer)

    def state_dict(self) -> dict[str, Any]:
        """State to save with a training checkpoint: those of the parts that have one, unless a reward overrides it."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        for name, own in state.items():
            self.parts[name].load_state_dict(own)

    def keep_in(self, folder: Path) -> None:
        """Keep what the reward writes in the folder of a training, where a resumed training finds it."""
        for part in self.parts.values():
            part.keep_in(folder)

    @abstractmethod
    def __call__(
        self, prompts: Texts, completions: Texts, completion_ids: TokenIds, **columns: Any
    ) -> list[float | None]:
        """Score B completions. May be `async def`, as TRL allows; callers use `values`, which awaits it.

        Args:
            prompts: B prompts, plain text or messages.
            completions: B completions, plain text or messages, without special tokens.
            completion_ids: B lists of the tokens that the policy sampled, the token that ended it included.
            columns: the other columns of the data set and what TRL adds, such as `log_metric`.
        """

    def values(self, *arguments: Any, **columns: Any) -> list[float | None]:
        """Call the reward, and await it if it is asynchronous.

        Raises ValueError unless it gives a number or None for each completion.
        """
        count = len(arguments[0] if arguments else columns["prompts"])
        with self.named_in_errors():
            given: Any = self(*arguments, **columns)
            if inspect.iscoroutine(given):
                given = asyncio.run(given)
        values = list(given) if isinstance(given, Iterable) else [given]
        wrong = [v for v in values if v is not None and not isinstance(v, SupportsFloat)]
        if wrong or len(values) != count or given is None:
            found = repr(wrong[0]) if wrong else "None" if given is None else f"{len(values)} values"
            raise ValueError(
                f"the reward {self.__name__!r} gave {found} for {count} completions; it must give a list with a number "
                "for each, or None where it cannot score one"
            )
        return [None if value is None else float(value) for value in values]

    def named_in_errors(self) -> AbstractContextManager[None]:
        """A context in which an error names the reward and the line of its file (`cme.runtime.errors.in_part`)."""
        return in_part(f"the reward {self.__name__!r}", type(self))

    @property
    def policy_tokenizer(self) -> Any:
        """The tokenizer that the policy samples with. Raises RuntimeError before `bind`."""
        return self._bound_policy().trainer.processing_class

    def finished_flags(self, completion_ids: TokenIds) -> list[bool]:
        """Whether the policy ended each completion itself. Raises RuntimeError before `bind`."""
        return chat.finished_flags(completion_ids, self._bound_policy().end_ids)

    def score_policy(
        self, prompts: Texts, completion_ids: TokenIds, *, entropy: bool = False, certainty: bool = False
    ) -> "list[TokenScores]":
        """Scores of B completions under the current policy. Raises RuntimeError before `bind`."""
        return self._bound_policy().score(prompts, completion_ids, entropy=entropy, certainty=certainty)

    def _bound_policy(self) -> PolicyScorer:
        if self._policy is None:
            raise RuntimeError(f"{self.__name__}: call bind(trainer) before training")
        return self._policy


class PlainReward(Reward):
    """A reward that loads nothing: constructing it checks its arguments."""

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for arguments that the constructor refuses."""
        made: Any = object.__new__(cls)  # `Reward.__new__` imports TRL
        made.__init__(**settings)


def group_slices(prompts: Texts, size: int) -> list[slice]:
    """The groups of `size` consecutive completions, given the prompts (B,) of all completions.

    Raises ValueError where the last group is incomplete or a group has more than one prompt.
    """
    if len(prompts) % size:
        raise ValueError(f"{len(prompts)} completions do not make whole groups of {size}")
    groups = [slice(start, start + size) for start in range(0, len(prompts), size)]
    for group in groups:
        if any(p != prompts[group.start] for p in prompts[group]):
            raise ValueError(
                f"the group that starts at completion {group.start} mixes prompts; a group must have one prompt"
            )
    return groups


@cache
def _leave_out_unscored_rows() -> None:
    """Let TRL's trainers count a completion as unscored if a `Reward` whose weight is not 0 gives None for it.

    TRL adds up the values of all reward functions and skips None. Beside a second reward, a completion without a
    log-likelihood would thus get 0 nats, more than any other.
    """
    from trl import GRPOTrainer, RLOOTrainer

    for trainer in (GRPOTrainer, RLOOTrainer):
        _wrap(trainer)


def _wrap(trainer: Any) -> None:
    calculate = trainer._calculate_rewards  # noqa: SLF001 - TRL has no hook between the rewards and their sum

    def calculate_rewards(self: Any, *arguments: Any) -> "torch.Tensor":
        values: torch.Tensor = calculate(self, *arguments)  # (B, functions), NaN for None
        counted = [
            i
            for i, (function, weight) in enumerate(zip(self.reward_funcs, self.reward_weights, strict=True))
            if isinstance(function, Reward) and weight
        ]
        values[values[:, counted].isnan().any(1)] = float("nan")  # TRL leaves out a row without any value
        return values

    trainer._calculate_rewards = calculate_rewards  # noqa: SLF001
