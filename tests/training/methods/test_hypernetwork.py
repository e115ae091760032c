"""A hypernetwork in training: it begins as next to nothing, learns alone, and is in its file what it was alive."""

import pytest
import torch

from studio.adapters.hypernetworks import read_hypernetwork
from studio.engine.units.hypernetwork import widths_attended_to
from studio.engine.units.unit import slots_of
from studio.engine.weights import open_weights
from studio.errors import InvalidRequestError
from studio.messages import ModelLocation
from studio.params import AdapterRef
from studio.training.exporting import write_export
from tests.training.methods import kit

KINDS = {
    "plain": {},
    "swish": {"activation": "swish", "dropout": 0.3, "layer_structure": (1.0, 2.0, 2.0, 1.0)},
    "normed": {"activation": "relu", "layer_norm": True, "gradient_checkpointing": True},
}


@pytest.fixture(params=KINDS)
def kind(request):
    return {"method": "hypernetwork", **KINDS[request.param]}


def test_it_begins_as_next_to_nothing(engine, location, kind):
    method, batch = kit.build(engine, location, **kind), kit.batch()
    apart = kit.predicted(method, batch)
    method.close()
    torch.testing.assert_close(apart, kit.plain(method.checkpoint, batch), rtol=1e-3, atol=1e-3)


def test_the_loss_falls_and_only_the_networks_learn(engine, location, kind):
    method = kit.build(engine, location, **kind | {"dropout": 0.0})
    before = kit.fingerprints(method.checkpoint)
    losses = kit.learn(method, kit.batch(), steps=12, rate=1e-2)
    assert losses[-1] < 0.999 * losses[0]
    assert not kit.changed(before, kit.fingerprints(method.checkpoint))
    assert method.networks.widths == widths_attended_to(method.unet)


def test_the_file_is_read_as_it_was_and_makes_the_same_picture(engine, location, kind, tmp_path):
    before = kit.picture(engine, location)
    method = kit.build(engine, location, **kind)
    kit.learn(method, kit.batch(), steps=4, rate=2e-2)
    with method.shown():
        living = kit.picture(engine, location)
    (export,) = method.exports()
    path = write_export(export, tmp_path, "thing")
    method.close()
    assert slots_of(method.unet).hypernetworks is None
    assert torch.equal(kit.picture(engine, location), before)
    assert not torch.equal(living, before)
    read = read_hypernetwork(open_weights(path))
    for width in method.networks.widths:
        given = torch.randn(2, 5, width)
        for ours, theirs in zip(read(given, given, 0.7), method.networks(given, given, 0.7), strict=True):
            assert torch.equal(ours, theirs)
    file = ModelLocation("thing", "id-thing", str(path), "hypernetwork", location.base)
    ref = AdapterRef(name="thing", id="id-thing", kind="hypernetwork")
    worn = kit.picture(engine, location, {"id-thing": file}, adapters=(ref,))
    assert (worn.int() - living.int()).abs().max() <= 1


def test_gradient_checkpointing_changes_nothing(engine, location):
    batch, found = kit.batch(), []
    for on in (False, True):
        method = kit.build(engine, location, method="hypernetwork", gradient_checkpointing=on)
        kit.predicted(method, batch).square().mean().backward()
        found.append([p.grad for p in method.trained.parameters()])
        method.close()
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("field", "value"),
    [("activation", "softmax"), ("layer_structure", (1.0,)), ("layer_structure", (1.0, 2.0)), ("layer_structure", ())],
)
def test_a_form_that_no_network_can_have_is_refused(engine, sd1, field, value):
    with pytest.raises(InvalidRequestError) as refused:
        kit.build(engine, sd1, method="hypernetwork", **{field: value})
    assert refused.value.field == field
