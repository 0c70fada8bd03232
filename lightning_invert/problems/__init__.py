"""Known processes, one file each: where they are used, and what they truly answer."""

from lightning_invert.problems.ballistics import Ballistics
from lightning_invert.problems.blast_furnace import BlastFurnace
from lightning_invert.problems.multilayer_film import MultilayerFilm
from lightning_invert.problems.problem import Problem
from lightning_invert.problems.robot_arm import RobotArm
from lightning_invert.problems.sine import Sine

__all__ = [
    "KNOWN",
    "Ballistics",
    "BlastFurnace",
    "MultilayerFilm",
    "Problem",
    "RobotArm",
    "Sine",
]

KNOWN: dict[str, type[Problem]] = {
    problem.name: problem for problem in (BlastFurnace, RobotArm, Ballistics, Sine, MultilayerFilm)
}
"""Each by its name: built without arguments, it is what its documentation describes."""
