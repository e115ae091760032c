import json

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils as theirs
from safetensors.torch import load_file

from studio.engine import sources
from studio.engine.configs import CLASSES, NOISE
from studio.engine.save import save_checkpoint
from studio.engine.skeletons import construct
from studio.engine.sources import open_checkpoint
from studio.engine.tokenizers import clip_tokenizer
from studio.errors import InvalidRequestError
from tests.engine import narrow

BASES = ["sd1", "sd2", "sdxl", "sdxl-refiner"]


@pytest.fixture(scope="module", params=BASES)
def written(request, tmp_path_factory):
    """A base model, its checkpoint as tensors, and the file."""
    file = tmp_path_factory.mktemp("saved") / f"{request.param}.safetensors"
    return request.param, narrow.write(file, request.param), file


@pytest.fixture
def narrowed(monkeypatch):
    monkeypatch.setattr(sources, "CONFIGS", {base: narrow.configs(base) for base in BASES})


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def loaded(file, base):
    source = open_checkpoint(narrow.location(file, base))
    return {name: {key: part.tensor(key) for key in part.names()} for name, part in source.parts.items()}


def test_what_was_saved_is_loaded_bit_by_bit(written, narrowed):
    base, parts, file = written
    found = loaded(file, base)
    assert found.keys() == parts.keys()
    for name, tensors in parts.items():
        assert_same(found[name], tensors)


def test_what_was_loaded_is_saved_bit_by_bit(written, narrowed, tmp_path):
    base, _, file = written
    save_checkpoint(loaded(file, base), base, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_diffusers_reads_the_same_unet(written):
    base, parts, file = written
    assert_same(theirs.convert_ldm_unet_checkpoint(load_file(file), narrow.configs(base)["unet"]), parts["unet"])


def test_diffusers_reads_the_same_autoencoder(written):
    base, parts, file = written
    assert_same(theirs.convert_ldm_vae_checkpoint(load_file(file), narrow.configs(base)["vae"]), parts["vae"])


@pytest.mark.parametrize(
    ("base", "part", "prefix"),
    [
        ("sd1", "text_encoder", ""),
        ("sd2", "text_encoder", "cond_stage_model.model."),
        ("sdxl", "text_encoder", ""),
        ("sdxl", "text_encoder_2", "conditioner.embedders.1.model."),
        ("sdxl-refiner", "text_encoder_2", "conditioner.embedders.0.model."),
    ],
)
def test_diffusers_reads_the_same_text_encoders(tmp_path, base, part, prefix):
    stored, wanted = written_text(tmp_path / "text.safetensors", base, part)
    if prefix:
        with torch.device("meta"):
            model = construct(CLASSES[part], narrow.configs(base)[part])
        found = theirs.convert_open_clip_checkpoint(model, stored, prefix=prefix)
    else:
        found = theirs.convert_ldm_clip_checkpoint(stored)
    if CLASSES[part] == "CLIPTextModel":
        found = {name.removeprefix("text_model."): tensor for name, tensor in found.items()}
    assert_same(found, wanted)


def written_text(file, base, part):
    tensors = narrow.tensors(CLASSES[part], narrow.configs(base)[part])
    save_checkpoint({part: tensors}, base, file)
    return load_file(file), tensors


PIPELINES = {
    "sd1": diffusers.StableDiffusionPipeline,
    "sd2": diffusers.StableDiffusionPipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
    "sdxl-refiner": diffusers.StableDiffusionXLImg2ImgPipeline,
}


def write_configs(folder, base):
    """A diffusers folder without weights, which `from_single_file` takes instead of asking the Hub."""
    absent = ("safety_checker", "feature_extractor", "image_encoder", "text_encoder", "tokenizer")
    index = {name: [None, None] for name in absent}
    index |= {"_class_name": PIPELINES[base].__name__, "scheduler": ["diffusers", "DDIMScheduler"]}
    for part, config in narrow.configs(base).items():
        (folder / part).mkdir(parents=True)
        said = {"model_type": "clip_text_model"} if part.startswith("text") else {"_class_name": CLASSES[part]}
        (folder / part / "config.json").write_text(json.dumps(config | said))
        index[part] = ["transformers" if part.startswith("text") else "diffusers", CLASSES[part]]
        if part.startswith("text"):
            tokenizer = part.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "CLIPTokenizer"]
            clip_tokenizer(pads_with_end=part == "text_encoder").save_pretrained(folder / tokenizer)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(NOISE | {"_class_name": "DDIMScheduler"}))
    (folder / "model_index.json").write_text(json.dumps(index))


def test_diffusers_loads_the_whole_file_without_a_network(written, tmp_path, monkeypatch):
    base, parts, file = written
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_configs(tmp_path / "configs", base)
    pipe = PIPELINES[base].from_single_file(
        file, config=str(tmp_path / "configs"), local_files_only=True, torch_dtype=torch.float16
    )
    for name, tensors in parts.items():
        found = {n.removeprefix("text_model."): tensor for n, tensor in getattr(pipe, name).state_dict().items()}
        assert_same(found, {n.removeprefix("text_model."): tensor for n, tensor in tensors.items()})


def test_real_modules_take_every_tensor(narrowed, tmp_path):
    narrow.write(tmp_path / "xl.safetensors", "sdxl", torch.float32)
    source = open_checkpoint(narrow.location(tmp_path / "xl.safetensors", "sdxl"))
    for part in source.parts.values():
        module = construct(part.class_name, part.config)
        module.load_state_dict({name: part.tensor(name) for name in part.names()}, strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_any_precision_is_kept(narrowed, tmp_path, dtype):
    made = narrow.write(tmp_path / "kept.safetensors", "sd1", dtype)
    found = loaded(tmp_path / "kept.safetensors", "sd1")
    for name, tensors in made.items():
        assert_same(
            {k: t.view(torch.uint8) for k, t in found[name].items()},
            {k: t.view(torch.uint8) for k, t in tensors.items()},
        )


def test_sd2_files_have_the_layer_that_other_programs_build(tmp_path):
    made = narrow.tensors("CLIPTextModel", narrow.configs("sd2")["text_encoder"])
    save_checkpoint({"text_encoder": made}, "sd2", tmp_path / "two.safetensors")
    stored = load_file(tmp_path / "two.safetensors")
    start = "cond_stage_model.model.transformer.resblocks"
    layers = {int(name.removeprefix(start).split(".")[1]) for name in stored if name.startswith(start)}
    assert layers == set(range(24))
    assert torch.equal(stored[f"{start}.23.ln_1.weight"], stored[f"{start}.22.ln_1.weight"])


def test_names_with_and_without_the_wrapper_make_the_same_file(tmp_path):
    plain = narrow.tensors("CLIPTextModel", narrow.configs("sd1")["text_encoder"])
    save_checkpoint({"text_encoder": plain}, "sd1", tmp_path / "a.safetensors")
    wrapped = {f"text_model.{name}": tensor for name, tensor in plain.items()}
    save_checkpoint({"text_encoder": wrapped}, "sd1", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_how_an_sdxl_checkpoint_was_trained_is_marked_and_read(narrowed, tmp_path):
    file = tmp_path / "v.safetensors"
    save_checkpoint(narrow.parts("sdxl"), "sdxl", file, prediction_type="v_prediction", zero_terminal_snr=True)
    source = open_checkpoint(narrow.location(file, "sdxl"))
    assert source.noise["prediction_type"] == "v_prediction"
    assert source.noise["rescale_betas_zero_snr"]
    assert not source.unused


def test_a_base_without_such_a_layout_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="starter-1234 cannot be written as one file"):
        save_checkpoint({}, "starter-1234", tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_tensors_without_a_place_are_refused(tmp_path):
    one = {"strange.weight": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"sd1 has no place for strange\.weight"):
        save_checkpoint({"unet": one}, "sd1", tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match="sd1 has no text_encoder_2"):
        save_checkpoint({"text_encoder_2": one}, "sd1", tmp_path / "out.safetensors")
    half = {"encoder.layers.0.self_attn.q_proj.bias": torch.zeros(2)}
    with pytest.raises(ValueError, match="one of them is missing"):
        save_checkpoint({"text_encoder": half}, "sd2", tmp_path / "out.safetensors")
