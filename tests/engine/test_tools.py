import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from studio.adapters.delta import LowRank
from studio.adapters.file import read_adapter
from studio.adapters.stack import Weighted
from studio.adapters.tools.recipe import RECIPE
from studio.adapters.writing import as_diffusers, as_kohya
from studio.engine import tools
from studio.engine.rewriting import open_original
from studio.engine.store import Store
from studio.engine.tensors import write_tensors
from studio.engine.tools import Order, read_order, run, written
from studio.engine.weights import open_weights
from studio.library.header import read_header
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two checkpoints and two LoRAs for them."""
    root = tmp_path_factory.mktemp("tools")
    tiny.tiny_pipeline().save_pretrained(root / "base")
    tiny.tiny_pipeline(seed=9).save_pretrained(root / "other")
    original = open_original(tiny.location(root / "base"))
    for seed, name in enumerate(("a", "b")):
        save(root / f"{name}.safetensors", as_kohya(deltas(original, seed), original.shapes, "starter-tiny"))
    save(root / "peft.safetensors", as_diffusers(deltas(original, 0), original.shapes, "starter-tiny"))
    return root


def deltas(original, seed):
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in original.shapes.items():
        if name.endswith(("to_q.weight", "conv1.weight", "fc1.weight")):
            inner = torch.Size(shape[1:]).numel()
            up, down = torch.randn(shape[0], 2, generator=rng), torch.randn(2, inner, generator=rng)
            found[name] = LowRank(up, down, 0.5)
    return found


def save(file, made):
    write_tensors(file, {n: (tuple(t.shape), [t]) for n, t in made.tensors.items()}, made.metadata)


@pytest.fixture
def use(folder, tmp_path, monkeypatch):
    """A tool's last line, and the file that it was to write."""
    identify = tools.identify

    def known(path, place=""):
        found = identify(path, place)
        return found if not path.is_dir() else type(found)(kind="checkpoint", base="starter-tiny")

    monkeypatch.setattr(tools, "identify", known)

    def call(tool, *names, out="m.safetensors", **options):
        files = tuple(str(folder / name) for name in names)
        checkpoint = str(folder / "base") if tool not in ("extract", "merge") else ""
        order = Order(tool, str(tmp_path / out), files, **{"checkpoint": checkpoint, **options})
        return run(read_order(written(order))), tmp_path / out

    return call


def values(folder):
    original = open_original(tiny.location(folder))
    return {name: original.tensor(name) for name in original.shapes}


def adapter(file, folder):
    weights = open_weights(file)
    return read_adapter(weights, open_original(tiny.location(folder / "base")).shapes)


def recipe(file):
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()[RECIPE])


def bake(use, *names, **options):
    said, out = use("bake", *names, **options)
    assert "path" in said, said
    return values(out)


def assert_close(found, wanted, tolerance=1e-5):
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name] - tensor).norm() <= tolerance * tensor.norm().clamp_min(1e-3), name


def test_merged_and_then_baked_is_both_baked(use, folder, tmp_path):
    both = bake(use, "a.safetensors", "b.safetensors", out="both", weights=((0.7, 0.3), (-0.5, -0.5)))
    said, out = use("merge-loras", "a.safetensors", "b.safetensors", weights=((0.7, 0.3), (-0.5, -0.5)))
    assert said == {"path": str(out), "notes": []}
    assert_close(bake(use, out, out="one"), both)
    assert [one["name"] for one in recipe(out)["inputs"]] == ["a.safetensors", "b.safetensors"]
    assert recipe(out)["weights"] == [[0.7, 0.3], [-0.5, -0.5]]
    again = recipe(tmp_path / "one" / "unet" / "diffusion_pytorch_model.safetensors")
    assert again["inputs"][1]["recipe"]["tool"] == "merge-loras"


def test_embeddings_inside_of_a_file_are_told_to_be_lost(use, folder):
    inside = load_file(folder / "a.safetensors") | {"bundle_emb.cat.emb_params": torch.ones(1, tiny.HIDDEN)}
    save_file(inside, folder / "inside.safetensors")
    said, _ = use("merge-loras", "inside.safetensors", "b.safetensors")
    assert said["notes"] == ["What was made has no cat of inside.safetensors."]


def test_baked_is_worn_to_the_bit(use, folder):
    baked = bake(use, "a.safetensors", out="m", weights=((0.6, 0.6),))
    store = Store(torch.device("cpu"), torch.float32, "sdpa")
    checkpoint = store.checkpoint(tiny.location(folder / "base"))
    store.dress([Weighted(id="a", title="a", deltas=adapter(folder / "a.safetensors", folder).deltas, weight=0.6)])
    living = {part: one.parameters() for part, one in checkpoint.adapted.items()}
    for name, tensor in baked.items():
        if name in living[name.partition(".")[0]]:
            assert torch.equal(living[name.partition(".")[0]][name][1], tensor), name


def test_what_was_baked_is_extracted_again(use, folder):
    _, baked = use("bake", "a.safetensors", out="tuned")
    said, out = use("extract", "base", baked, rank=2, precision="fp16")
    assert said["notes"] == []
    wanted = adapter(folder / "a.safetensors", folder).deltas
    found = adapter(out, folder).deltas
    assert found.keys() == wanted.keys()
    for name, delta in found.items():
        pristine = torch.zeros(open_original(tiny.location(folder / "base")).shapes[name])
        change = wanted[name].of(pristine, 1.0)
        assert (delta.of(pristine, 1.0) - change).norm() <= 2**-9 * change.norm()
    with safe_open(out, "pt") as opened:
        assert opened.metadata()["maquette.base"] == "starter-tiny"


def test_resized_to_its_own_rank_is_the_same(use, folder):
    _, out = use("resize", "a.safetensors", rank=2)
    assert_close(bake(use, out, out="x"), bake(use, "a.safetensors", out="y"), 1e-4)
    _, small = use("resize", "a.safetensors", rank=1, out="small.safetensors")
    assert small.stat().st_size < out.stat().st_size
    said, _ = use("resize", "a.safetensors", out="no.safetensors")
    assert said["error"] == "Neither a rank nor an energy is given."


def contents(file):
    data = file.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


@pytest.mark.parametrize(("name", "there", "back"), [("a", "peft", "kohya"), ("peft", "kohya", "peft")])
def test_there_and_back_is_the_same(use, folder, name, there, back):
    _, between = use("respell", f"{name}.safetensors", spelling=there, out="x.safetensors")
    _, out = use("respell", between, spelling=back, out="y.safetensors")
    assert load_file(between).keys() != load_file(out).keys()
    before, after = (read_header(file) for file in (folder / f"{name}.safetensors", out))
    assert (after.tensors, after.metadata) == (before.tensors, before.metadata)
    assert contents(out) == contents(folder / f"{name}.safetensors")


@pytest.mark.parametrize(("name", "there", "back"), [("a", "peft", "kohya"), ("peft", "kohya", "peft")])
def test_a_file_that_does_not_say_what_it_is_for_is_taken_for_the_checkpoints(use, folder, tmp_path, name, there, back):
    whole, bare = open_weights(folder / f"{name}.safetensors"), folder / f"bare-{name}.safetensors"
    kept = {key: text for key, text in whole.metadata.items() if key != "maquette.base"}
    write_tensors(bare, {key: (shape, [whole.tensor(key)]) for key, shape in whole.shapes.items()}, kept)
    last, between = use("respell", bare.name, spelling=there, out="x.safetensors")
    assert last["notes"] == [f"{bare.name} does not say what it is for; it was taken to be for base."]
    assert read_header(between).metadata["maquette.base"] == "starter-tiny"
    _, out = use("respell", between, spelling=back, out="y.safetensors")
    assert (read_header(out).metadata, contents(out)) == (kept, contents(bare))
    last, _ = use("respell", bare.name, spelling=there, out="z.safetensors", checkpoint="")
    assert "is for a base model that is not known" in last["error"]


def test_checkpoints_are_mixed_and_differences_added(use, folder, tmp_path):
    a, b = values(folder / "base"), values(folder / "other")
    _, out = use("merge", "base", "other", out="sum", share=0.25, blocks=(("text_encoder", 0.0),))
    found = values(out)
    for name, tensor in a.items():
        share = 0.0 if name.startswith("text_encoder") else 0.25
        assert torch.equal(found[name], tensor * (1 - share) + b[name] * share if share else tensor), name
    _, more = use("merge", "base", "other", out, out="more", share=1.0)
    assert all(torch.equal(tensor, a[name] + (b[name] - found[name])) for name, tensor in values(more).items())
    said = recipe(more / "unet" / "diffusion_pytorch_model.safetensors")
    assert (said["tool"], said["share"], len(said["inputs"])) == ("merge", 1.0, 3)


REFUSED = [
    ({"tool": "merge-loras", "names": ["a.safetensors", "gone.safetensors"]}, "cannot be read"),
    ({"tool": "merge-loras", "names": ["a.safetensors"], "precision": "fp4"}, "no precision 'fp4'"),
    ({"tool": "merge-loras", "names": ["a.safetensors"], "checkpoint": ""}, "is for starter-tiny, whose layers"),
    ({"tool": "merge-loras", "names": ["a.safetensors"], "out": "m.ckpt"}, "no name for this"),
    ({"tool": "bake", "names": ["a.safetensors"], "checkpoint": "b"}, "no checkpoint"),
    ({"tool": "respell", "names": ["a.safetensors"], "spelling": "kohya"}, "spelled as kohya already"),
    ({"tool": "merge", "names": ["base", "other"], "blocks": (("unet.side", 1.0),)}, "no block 'unet.side'"),
    ({"tool": "extract", "names": ["base", "base"]}, "are the same"),
]


@pytest.mark.parametrize(("order", "said"), REFUSED)
def test_what_cannot_be_made_is_a_sentence_and_leaves_nothing(use, tmp_path, folder, order, said):
    order = dict(order)
    if order.get("checkpoint"):
        order["checkpoint"] = str(folder / "b.safetensors")
    last, _ = use(order.pop("tool"), *order.pop("names"), **order)
    assert said in last["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept(use, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"mine")
    last, _ = use("merge-loras", "a.safetensors")
    assert last["error"] == "m.safetensors is there already."
    assert (tmp_path / "m.safetensors").read_bytes() == b"mine"


def test_other_base_models_are_refused(use, folder, tmp_path):
    held = {name: (tuple(tensor.shape), [tensor]) for name, tensor in load_file(folder / "a.safetensors").items()}
    write_tensors(tmp_path / "c.safetensors", held, {"maquette.base": "starter-other"})
    last, _ = use("merge-loras", "a.safetensors", tmp_path / "c.safetensors")
    assert "c.safetensors was made for starter-other, and the checkpoint for starter-tiny" in last["error"]


def test_known_base_models_need_no_checkpoint():
    shapes = tools.shapes_of("sdxl")
    assert shapes["unet.conv_in.weight"] == (320, 4, 3, 3)
    assert shapes["text_encoder.encoder.layers.0.self_attn.q_proj.weight"] == (768, 768)
    assert shapes["text_encoder_2.text_projection.weight"] == (1280, 1280)
