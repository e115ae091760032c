"""What a file says of its run, and what of that a person would rather keep."""

import hashlib
import json

import pytest
import torch

from studio.engine.weights import open_weights
from studio.training.exporting import write_export
from studio.training.header import PARAMS, PRIVATE, Facts, header_of, published
from studio.training.method import Export
from studio.training_params import TrainingParams

TENSORS = {"b.weight": torch.randn(3, 4), "a.weight": torch.randn(2, 4).half(), "c.alpha": torch.tensor(4.0)}
FACTS = Facts(
    step=40,
    pictures=5,
    held_out=1,
    started=1_700_000_000.0,
    finished=1_700_000_100.0,
    author="Ada",
    folders={"holiday at home": {"n_repeats": 1, "img_count": 5}},
    tags={"holiday at home": {"ohwx cup": 5}},
)


def params(**changed):
    plain = {
        "name": "cup",
        "base": "sd1",
        "trigger": "ohwx",
        "checkpoint": "photo-v1",
        "dataset": "holiday at home",
        "sample_prompts": ("ohwx in my garden",),
        "snr_gamma": 5.0,
        "optimizer": "adamw8bit",
        "batch": 2,
        "accumulation": 2,
    }
    return TrainingParams(**plain | changed)


def lora(metadata=None):
    return Export("lora", "kohya", ".safetensors", TENSORS, metadata or {"ss_network_module": "networks.lora"})


def test_kohyas_fields_say_what_is_known():
    said = header_of(params(), lora(), FACTS)
    expected = {
        "ss_output_name": "cup",
        "ss_sd_model_name": "photo-v1",
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_steps": "40",
        "ss_epoch": "32",
        "ss_num_train_images": "5",
        "ss_num_validation_images": "1",
        "ss_total_batch_size": "4",
        "ss_optimizer": "AdamW8bit",
        "ss_min_snr_gamma": "5.0",
        "ss_loss_type": "l2",
        "ss_mixed_precision": "no",
    }
    assert expected.items() <= said.items()
    assert "ss_noise_offset" not in said
    assert all(isinstance(value, str) for value in said.values())


def test_a_lora_says_what_it_was_asked_to_be():
    asked = params(rank=8, alpha=4.0, conv_rank=2, dora=True, rslora=True, lora_plus=16.0)
    said = header_of(asked, lora(), FACTS)
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("8", "4.0")
    args = {"conv_dim": "2", "conv_alpha": "1.0", "dora_wd": "True", "rs_lora": "True", "loraplus_lr_ratio": "16.0"}
    assert json.loads(said["ss_network_args"]) == args
    assert json.loads(header_of(params(), lora(), FACTS)["ss_network_args"]) == {}


@pytest.mark.parametrize(
    ("base", "kind", "resolution", "expected"),
    [
        ("sd1", "lora", 512, "stable-diffusion-v1/lora"),
        ("sd2", "lora", 768, "stable-diffusion-v2-768-v/lora"),
        ("sd2", "embedding", 512, "stable-diffusion-v2-512/textual-inversion"),
        ("sdxl", "checkpoint", 1024, "stable-diffusion-xl-v1-base"),
        ("sdxl", "controlnet", 1024, "stable-diffusion-xl-v1-base/controlnet"),
    ],
)
def test_modelspec_names_the_architecture(base, kind, resolution, expected):
    export = Export(kind, "kohya", ".safetensors", TENSORS, {})
    said = header_of(params(base=base, resolution=resolution), export, FACTS)
    assert said["modelspec.sai_model_spec"] == "1.0.1"
    assert said["modelspec.architecture"] == expected
    assert said["modelspec.trigger_phrase"] == "ohwx"
    assert said["modelspec.date"] == "2023-11-14T22:15:00+00:00"
    assert not any(name.startswith("ss_") for name in said if kind not in ("lora", "embedding"))


def test_folders_and_captions_are_told_only_when_asked():
    quiet = header_of(params(), lora(), FACTS)
    assert not any("holiday" in value or "garden" in value for value in quiet.values())
    loud = header_of(params(), lora(), Facts(**vars(FACTS) | {"told": True}))
    assert json.loads(loud["ss_tag_frequency"]) == FACTS.tags
    assert json.loads(loud["ss_dataset_dirs"]) == FACTS.folders
    rows = published(loud)
    assert {row.name for row in rows if row.private} == {"ss_dataset_dirs", "ss_tag_frequency"} <= {*PRIVATE}
    assert [row.private for row in rows] == sorted((row.private for row in rows), reverse=True)
    assert {row.name: row.value for row in rows} == loud


def test_the_run_can_be_read_back():
    said = json.loads(header_of(params(), lora(), FACTS)[PARAMS])
    assert TrainingParams.from_dict(said) == params(dataset="", sample_prompts=())


def test_the_hash_is_of_the_bytes_after_the_header(tmp_path):
    path = write_export(lora(), tmp_path, "cup", header_of(params(), lora(), FACTS))
    said, data = open_weights(path).metadata, path.read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert (said["modelspec.hash_sha256"], said["sshs_model_hash"]) == (f"0x{digest}", digest)
    assert said["ss_network_module"] == "networks.lora"
