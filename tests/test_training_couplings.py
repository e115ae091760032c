import pytest

from studio.training_couplings import COUPLINGS
from studio.training_params import OPTIMIZERS


def test_every_optimizer_has_its_coupling_with_a_reason_and_a_source():
    assert set(COUPLINGS) == set(OPTIMIZERS)
    assert all(one.reason and one.source for one in COUPLINGS.values())


@pytest.mark.parametrize(("name", "rate"), [("adamw", 1e-4), ("prodigy", 1.0), ("lion", 2e-5), ("adafactor", 1e-4)])
def test_a_rate_means_the_same_under_another_optimizer(name, rate):
    assert COUPLINGS[name].rate_for(1e-4) == pytest.approx(rate)


def test_lion_decays_as_much_in_all():
    assert COUPLINGS["lion"].factor * COUPLINGS["lion"].decay == 1
