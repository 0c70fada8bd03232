import logging
import os
import socket

import pytest
import torch

from tests.strangers import packages

# Where nobody listens while it is imported, Lightning keeps its messages from `caplog`.
logging.getLogger().addHandler(logging.NullHandler())
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    # The tests run in several processes; threads of each would only be in each other's way.
    torch.set_num_threads(1)


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def strangers(tmp_path):
    """What was imported of packages that nobody allowed, and what was made of them."""
    with packages(tmp_path) as told:
        yield told
