"""Control models in training: silent or faithful at first, the UNet rests, and the file is what was alive."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from studio.control.ip_adapter import IPAdapter
from studio.engine.configs import CONFIGS
from studio.engine.control_sources import t2i_config
from studio.engine.units.unit import slots_of
from studio.library.identify import identify
from studio.library.names import DIFFUSERS, control_names
from studio.messages import ModelLocation
from studio.params import ControlUnit
from studio.training.exporting import write_export
from studio.training.methods.build import build_method
from studio.training.methods.controls import LIVE, new_controlnet, new_t2i_adapter
from tests import tiny
from tests.training.methods import kit

FEATURES = 12
METHODS = ("controlnet", "t2i_adapter", "ip_adapter")
NETS = ("controlnet", "t2i_adapter")


def build(engine, location, method, start=None, **changed):
    checkpoint = engine.store.checkpoint(location)
    torch.manual_seed(0)
    asked = kit.params(base=location.base, method=method, control_kind="edges", **changed)
    features = FEATURES if method == "ip_adapter" and start is None else 0
    return build_method(asked, checkpoint, engine, start=start, features=features)


def batch(count=2):
    rng = torch.Generator().manual_seed(4)
    maps = torch.rand(count, 3, tiny.SIZE, tiny.SIZE, generator=rng)
    return kit.batch(count, maps=maps, features=torch.randn(count, FEATURES, generator=rng))


@pytest.fixture(params=METHODS)
def method_name(request):
    return request.param


@pytest.fixture
def starter(location):
    """Of a base model whose files say themselves what they are for."""
    return replace(location, base="starter-0000tiny")


def test_a_fresh_controlnet_says_nothing(engine, location):
    method = build(engine, location, "controlnet")
    plain = kit.plain(method.checkpoint, batch())
    torch.testing.assert_close(kit.predicted(method, batch()), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_loss_falls_and_the_unet_rests(engine, location, method_name, checkpointed):
    method = build(engine, location, method_name, gradient_checkpointing=checkpointed)
    before = kit.fingerprints(method.checkpoint)
    losses = kit.learn(method, batch(), rate=5e-3)
    assert losses[-1] < 0.995 * losses[0]
    assert not kit.changed(before, kit.fingerprints(method.checkpoint))
    method.close()
    assert slots_of(method.unet).pictures is None


def test_modes_of_a_controlnet(engine, location):
    method = build(engine, location, "controlnet", middle_only=True, unlocked_decoder=True)
    before = kit.fingerprints(method.checkpoint)
    kit.learn(method, batch(), steps=2)
    changed = kit.changed(before, kit.fingerprints(method.checkpoint))
    assert changed
    assert all(name.startswith("unet.up_blocks.") for name in changed)
    assert all(parameter.abs().max() == 0 for parameter in method.model.controlnet_down_blocks.parameters())
    assert [export.kind for export in method.exports()] == ["controlnet", "checkpoint"]
    method.close()
    assert not kit.changed(before, kit.fingerprints(engine.store.checkpoint(location)))


def test_gradient_checkpointing_changes_nothing(engine, location, method_name):
    found = []
    for on in (False, True):
        method = build(engine, location, method_name, gradient_checkpointing=on)
        kit.predicted(method, batch()).square().mean().backward()
        found.append([p.grad for p in method.trained.parameters() if p.grad is not None])
        method.close()
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method_name", NETS)
def test_the_folder_makes_the_picture_that_the_living_one_makes(engine, starter, method_name, tmp_path):
    method = build(engine, starter, method_name)
    kit.learn(method, batch(), steps=4, rate=2e-2)
    control = ControlUnit(kind="edges", map="house", model_id=LIVE)
    with method.shown() as shown:
        living = kit.picture(engine, starter, shown["models"], controls=(control,))
    (export,) = method.exports()
    path = write_export(export, tmp_path, "thing")
    method.close()
    assert LIVE not in engine.store.controls
    assert not torch.equal(kit.picture(engine, starter), living)
    found = identify(path)
    assert (found.kind, found.base) == (method_name, starter.base)
    file = ModelLocation("thing", "id-thing", str(path), method_name, starter.base)
    asked = replace(control, model_id=file.id)
    assert torch.equal(kit.picture(engine, starter, {file.id: file}, controls=(asked,)), living)


def test_the_folder_of_an_ip_adapter_says_what_the_living_one_says(engine, starter, tmp_path):
    method = build(engine, starter, "ip_adapter")
    kit.learn(method, batch(), steps=4, rate=2e-2)
    path = write_export(method.exports()[0], tmp_path, "thing")
    found = identify(path)
    assert (found.kind, found.base, found.features) == ("ip_adapter", starter.base, (FEATURES, 0))
    file = ModelLocation("thing", "id-thing", str(path), "ip_adapter", starter.base)
    read = engine.store.control(file)
    assert isinstance(read, IPAdapter)
    features = batch().features
    pairs = zip(
        read.keys_and_values(read.tokens(features)),
        method.model.keys_and_values(method.model.tokens(features)),
        strict=True,
    )
    for (key, value), (their_key, their_value) in pairs:
        assert torch.equal(key, their_key)
        assert torch.equal(value, their_value)


def test_one_goes_on_from_a_file(engine, starter, method_name, tmp_path):
    method = build(engine, starter, method_name)
    losses = kit.learn(method, batch(), steps=4, rate=5e-3)
    path = write_export(method.exports()[0], tmp_path, "thing")
    method.close()
    file = ModelLocation("thing", "id-thing", str(path), method_name, starter.base)
    further = build(engine, starter, method_name, start=file)
    again = kit.learn(further, batch(), steps=2, rate=5e-3)
    assert again[0] == pytest.approx(losses[-1], rel=1e-4)
    assert again[-1] < again[0]


def meta_checkpoint(engine, location, base):
    with torch.device("meta"):
        unet = UNet2DConditionModel(**CONFIGS[base]["unet"])
    checkpoint = engine.store.checkpoint(location)
    vae = type("Vae", (), {"config": type("Config", (), {"block_out_channels": (128, 256, 512, 512)})})
    return replace(checkpoint, unet=unet, vae=vae)


@pytest.mark.parametrize("wanted", ["sd1", "sd2", "sdxl"])
def test_new_ones_for_the_base_models_are_built_as_published_ones(engine, sd1, wanted):
    checkpoint = meta_checkpoint(engine, sd1, wanted)
    with torch.device("meta"):
        control, adapter = new_controlnet(checkpoint), new_t2i_adapter(checkpoint)
    shapes = {name: tuple(tensor.shape) for name, tensor in control.state_dict().items()}
    assert shapes == dict(control_names(wanted, DIFFUSERS))
    shapes = {name: tuple(tensor.shape) for name, tensor in adapter.state_dict().items()}
    read, own = t2i_config(shapes), adapter.config
    assert read["adapter_type"] == own["adapter_type"] == ("full_adapter_xl" if wanted == "sdxl" else "full_adapter")
    assert read["channels"] == own["channels"] == [320, 640, 1280, 1280]
    assert read["downscale_factor"] == own["downscale_factor"] == (16 if wanted == "sdxl" else 8)


def test_a_single_file_names_its_kind(engine, sd1, tmp_path):
    method = build(engine, sd1, "t2i_adapter")
    (export,) = method.exports()
    assert (export.layout, export.suffix) == ("diffusers", ".safetensors")
    path = write_export(export, tmp_path, "my scribbles")
    assert identify(path).control_kind == "edges"


def test_a_batch_must_have_what_the_model_looks_at(engine, sd1, method_name):
    method = build(engine, sd1, method_name)
    with pytest.raises(ValueError, match="batches with"):
        kit.predicted(method, kit.batch())
