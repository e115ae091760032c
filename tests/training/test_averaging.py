import torch
from torch import nn

from studio.training.averaging import Average


def test_the_average_follows_its_formula():
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average, expected = Average(module, 0.5), 0.0
    for step, value in enumerate([4.0, 8.0, 2.0], 1):
        module.weight.data.fill_(value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.weights["weight"].item() == torch.tensor(expected).item()


def test_the_average_is_shown_and_taken_away_again():
    module = nn.Linear(2, 2)
    average = Average(module, 0.9)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.weight.data += 1
    trained = module.weight.detach().clone()
    with average.shown():
        assert torch.equal(module.weight, before["weight"])
    assert torch.equal(module.weight, trained)


def test_without_decay_nothing_is_kept():
    module = nn.Linear(2, 2)
    average = Average(module, 0.0)
    average.update(1)
    assert average.weights == {}
    with average.shown():
        module.weight.data += 1
    assert average.weights == {}
