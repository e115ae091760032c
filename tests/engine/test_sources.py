import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.engine import sources
from studio.engine.configs import CONFIGS, NOISE
from studio.engine.skeletons import construct
from studio.engine.sources import open_checkpoint, open_vae
from studio.errors import ModelNotFoundError
from tests.engine import narrow

CLIP_START = "cond_stage_model.transformer."


@pytest.fixture(autouse=True)
def narrowed(monkeypatch):
    monkeypatch.setattr(sources, "CONFIGS", {base: narrow.configs(base) for base in CONFIGS})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An SD 1 file and its tensors by part."""
    file = tmp_path_factory.mktemp("files") / "whole.safetensors"
    return file, narrow.write(file, "sd1")


def changed(whole, tmp_path, change):
    """The file with its tensors changed by name: `change` gives another name, or None to leave it out."""
    stored = {change(name): tensor for name, tensor in load_file(whole[0]).items()}
    stored.pop(None, None)
    save_file(stored, tmp_path / "changed.safetensors")
    return narrow.location(tmp_path / "changed.safetensors", "sd1")


def assert_whole(source, parts, without=()):
    for name, tensors in parts.items():
        if name not in without:
            assert all(torch.equal(source.parts[name].tensor(key), tensor) for key, tensor in tensors.items())


def test_tensors_are_views_of_the_files_mapping(whole):
    source = open_checkpoint(narrow.location(whole[0], "sd1"))
    part = source.parts["unet"]
    name = "conv_in.weight"
    assert part.tensor(name).data_ptr() == part.tensor(name).data_ptr()


def test_the_three_parts_of_an_attention_share_one_mapping(tmp_path):
    narrow.write(tmp_path / "two.safetensors", "sd2")
    part = open_checkpoint(narrow.location(tmp_path / "two.safetensors", "sd2")).parts["text_encoder"]
    query, key = (part.tensor(f"encoder.layers.0.self_attn.{letter}_proj.weight") for letter in "qk")
    assert key.data_ptr() - query.data_ptr() == query.numel() * query.element_size()


def test_what_a_file_carries_along_is_left_and_the_rest_is_counted(whole, tmp_path):
    stored = load_file(whole[0])
    stored["model_ema.num_updates"] = torch.zeros(1)
    stored[f"{CLIP_START}text_model.embeddings.position_ids"] = torch.zeros(1, 77)
    stored["somebody.else"] = torch.zeros(1)
    save_file(stored, tmp_path / "more.safetensors")
    source = open_checkpoint(narrow.location(tmp_path / "more.safetensors", "sd1"))
    assert source.unused == ["somebody.else"]
    assert_whole(source, whole[1])


def test_text_encoders_may_be_spelled_without_the_wrapper(whole, tmp_path):
    place = changed(whole, tmp_path, lambda name: name.replace(f"{CLIP_START}text_model.", CLIP_START))
    assert_whole(open_checkpoint(place), whole[1])


def test_the_autoencoders_attention_may_be_spelled_and_shaped_as_in_diffusers(whole, tmp_path):
    stored = {}
    for name, tensor in load_file(whole[0]).items():
        start, _, end = name.rpartition(".attn_1.")
        part, _, kind = end.rpartition(".")
        other = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}.get(part) if start else None
        flat = tensor.reshape(tensor.shape[:2]) if other and kind == "weight" else tensor
        stored[f"{start}.attn_1.{other}.{kind}" if other else name] = flat
    save_file(stored, tmp_path / "other.safetensors")
    source = open_checkpoint(narrow.location(tmp_path / "other.safetensors", "sd1"))
    assert_whole(source, whole[1])
    assert not source.unused


@pytest.mark.parametrize(
    ("start", "what", "way_out"),
    [
        ("first_stage_model.", "comes without its autoencoder", "Choose an autoencoder for sd1"),
        ("cond_stage_model.", "comes without its text encoder", "Take the full version"),
        ("model.diffusion_model.", "comes without its UNet", "no checkpoint"),
    ],
)
def test_a_part_that_is_not_there_is_named(whole, tmp_path, start, what, way_out):
    place = changed(whole, tmp_path, lambda name: None if name.startswith(start) else name)
    with pytest.raises(ModelNotFoundError, match=what) as refused:
        open_checkpoint(place)
    assert way_out in refused.value.hint


def test_a_tensor_that_is_not_there_is_named(whole, tmp_path):
    place = changed(whole, tmp_path, lambda name: None if name.endswith("output_blocks.3.0.in_layers.0.bias") else name)
    with pytest.raises(
        ModelNotFoundError, match=r"changed lacks 1 of the 686 .* UNet, such as up_blocks\.1\.resnets\.0"
    ):
        open_checkpoint(place)


def test_a_tensor_of_another_shape_is_named(whole, tmp_path):
    stored = load_file(whole[0])
    stored["model.diffusion_model.out.2.bias"] = torch.zeros(7)
    save_file(stored, tmp_path / "odd.safetensors")
    with pytest.raises(ModelNotFoundError, match=r"out\.2\.bias has the shape \(7,\)"):
        open_checkpoint(narrow.location(tmp_path / "odd.safetensors", "sd1"))


def test_an_sd1_file_is_no_sd2_file(whole):
    with pytest.raises(ModelNotFoundError, match="comes without its text encoder"):
        open_checkpoint(narrow.location(whole[0], "sd2"))


def test_an_unknown_base_model_is_refused(whole):
    with pytest.raises(ModelNotFoundError, match="unknown base model"):
        open_checkpoint(narrow.location(whole[0], "unknown"))


@pytest.mark.parametrize("channels", [5, 8, 9])
def test_channels_in_follow_the_file(whole, tmp_path, channels):
    stored = load_file(whole[0])
    name = "model.diffusion_model.input_blocks.0.0.weight"
    stored[name] = torch.randn(8, channels, 3, 3)
    save_file(stored, tmp_path / "in.safetensors")
    unet = open_checkpoint(narrow.location(tmp_path / "in.safetensors", "sd1")).parts["unet"]
    assert unet.config["in_channels"] == channels
    assert torch.equal(unet.tensor("conv_in.weight"), stored[name])


def test_the_noise_is_stable_diffusions_and_follows_the_card(whole):
    assert open_checkpoint(narrow.location(whole[0], "sd1")).noise == NOISE
    card = {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "native_size": 768, "name": "x"}
    source = open_checkpoint(narrow.location(whole[0], "sd1", **card))
    assert source.noise == NOISE | {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    assert source.parts["unet"].config["sample_size"] == 96


def test_each_text_encoder_has_its_tokenizer(whole, tmp_path):
    assert open_checkpoint(narrow.location(whole[0], "sd1")).tokenizer().pad_token_id == 49407
    narrow.write(tmp_path / "xl.safetensors", "sdxl")
    source = open_checkpoint(narrow.location(tmp_path / "xl.safetensors", "sdxl"))
    assert [source.tokenizer(number).pad_token_id for number in (1, 2)] == [49407, 0]


def test_pickled_checkpoints_are_read_alike(whole, tmp_path):
    torch.save({"state_dict": load_file(whole[0]), "global_step": 3}, tmp_path / "old.ckpt")
    assert_whole(open_checkpoint(narrow.location(tmp_path / "old.ckpt", "sd1")), whole[1])


def test_a_file_that_is_deleted_while_it_is_open_stays_readable(whole, tmp_path):
    file = tmp_path / "gone.safetensors"
    file.write_bytes(whole[0].read_bytes())
    source = open_checkpoint(narrow.location(file, "sd1"))
    file.unlink()
    assert_whole(source, whole[1])


def test_sd_turbos_text_encoder_lies_where_sdxls_does(tmp_path):
    parts = narrow.write(tmp_path / "two.safetensors", "sd2")
    usual, other = "cond_stage_model.model.", "conditioner.embedders.0.model."
    stored = {name.replace(usual, other): tensor for name, tensor in load_file(tmp_path / "two.safetensors").items()}
    save_file(stored, tmp_path / "turbo.safetensors")
    source = open_checkpoint(narrow.location(tmp_path / "turbo.safetensors", "sd2"))
    assert_whole(source, parts)
    assert not source.unused


def test_a_schedule_that_ends_in_noise_is_known_by_metadata_too(whole, tmp_path):
    save_file(load_file(whole[0]), tmp_path / "zero.safetensors", metadata={"ss_zero_terminal_snr": "True"})
    assert open_checkpoint(narrow.location(tmp_path / "zero.safetensors", "sd1")).noise["rescale_betas_zero_snr"]
    assert "rescale_betas_zero_snr" not in open_checkpoint(narrow.location(whole[0], "sd1")).noise


# --- folders


@pytest.fixture
def folder(whole, tmp_path):
    """The same checkpoint as a diffusers folder."""
    root = tmp_path / "folder"
    source = open_checkpoint(narrow.location(whole[0], "sd1"))
    for name, part in source.parts.items():
        module = construct(part.class_name, part.config).half()
        module.load_state_dict(whole[1][name], strict=True)
        module.save_pretrained(root / name)
    classes = {name: ["diffusers", part.class_name] for name, part in source.parts.items()}
    (root / "model_index.json").write_text(json.dumps(classes | {"safety_checker": [None, None]}))
    return root


def test_a_folder_has_the_same_parts_as_the_file(whole, folder):
    source = open_checkpoint(narrow.location(folder, "sd1"))
    assert source.parts.keys() == whole[1].keys()
    assert_whole(source, whole[1])


def rename_weights(folder, part, change):
    file = next((folder / part).glob("*.safetensors"))
    stored = {change(name): tensor for name, tensor in load_file(file).items()}
    save_file(stored, file)


def test_folders_of_other_versions_are_read_alike(whole, folder):
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def older(name):
        for new, before in old.items():
            name = name.replace(new, before)
        return name

    rename_weights(folder, "vae", older)
    rename_weights(folder, "text_encoder", lambda name: "text_model." + name.removeprefix("text_model."))
    assert_whole(open_checkpoint(narrow.location(folder, "sd1")), whole[1])


def test_shards_variants_and_pickles_are_found(whole, folder):
    unet = whole[1]["unet"]
    file = next((folder / "unet").glob("*.safetensors"))
    names = sorted(unet)
    shards = {"a.safetensors": names[:300], "b.safetensors": names[300:]}
    for shard, these in shards.items():
        save_file({name: unet[name] for name in these}, file.with_name(shard))
    index = {"weight_map": {name: shard for shard, these in shards.items() for name in these}}
    file.with_name(f"{file.name}.index.json").write_text(json.dumps(index))
    file.unlink()
    vae = next((folder / "vae").glob("*.safetensors"))
    vae.rename(vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    text = next((folder / "text_encoder").glob("*.safetensors"))
    torch.save(load_file(text), text.with_name("pytorch_model.bin"))
    text.unlink()
    assert_whole(open_checkpoint(narrow.location(folder, "sd1")), whole[1])
    file.with_name("b.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"lacks unet/b\.safetensors"):
        open_checkpoint(narrow.location(folder, "sd1"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"_class_name": "Dragon"}', '{"_class_name": "AutoencoderKL", "x": 1}']
)
def test_a_description_that_makes_no_sense_is_a_sentence(folder, text):
    (folder / "unet" / "config.json").write_text(text)
    with pytest.raises(ModelNotFoundError):
        open_checkpoint(narrow.location(folder, "sd1"))


def test_a_folder_without_an_autoencoder_takes_another(whole, folder):
    index = json.loads((folder / "model_index.json").read_text())
    del index["vae"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFoundError, match="comes without its autoencoder"):
        open_checkpoint(narrow.location(folder, "sd1"))
    other = narrow.location(folder / "vae", "sd1", "vae")
    assert_whole(open_checkpoint(narrow.location(folder, "sd1"), other), whole[1])


# --- autoencoders by themselves


@pytest.mark.parametrize("start", ["", "first_stage_model."])
def test_an_autoencoder_in_a_file_is_read_in_either_spelling(whole, folder, tmp_path, start):
    prefix = "first_stage_model."
    bare = {name.removeprefix(prefix): t for name, t in load_file(whole[0]).items() if name.startswith(prefix)}
    save_file({start + name: t for name, t in bare.items()}, tmp_path / "vae.safetensors")
    ours = open_vae(narrow.location(tmp_path / "vae.safetensors", "unknown", "vae"))
    theirs = open_vae(narrow.location(next((folder / "vae").glob("*.safetensors")), "sd1", "vae"))
    for name, tensor in whole[1]["vae"].items():
        assert torch.equal(ours.tensor(name), tensor)
        assert torch.equal(theirs.tensor(name), tensor)


def test_another_autoencoder_takes_the_checkpoints_scale(whole, tmp_path):
    prefix = "first_stage_model."
    stored = load_file(whole[0])
    save_file({n: t + 1 for n, t in stored.items() if n.startswith(prefix)}, tmp_path / "vae.safetensors")
    save_file({n: t for n, t in stored.items() if not n.startswith(prefix)}, tmp_path / "half.safetensors")
    vae = narrow.location(tmp_path / "vae.safetensors", "unknown", "vae")
    source = open_checkpoint(narrow.location(tmp_path / "half.safetensors", "sd1"), vae)
    assert_whole(source, whole[1], without=("vae",))
    assert torch.equal(source.parts["vae"].tensor("quant_conv.bias"), whole[1]["vae"]["quant_conv.bias"] + 1)
    assert source.parts["vae"].config["scaling_factor"] == 0.18215
    assert open_vae(vae, "sdxl").config["scaling_factor"] == 0.13025
