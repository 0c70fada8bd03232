"""Known processes, a file each: domain, prior, true map and units."""

from lightning_invert.problems.ballistics import Ballistics
from lightning_invert.problems.blast_furnace import BlastFurnace
from lightning_invert.problems.multilayer_film import MultilayerFilm
from lightning_invert.problems.problem import Problem
from lightning_invert.problems.robot_arm import RobotArm
from lightning_invert.problems.sine import Sine

__all__ = ["KNOWN", "Ballistics", "BlastFurnace", "MultilayerFilm", "Problem", "RobotArm", "Sine"]

KNOWN: dict[str, type[Problem]] = {kind.name: kind for kind in Problem.__subclasses__()}
"""Name -> class of the problems above. Built without arguments, each is the one in docs/evidence/problems.md."""
