import pytest
from PIL import Image

from studio.errors import AssetError, BaseModelMismatchError, InvalidRequestError, ModelNotFoundError
from studio.library.index import Library
from studio.params import ControlUnit, GenerationRequest
from studio.registry import load_registry
from studio.resolve import Resolver
from studio.settings import load_settings
from tests.library import headers
from tests.library.headers import write
from tests.library.test_folders import component, make_sdxl
from tests.library.test_library import make_checkpoint, make_control

PICTURE, OTHER = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def resolver(tmp_path_factory):
    settings = load_settings(tmp_path_factory.mktemp("controls"))
    settings.paths.create()
    models = settings.paths.models
    make_checkpoint(models / "checkpoints" / "big")
    make_sdxl(models / "checkpoints" / "huge")
    make_control(models / "controlnet" / "sd15_canny")
    component(models / "controlnet" / "union_sdxl", _class_name="ControlNetUnionModel", cross_attention_dim=2048)
    component(models / "t2i_adapter" / "depth", _class_name="T2IAdapter", adapter_type="full_adapter")
    component(models / "t2i_adapter" / "canny", _class_name="T2IAdapter", adapter_type="full_adapter")
    write(models / "ip_adapter" / "ip-adapter_sd15.safetensors", headers.ip_adapter("sd1"))
    write(models / "ip_adapter" / "ip-adapter_sdxl_big.safetensors", wide(headers.ip_adapter("sdxl")))
    write(models / "image_encoders" / "clip-h.safetensors", headers.image_encoder(1280, 32, 1024))
    shown = Image.linear_gradient("L")
    return Resolver(Library(settings), load_registry(), lambda asset: asset in (PICTURE, OTHER), lambda _: shown)


def wide(tensors):
    return {name: (shape[0], 1280) if name == "image_proj.proj.weight" else shape for name, shape in tensors.items()}


def unit_of(resolver, kind, checkpoint="big", **fields):
    unit = ControlUnit(kind=kind, map=PICTURE, **fields)
    return resolver.resolve(GenerationRequest(prompt="x", checkpoint=checkpoint, controls=(unit,)))[0].controls[0]


@pytest.mark.parametrize(
    ("kind", "checkpoint", "model"),
    [
        ("edges", "big", "sd15_canny"),  # a ControlNet before a T2I-Adapter, under the name that files have
        ("depth", "big", "depth"),
        ("depth", "huge", "union_sdxl"),
        ("segments", "huge", "union_sdxl"),
        ("reference", "big", "ip-adapter_sd15"),
    ],
)
def test_the_model_that_serves_a_kind_is_found(resolver, kind, checkpoint, model):
    assert unit_of(resolver, kind, checkpoint).model == model


def test_another_technique_can_be_asked_for_by_name(resolver):
    assert unit_of(resolver, "edges", model="canny").model == "canny"


def test_a_reference_brings_the_encoder_whose_features_its_adapter_reads(resolver):
    unit = unit_of(resolver, "reference", images=(OTHER,))
    assert unit.encoder == "clip-h"
    assert len(unit.encoder_id) == 64
    request = GenerationRequest(prompt="x", checkpoint="big", controls=(unit,))
    params, _ = resolver.resolve(request)
    kinds = {location.kind for location in resolver.library.locate(params).values()}
    assert kinds == {"checkpoint", "ip_adapter", "image_encoder"}


def test_an_adapter_without_its_encoder_is_refused_with_the_width(resolver):
    with pytest.raises(ModelNotFoundError, match="features are 1280 wide"):
        unit_of(resolver, "reference", "huge")


def test_reference_only_needs_no_model(resolver):
    unit = unit_of(resolver, "reference_only", "huge", fidelity=0.2)
    assert (unit.model, unit.model_id, unit.fidelity) == ("", "", 0.2)
    params, _ = resolver.resolve(GenerationRequest(prompt="x", checkpoint="big", controls=(unit,)))
    assert {location.kind for location in resolver.library.locate(params).values()} == {"checkpoint"}
    with pytest.raises(InvalidRequestError, match="takes no model"):
        unit_of(resolver, "reference_only", model="depth")


@pytest.mark.parametrize(
    ("kind", "fields", "error", "match"),
    [
        ("reference", {"model": "sd15_canny"}, InvalidRequestError, "sd15_canny is a ControlNet, which takes no"),
        ("depth", {"model": "ip-adapter_sd15"}, InvalidRequestError, "is an IP-Adapter, which takes no depth"),
        ("shuffle", {"model": "union_sdxl", "checkpoint": "huge"}, InvalidRequestError, "takes no shuffle"),
        ("depth", {"model": "union_sdxl"}, BaseModelMismatchError, "made for SDXL"),
        ("pose", {}, ModelNotFoundError, "There is no pose ControlNet for SD 1.5"),
        ("tile", {"model": "lost"}, ModelNotFoundError, "There is no controlnet 'lost'"),
        ("depth", {"mask": "c" * 64}, AssetError, "not here"),
        ("reference", {"images": ("c" * 64,)}, AssetError, "not here"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(resolver, kind, fields, error, match):
    with pytest.raises(error, match=match):
        unit_of(resolver, kind, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "loud"},
        {"resize_mode": "fold"},
        {"fidelity": 1.5},
        {"fidelity": float("nan")},
        {"control_guidance_start": 0.6, "control_guidance_end": 0.5},
        {"conditioning_scale": 3.0},
    ],
)
def test_settings_out_of_range_are_refused_by_name(fields):
    with pytest.raises(InvalidRequestError) as refused:
        ControlUnit(kind="depth", map=PICTURE, **fields)
    assert refused.value.field == next(iter(fields))


def test_ten_units_at_once_are_taken(resolver):
    units = tuple(ControlUnit(kind=kind, map=PICTURE, conditioning_scale=0.2) for kind in ("edges", "depth") * 5)
    params, _ = resolver.resolve(GenerationRequest(prompt="x", checkpoint="big", controls=units))
    assert len(params.controls) == 10
    assert resolver.resolve(params.to_request())[0] == params
