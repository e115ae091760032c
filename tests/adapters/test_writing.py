"""LoRAs that were written are read again as they were, by us and by diffusers."""

import pytest
import torch
from safetensors.torch import save_file

from studio.adapters.delta import LowRank
from studio.adapters.writing import as_diffusers, as_kohya
from studio.library.identify import identify
from studio.library.names import DIFFUSERS, unet_names
from studio.library.rules.subject import STARTER
from tests import tiny
from tests.adapters.held import read
from tests.adapters.test_known import targets as known_targets

LAYERS = ("attn1.to_q", "attn2.to_v", "attn1.to_out.0", "ff.net.2", "proj_in", "conv1", "q_proj", "out_proj", "mlp.fc1")
PIPELINES = {"sd1": tiny.tiny_pipeline, "sdxl": tiny.tiny_sdxl_pipeline}


def parameters(pipe):
    """The pipeline's parameters by the names that adapters use."""
    found = {}
    for part in ("unet", "text_encoder", "text_encoder_2"):
        if module := getattr(pipe, part, None):
            found |= {f"{part}.{name.removeprefix('text_model.')}": own for name, own in module.named_parameters()}
    return found


def some(targets, scales=(1.0,), ranks=(4,)):
    """LoRAs for many layers, with these scales and ranks in turn."""
    torch.manual_seed(3)
    names = [name for name in targets if name.endswith(tuple(f"{layer}.weight" for layer in LAYERS))]
    deltas = {}
    for place, name in enumerate(names):
        rank, scale, shape = ranks[place % len(ranks)], scales[place % len(scales)], targets[name]
        down = torch.randn(rank, torch.Size(shape[1:]).numel()) * 0.2
        deltas[name] = LowRank(torch.randn(shape[0], rank) * 0.2, down, scale)
    return deltas


def written(spelling, deltas, targets, base):
    return {"kohya": as_kohya, "diffusers": as_diffusers}[spelling](deltas, targets, base)


@pytest.mark.parametrize("spelling", ["kohya", "diffusers"])
@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
def test_what_was_written_is_read_as_it_was(spelling, base):
    targets = known_targets(base)
    deltas = dict(list(some(targets, (1.0, 0.5, 0.1), (4, 3)).items())[::20])
    file = written(spelling, deltas, targets, base)
    found = read(file.tensors, targets, file.metadata)
    assert not found.unmatched
    assert found.deltas.keys() == deltas.keys()
    for name, delta in deltas.items():
        assert torch.equal(found.deltas[name].up, delta.up)
        assert torch.equal(found.deltas[name].down, delta.down)
        assert found.deltas[name].scale == pytest.approx(delta.scale, rel=1e-6)


@pytest.mark.parametrize("spelling", ["kohya", "diffusers"])
@pytest.mark.parametrize("base", PIPELINES)
def test_diffusers_reads_the_file_as_we_do(spelling, base, tmp_path):
    pipe = PIPELINES[base]()
    targets = {name: tuple(tensor.shape) for name, tensor in parameters(pipe).items()}
    # Of kohya's files diffusers reads the alphas of attentions wrongly where they differ, and warns.
    differing = spelling == "diffusers"
    deltas = some(targets, (0.5, 2.0) if differing else (0.5,), (4, 2) if differing else (4,))
    file = written(spelling, deltas, targets, base)
    save_file(
        {name: tensor.contiguous() for name, tensor in file.tensors.items()},
        tmp_path / "a.safetensors",
        dict(file.metadata),
    )
    expected = {name: tensor.detach().clone() for name, tensor in parameters(pipe).items()}
    for name, delta in deltas.items():
        expected[name] += delta.of(expected[name], 1.0)
    pipe.load_lora_weights(tmp_path / "a.safetensors")
    pipe.fuse_lora(components=["unet", "text_encoder", *(["text_encoder_2"] if base == "sdxl" else [])])
    pipe.unload_lora_weights()
    merged = parameters(pipe)
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, rtol=1e-5, atol=1e-6)


def test_kohyas_file_has_sdxl_in_ldms_names_and_sd1_in_diffusers():
    for base, start in (("sd1", "lora_unet_down_blocks_"), ("sdxl", "lora_unet_input_blocks_")):
        shapes = known_targets(base)
        layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"
        file = as_kohya({layer: LowRank(torch.ones(640, 2), torch.ones(2, 640), 0.5)}, shapes, base)
        assert all(name.startswith(start) for name in file.tensors)


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("spelling", ["kohya", "diffusers"])
def test_the_library_knows_what_was_written(base, spelling, tmp_path):
    targets = known_targets(base)
    layers = [name for name in unet_names(base, DIFFUSERS) if name.endswith("attn2.to_v.weight")]
    deltas = {
        f"unet.{name}": LowRank(
            torch.ones(targets[f"unet.{name}"][0], 1), torch.ones(1, targets[f"unet.{name}"][1]), 1.0
        )
        for name in layers
    }
    file = written(spelling, deltas, targets, base)
    save_file(dict(file.tensors), tmp_path / "a.safetensors", dict(file.metadata))
    found = identify(tmp_path / "a.safetensors")
    assert (found.kind, found.base, found.family) == ("lora", base, "lora")


def test_kohyas_header_says_rank_and_alpha_or_that_there_are_several():
    targets = known_targets("sd1")
    one, two = list(some(targets, (0.5,)).items()), list(some(targets, (0.5, 1.0), (4, 8)).items())
    said = as_kohya(dict(one[:4]), targets, "sd1").metadata
    assert (said["ss_network_dim"], said["ss_network_alpha"], said["ss_base_model_version"]) == ("4", "2.0", "sd_v1")
    said = as_kohya(dict(two[:4]), targets, "sd1").metadata
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("Dynamic", "Dynamic")


@pytest.mark.parametrize("spelling", ["kohya", "diffusers"])
def test_a_file_for_a_starter_says_so(spelling):
    targets = {"unet.conv_in.weight": (8, 4, 3, 3)}
    deltas = {"unet.conv_in.weight": LowRank(torch.ones(8, 2), torch.ones(2, 36), 1.0)}
    assert written(spelling, deltas, targets, "starter-1").metadata[STARTER] == "starter-1"
    assert STARTER not in written(spelling, deltas, targets, "sd1").metadata
    assert not read(written(spelling, deltas, targets, "starter-1").tensors, targets).unmatched


@pytest.mark.parametrize("spelling", ["kohya", "diffusers"])
def test_a_scale_of_zero_is_refused_because_it_would_be_read_as_one(spelling):
    deltas = {"unet.conv_in.weight": LowRank(torch.ones(8, 2), torch.ones(2, 36), 0.0)}
    with pytest.raises(ValueError, match="scale of 0"):
        written(spelling, deltas, {"unet.conv_in.weight": (8, 4, 3, 3)}, "sd1")
