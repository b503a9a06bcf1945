"""What Hydra knows before it composes: the schema, the options that no file of `conf/` declares, and interpolations."""

import functools
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from cme.runtime import shipped
from cme.runtime.secrets import SECRET_NAME
from experiments.config.schema import WEIGHTED_SUM, Config
from experiments.config.trainers import TRAINERS


@functools.cache
def register() -> None:
    """Store in Hydra's ConfigStore: the schema, those of the trainers (`trainer/schema/METHOD`), a sum, the verifiers.

    Also adds the interpolation `${max:A,B}`, the larger of two numbers, and refuses secrets in `${oc.env:NAME}`.
    """
    OmegaConf.register_new_resolver("max", max)
    OmegaConf.register_new_resolver("oc.env", _environment_variable, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for method, node in TRAINERS.items():
        store.store(group="trainer/schema", name=method, node=node)
    store.store(group="reward", name=str(WEIGHTED_SUM["name"]), node=WEIGHTED_SUM)
    for name, settings in load_verifiers().items():
        store.store(group="verifier", name=name, node={"name": name, **settings})


@functools.cache
def load_verifiers() -> dict[str, Any]:
    """The options of the group `verifier`, which are in one file."""
    options: Any = OmegaConf.to_container(OmegaConf.load(shipped.CONF / "verifiers.yaml"))
    return dict(options)


def _environment_variable(name: str, *default: Any) -> Any:
    """The value of an environment variable. Raises ValueError for a secret: records keep the resolved configuration."""
    if SECRET_NAME.search(name):
        raise ValueError(
            f"{name} is a secret by its name, and a record would show it; name it in api_key_variable where a key is "
            "needed"
        )
    return oc.env(name, *default)
