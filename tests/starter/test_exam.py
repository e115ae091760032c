import numpy as np
import pytest
import torch

from studio.control.reader import Reader
from studio.engine.units.ip_adapter import IPAdapterUnit
from studio.starter.annotator import CLASSES
from studio.starter.measure import FIRST_SEED, set_exam
from studio.starter.obedience import EachItsPicture, observe, pose_exam
from tests import tiny
from tests.engine.latents import assert_agree
from tests.engine.units.conftest import job
from tests.engine.units.test_units_agree_with_diffusers import FEATURES, tiny_ip_adapter


@pytest.fixture
def small():
    return job(tiny.tiny_pipeline(), tiny.tiny_unet())


def test_one_row_with_its_picture_is_an_ip_adapter(small):
    adapter, features = tiny_ip_adapter(small.unet), torch.randn(1, FEATURES)
    wanted = small.ours(IPAdapterUnit(adapter, features, torch.zeros_like(features)))
    assert_agree(small.ours(EachItsPicture(adapter, features)), wanted)


def test_another_exam_has_other_scenes_and_other_noise():
    first, second = (pose_exam(2, seed) for seed in (FIRST_SEED, FIRST_SEED + 1000))
    assert first.captions != second.captions
    assert second.noise_seed - first.noise_seed == 1000


def test_without_a_reader_only_edges_are_seen():
    exam = set_exam(2)
    assert observe(exam.images, exam, None).keys() == {"edge_f1"}
    assert (observe(exam.images, exam, None)["edge_f1"] > observe(exam.images[::-1], exam, None)["edge_f1"]).all()


def test_every_picture_is_seen_and_poses_only_where_somebody_stands():
    torch.manual_seed(0)
    exam = set_exam(6)
    seen = observe(exam.images, exam, Reader(CLASSES).eval())
    assert {name: values.shape for name, values in seen.items()} == dict.fromkeys(seen, (6,))
    assert [bool(np.isfinite(share)) for share in seen["pck"]] == [bool(scene.people) for scene in exam.scenes]
