"""Miniatures of third-party Lightning projects.

Their batches, the signatures of their ``forward`` and what it returns are those of the originals;
their sizes are not. A method marked *added* is what a user of the original would have to write.
"""

from tests.third_party import (
    atoms,
    containers,
    corners,
    flows,
    forecasting,
    graphs,
    images,
    recurrent,
    single_cell,
    tabular,
)
from tests.third_party.project import Project

__all__ = ["PROJECTS", "Project"]

PROJECTS: list[Project] = [
    *single_cell.PROJECTS,
    *forecasting.PROJECTS,
    *recurrent.PROJECTS,
    *tabular.PROJECTS,
    *flows.PROJECTS,
    *images.PROJECTS,
    *atoms.PROJECTS,
    *graphs.PROJECTS,
    *corners.PROJECTS,
    *containers.PROJECTS,
]
