"""A robot arm in the plane: three joints on a base that slides up and down."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_invert.problems.problem import Problem
from lightning_invert.variables import Variable

__all__ = ["RobotArm"]

LENGTHS = (0.5, 0.5, 1.0)
SPREAD = (0.25, 0.5, 0.5, 0.5)  # standard deviations of the prior


class RobotArm(Problem):
    r"""Place the hand of an arm with three joints, 4 -> 2.

    Segment i has the angle :math:`a_i` to the horizontal and the length :math:`l_i`:

    .. math:: y_1 = \sum_i l_i \cos a_i, \quad y_2 = x_1 + \sum_i l_i \sin a_i, \quad
        a = (t_1,\; t_2 - t_1,\; t_3 - t_2 - t_1), \quad l = (1/2, 1/2, 1)

    for the height :math:`x_1` of the base and the joints :math:`t`. From L. Ardizzone et al.,
    *Analyzing inverse problems with invertible neural networks*, ICLR 2019, with the angles as in
    the code of S. Ren, W. Padilla and J. Malof, NeurIPS 2020, whose published errors belong to it.
    Prior: normal about 0 with standard deviations 1/4, 1/2, 1/2, 1/2. Bounds: 2.4 of them
    to each side, in which Ren et al. search; 6 % of the prior's points lie outside.

    The base moves the hand only up and down. So the rank drops exactly where no joint moves the hand
    sideways: where all three segments are level, the arm stretched or folded. The prior's most
    probable point, x = 0, is one. Near such a point :math:`\kappa` grows as one over the distance.

    Example:
        >>> arm = RobotArm()
        >>> arm.forward(torch.zeros(1, 4)).tolist()  # stretched
        [[2.0, 0.0]]
        >>> arm.jacobian(torch.zeros(1, 4)).tolist()
        [[[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, -0.5, 1.0]]]
    """

    name = "robot_arm"
    inputs = (
        Variable("base_height", "", -0.6, 0.6),
        Variable("joint_1", "rad", -1.2, 1.2),
        Variable("joint_2", "rad", -1.2, 1.2),
        Variable("joint_3", "rad", -1.2, 1.2),
    )
    outputs = (Variable("hand_across"), Variable("hand_height"))

    def draw(self, num_points: int, generator: torch.Generator) -> Tensor:
        """Draw normally about the stretched arm."""
        unit = torch.randn(num_points, 4, generator=generator, dtype=torch.float64)
        return unit * torch.tensor(SPREAD, dtype=torch.float64)

    def outcomes(self, x: Tensor) -> Tensor:
        """Add up the segments."""
        height, t1, t2, t3 = x.unbind(1)
        angles = torch.stack([t1, t2 - t1, t3 - t2 - t1], dim=1)
        lengths = x.new_tensor(LENGTHS)
        across, up = (lengths * angles.cos()).sum(1), (lengths * angles.sin()).sum(1)
        return torch.stack([across, height + up], dim=1)
