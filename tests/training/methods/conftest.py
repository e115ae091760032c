import pytest
import torch

from tests.training.methods import kit

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for base in kit.BASES:
        kit.pipeline(base).save_pretrained(root / base)
    return root


@pytest.fixture(params=kit.BASES)
def base(request):
    return request.param


@pytest.fixture
def location(folders, base):
    return kit.location(folders / base, base)


@pytest.fixture
def sd1(folders):
    return kit.location(folders / "sd1", "sd1")


@pytest.fixture
def engine():
    return kit.new_engine()
