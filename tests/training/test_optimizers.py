import sys

import pytest
import torch

from studio.errors import InvalidRequestError
from studio.training.optimizers import KINDS, build_optimizer, factor_at, set_rate
from studio.training_params import OPTIMIZERS
from tests.training.lesson import params


def groups(*rates):
    return [{"params": [torch.nn.Parameter(torch.full((4, 4), 3.0))], "lr": rate} for rate in rates]


def installed(name):
    pytest.importorskip(KINDS[name].place.partition(":")[0].partition(".")[0])
    return name


def test_every_optimizer_of_the_params_has_a_row():
    assert set(KINDS) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_downhill(name, capsys):
    given = groups(1.0 if name == "prodigy" else 0.1)
    (parameter,) = given[0]["params"]
    optimizer = build_optimizer(params(optimizer=installed(name)), given)
    for _ in range(300 if name == "prodigy" else 60):  # it begins at a millionth of a step
        parameter.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert parameter.abs().max() < 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["lion", "prodigy", "adamw8bit"])
def test_a_missing_package_is_named_with_what_to_do(name, monkeypatch):
    monkeypatch.setitem(sys.modules, KINDS[name].place.partition(":")[0], None)
    with pytest.raises(InvalidRequestError) as raised:
        build_optimizer(params(optimizer=name), groups(1.0))
    assert raised.value.field == "optimizer"
    assert f"pip install {KINDS[name].package}" in raised.value.hint


def test_prodigy_takes_one_rate_for_all():
    with pytest.raises(InvalidRequestError, match=r"there are 0\.1 and 1"):
        build_optimizer(params(optimizer="prodigy"), groups(1.0, 0.1))
    assert build_optimizer(params(optimizer=installed("prodigy")), groups(1.0, 1.0))


@pytest.mark.parametrize("rates", [(), (0.0,), (1e-3, 0.0)])
def test_a_rate_of_nothing_is_refused(rates):
    with pytest.raises(InvalidRequestError, match="nothing would be learned"):
        build_optimizer(params(), groups(*rates))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.8536, 0.5, 0.1464]),
    ],
)
def test_the_rate_warms_up_and_falls_as_its_schedule_says(schedule, expected):
    given = params(schedule=schedule, warmup=2, steps=6)
    assert [factor_at(step, given) for step in range(6)] == pytest.approx(expected, abs=1e-4)


def test_every_group_keeps_its_share_of_the_rate():
    optimizer = build_optimizer(params(), groups(0.1, 0.01))
    assert set_rate(optimizer, [0.1, 0.01], 0.5) == 0.05
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.005]
