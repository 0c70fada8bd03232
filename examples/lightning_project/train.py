"""Train: ``python train.py``, or ``python train.py trainer.max_epochs=5 model.width=128``."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer, seed_everything

CONF = Path(__file__).parent / "conf"


def load(overrides: Sequence[str]) -> dict[str, Any]:
    """Compose the configuration as Hydra does: a file for each group, then the overrides."""
    config = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    for group, name in config.pop("defaults").items():
        file = CONF / group / f"{name}.yaml"
        config[group] = yaml.safe_load(file.read_text(encoding="utf-8"))
    for override in overrides:
        path, value = override.split("=", 1)
        *groups, key = path.split(".")
        node = config
        for group in groups:
            node = node[group]
        node[key] = yaml.safe_load(value)
    return config


def instantiate(node: dict[str, Any], **more: Any) -> Any:
    """Call the ``_target_`` of a node, with its other keys as arguments."""
    arguments = {**node, **more}
    module, _, name = arguments.pop("_target_").rpartition(".")
    return getattr(import_module(module), name)(**arguments)


def main(overrides: Sequence[str] = ()) -> Trainer:
    """Train, and return the trainer."""
    config = load(overrides)
    seed_everything(config["seed"])
    data, model = instantiate(config["data"]), instantiate(config["model"])
    callbacks = [instantiate(node) for node in config["callbacks"].values()]
    trainer = instantiate(config["trainer"], callbacks=callbacks)
    trainer.fit(model, datamodule=data)
    return trainer


if __name__ == "__main__":
    main(sys.argv[1:])
