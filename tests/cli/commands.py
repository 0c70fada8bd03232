"""Run commands that end early, and save the pairs that commands read."""

from pathlib import Path

import pytest
import torch

from lightning_invert.cli.fit import InvertCLI
from lightning_invert.cli.main import main
from tests.projects import quiet_trainer

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
FURNACE = ROOT / "configs" / "blast_furnace.yaml"
QUIET = ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]


class Unrun(InvertCLI):
    """The command up to where the trainer would run."""

    def _run_subcommand(self, subcommand):
        pass


def refusal(command, *args):
    """Return the one line with which a command ends, without the command's name."""
    with pytest.raises(SystemExit) as ended:
        main([command, *args])
    line, begin = str(ended.value), f"lightning-invert {command}: "
    assert "\n" not in line
    assert line.startswith(begin)
    return line.removeprefix(begin)


def save_pair(file, pair, data=None, edit=None, **options):
    """Save a pair, fitted to ``data`` or untrained, and changed by ``edit`` as a stranger may."""
    trainer = quiet_trainer(file.parent, **options)
    if data is None:
        trainer.strategy.connect(pair)
    else:
        trainer.fit(pair, datamodule=data)
    trainer.save_checkpoint(file)
    if edit is not None:
        checkpoint = torch.load(file, weights_only=True)
        edit(checkpoint)
        torch.save(checkpoint, file)
    return str(file)


def edited(old, new):
    """Write the furnace's config with one change, and return its path."""
    text = FURNACE.read_text()
    assert old in text
    Path("edited.yaml").write_text(text.replace(old, new))
    return Path("edited.yaml")
