import pytest

from studio.library.roots import builtin_place, model_places, read_extra_paths
from tests.library.kit import settings_in


def places(tmp_path, *models_from):
    settings = settings_in(tmp_path, *models_from)
    return {place.folder: place.kind for place in model_places(settings) if "data" not in place.root}


def make(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


def test_the_starter_pack_comes_first_and_the_own_folders_follow(tmp_path):
    first, *own = model_places(settings_in(tmp_path))
    assert first == builtin_place()
    kinds = {place.folder.name: place.kind for place in own}
    assert kinds["loras"] == "lora"
    assert kinds["checkpoints"] == "checkpoint"
    assert "annotators" not in kinds


def test_an_a1111_installation_is_known_by_its_folders(tmp_path):
    root = make(
        tmp_path / "webui",
        "models/Stable-diffusion",
        "models/Lora",
        "models/VAE",
        "models/ESRGAN",
        "models/hypernetworks",
        "models/oddities",
        "embeddings",
        "extensions/sd-webui-controlnet/models",
    )
    assert places(tmp_path, root).items() >= {
        (root / "models" / "Stable-diffusion", "checkpoint"),
        (root / "models" / "Lora", "lora"),
        (root / "models" / "VAE", "vae"),
        (root / "models" / "ESRGAN", "upscaler"),
        (root / "models" / "hypernetworks", "hypernetwork"),
        (root / "models" / "oddities", ""),
        (root / "embeddings", "embedding"),
        (root / "extensions" / "sd-webui-controlnet" / "models", "controlnet"),
    }


@pytest.mark.parametrize("inside", ["", "ComfyUI"])
def test_a_comfyui_installation_is_known_by_its_folders_even_when_wrapped(tmp_path, inside):
    root = tmp_path / "portable"
    folders = (
        "models/checkpoints",
        "models/clip_vision",
        "models/upscale_models",
        "models/vae_approx",
        "models/configs",
    )
    models = make(root / inside, *folders) / "models"
    found = places(tmp_path, root)
    assert found[models / "clip_vision"] == "image_encoder"
    assert found[models / "upscale_models"] == "upscaler"
    assert found[models / "vae_approx"] == "taesd"
    assert models / "configs" not in found


def test_a_folder_of_model_folders_and_a_folder_of_files_will_do(tmp_path):
    models = make(tmp_path / "models", "Lora", "mine")
    plain = make(tmp_path / "plain", "sub")
    found = places(tmp_path, models, plain)
    assert (found[models / "Lora"], found[models / "mine"], found[plain]) == ("lora", "", "")


@pytest.mark.parametrize("beside", [False, True])
def test_extra_model_paths_are_read_in_the_folder_and_beside_it(tmp_path, beside):
    root = make(tmp_path / "comfy" / "ComfyUI", "models/checkpoints")
    store = make(tmp_path / "store", "ckpt", "l1", "l2")
    lines = f"a111:\n  base_path: {store}\n  checkpoints: ckpt\n  loras: |\n    l1\n    l2\n  vae: gone\n"
    (root.parent if beside else root).joinpath("extra_model_paths.yaml").write_text(lines)
    found = places(tmp_path, root)
    assert (found[store / "ckpt"], found[store / "l1"], found[store / "l2"]) == ("checkpoint", "lora", "lora")
    assert store / "gone" not in found


def test_a_relative_base_path_is_relative_to_the_file(tmp_path):
    (tmp_path / "extra.yaml").write_text("x:\n  base_path: ../other\n  is_default: true\n  unet: |\n    a\n")
    assert read_extra_paths(tmp_path / "extra.yaml") == [(tmp_path.parent / "other" / "a", "")]


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: b", "a: [1", "a:\n  checkpoints: 7", "\x00"])
def test_a_file_of_paths_that_makes_no_sense_names_no_folder(tmp_path, text):
    (tmp_path / "extra.yaml").write_text(text)
    assert read_extra_paths(tmp_path / "extra.yaml") == []
