"""Chat judges of the stub endpoint, configured as conf/judge configures them, and pairs for them to judge."""

from typing import Any

from chat_stub import ChatStub
from omegaconf import OmegaConf
from samples import response

from cme.judges.chat_endpoint import ChatEndpoint
from cme.records import Pair
from experiments.config.composition import CONF


def judge_settings(file: str = "openai", **changed: Any) -> dict[str, Any]:
    """A judge's settings as its YAML has them, with some changed."""
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / "judge" / "openai.yaml"))
    own: Any = OmegaConf.to_container(OmegaConf.load(CONF / "judge" / f"{file}.yaml"))
    node = node | own | {"decoding": node["decoding"] | own["decoding"]}
    for key in ("name", "_target_", "defaults"):
        node.pop(key, None)
    return {**node, "model": "stub", "api_key_variable": None, "timeout": 5.0, **changed}


def judge(stub: ChatStub, file: str = "openai", **changed: Any) -> ChatEndpoint:
    return ChatEndpoint(
        base_url=stub.url, **{k: v for k, v in judge_settings(file, **changed).items() if k != "base_url"}
    )


def pairs(count: int) -> list[Pair]:
    """Pairs of responses of 1 to 9 letters, some of equal length."""
    return [
        Pair(
            f"p{i}",
            f"instruction {i}",
            None,
            response("s" * (1 + i * 5 % 9)),
            response("p" * (1 + i * 7 % 9)),
        )
        for i in range(count)
    ]
