import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from studio.adapters.delta import LowRank
from studio.adapters.stack import Weighted
from studio.adapters.tools.mixing import Baked, Mixed, Shares, check_alike, check_blocks
from studio.engine import sources, tensors
from studio.engine.rewriting import Writing, open_original, rewrite
from studio.engine.sources import open_checkpoint
from studio.engine.tensors import write_tensors
from studio.errors import InvalidRequestError, StorageError
from tests import tiny
from tests.engine import narrow

BASES = ("sd1", "sd2", "sdxl", "sdxl-refiner")


@pytest.fixture(autouse=True)
def narrowed(monkeypatch):
    monkeypatch.setattr(sources, "CONFIGS", {base: narrow.configs(base) for base in BASES})


def written(folder, base, title, scale=1.0, dtype=torch.float16):
    """A checkpoint as a file, with averages that are to be forgotten."""
    narrow.write(folder / f"{title}.safetensors", base, dtype)
    held = {name: tensor * scale for name, tensor in load_file(folder / f"{title}.safetensors").items()}
    held["model_ema.decay"] = torch.ones(1)
    rows = {name: (tuple(tensor.shape), [tensor]) for name, tensor in held.items()}
    write_tensors(folder / f"{title}.safetensors", rows, {"made by": title, "modelspec.hash_sha256": "0x1"})
    return open_original(narrow.location(folder / f"{title}.safetensors", base))


def loaded(file, base):
    return open_original(narrow.location(file, base))


def mixed(first, second, shares, third=None):
    read = None if third is None else third.tensor
    return Mixed(frozenset(first.shapes), shares, second.tensor, read)


@pytest.mark.parametrize("base", BASES)
def test_a_share_of_nothing_is_the_same_and_a_share_of_all_is_the_other(tmp_path, base):
    first, second = written(tmp_path, base, "a"), written(tmp_path, base, "b", 0.5)
    rewrite(first, mixed(first, second, Shares(0.0)), Writing(tmp_path / "none.safetensors", {}))
    before, after = (load_file(tmp_path / f"{name}.safetensors") for name in ("a", "none"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    rewrite(first, mixed(first, second, Shares(1.0)), Writing(tmp_path / "all.safetensors", {"recipe": "x"}))
    made = loaded(tmp_path / "all.safetensors", base)
    assert all(torch.equal(made.tensor(name), second.tensor(name)) for name in second.shapes)
    vae, own = (one.parts["vae"] for one in (made, first))
    assert all(torch.equal(vae.tensor(name), own.tensor(name)) for name in own.names())
    assert "model_ema.decay" not in load_file(tmp_path / "all.safetensors")
    with safe_open(tmp_path / "all.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "made by": "a", "recipe": "x"}


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
def test_a_weighted_sum_and_a_difference_are_calculated_in_fp32(tmp_path, base):
    first, second, third = (written(tmp_path, base, n, s, torch.float32) for n, s in (("a", 1), ("b", 0.5), ("c", 0.3)))
    rewrite(first, mixed(first, second, Shares(0.3)), Writing(tmp_path / "sum.safetensors", {}))
    rewrite(first, mixed(first, second, Shares(1.0), third), Writing(tmp_path / "more.safetensors", {}))
    added, more = loaded(tmp_path / "sum.safetensors", base), loaded(tmp_path / "more.safetensors", base)
    for name in first.shapes:
        a, b, c = (one.tensor(name) for one in (first, second, third))
        assert torch.equal(added.tensor(name), a * (1 - 0.3) + b * 0.3)
        assert torch.equal(more.tensor(name), a + (b - c))


def test_blocks_have_shares_of_their_own(tmp_path):
    first, second = written(tmp_path, "sd1", "a"), written(tmp_path, "sd1", "b", 0.5)
    shares = Shares(0.0, (("unet.down_blocks", 1.0), ("unet.down_blocks.1", 0.0)))
    rewrite(first, mixed(first, second, shares), Writing(tmp_path / "m.safetensors", {}))
    made = loaded(tmp_path / "m.safetensors", "sd1")
    for name in first.shapes:
        other = name.startswith("unet.down_blocks.") and not name.startswith("unet.down_blocks.1.")
        assert torch.equal(made.tensor(name), (second if other else first).tensor(name)), name


def stack(original, weight=0.7):
    """A LoRA for a layer of each part."""
    rng = torch.Generator().manual_seed(0)
    deltas = {}
    for name, shape in original.shapes.items():
        if name.endswith(("attn1.to_q.weight", "conv1.weight", "q_proj.weight", "v_proj.weight")):
            flat = shape[1] * (shape[2] * shape[3] if len(shape) > 2 else 1)
            up, down = torch.randn(shape[0], 3, generator=rng), torch.randn(3, flat, generator=rng)
            deltas[name] = LowRank(up, down, 0.1)
    assert len({name.split(".")[0] for name in deltas}) == len(original.parts) - 1
    return [Weighted(id="1", title="cat", deltas=deltas, weight=weight)]


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_baking_is_the_sum_in_fp32_rounded_once(tmp_path, base, dtype):
    original = written(tmp_path, base, "a", dtype=dtype)
    worn = stack(original)
    rewrite(original, Baked.of(worn), Writing(tmp_path / "m.safetensors", {}))
    made = loaded(tmp_path / "m.safetensors", base)
    for name in original.shapes:
        own, delta = original.tensor(name), worn[0].deltas.get(name)
        wanted = own if delta is None else (own.float() + delta.of(own.float(), 0.7)).to(dtype)
        torch.testing.assert_close(made.tensor(name), wanted, rtol=2**-7, atol=1e-6)
        assert torch.equal(made.tensor(name), own) == (delta is None)


def test_a_folder_stays_a_folder(tmp_path):
    tiny.tiny_pipeline().save_pretrained(tmp_path / "a", variant="fp16")
    (tmp_path / "a" / "card.json").write_text(json.dumps({"name": "a", "native_size": 64}))
    original = open_original(tiny.location(tmp_path / "a"))
    worn = stack(original)
    told = []
    writing = Writing(tmp_path / "b", {"maquette.recipe": "x"}, lambda *now: told.append(now))
    rewrite(original, Baked.of(worn), writing)
    made = open_original(tiny.location(tmp_path / "b"))
    changed = {name for name in original.shapes if not torch.equal(made.tensor(name), original.tensor(name))}
    assert changed == worn[0].deltas.keys()
    assert json.loads((tmp_path / "b" / "card.json").read_text()) == {"name": "b", "native_size": 64}
    assert [file.name for file in (tmp_path / "b" / "unet").iterdir()].count("diffusion_pytorch_model.safetensors") == 1
    assert not list((tmp_path / "b" / "unet").glob("*fp16*"))
    assert json.loads((tmp_path / "b" / "model_index.json").read_text())
    assert open_checkpoint(tiny.location(tmp_path / "b")).tokenizer(1)
    assert all(done <= total for done, total in told)
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_breaks_off_leaves_nothing(tmp_path, monkeypatch, kind):
    if kind == "folder":
        tiny.tiny_pipeline().save_pretrained(tmp_path / "a")
        original = open_original(tiny.location(tmp_path / "a"))
    else:
        original = written(tmp_path, "sd1", "a")
    before = sorted(tmp_path.rglob("*"))

    def fail(*_ignored):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors.os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        rewrite(original, Baked.of(stack(original)), Writing(tmp_path / "m.safetensors", {}))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn])
def test_numbers_that_the_file_cannot_hold_are_refused(tmp_path, dtype):
    original = written(tmp_path, "sd1", "a")
    if dtype != torch.float16:
        held = {name: tensor.to(dtype) for name, tensor in load_file(tmp_path / "a.safetensors").items()}
        write_tensors(tmp_path / "a.safetensors", {n: (tuple(t.shape), [t]) for n, t in held.items()})
        original = loaded(tmp_path / "a.safetensors", "sd1")
    with pytest.raises(InvalidRequestError, match=r"weight would get numbers that float\w+ cannot hold"):
        rewrite(original, Baked.of(stack(original, 1e9)), Writing(tmp_path / "m.safetensors", {}))
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_nothing_is_written_over(tmp_path):
    original = written(tmp_path, "sd1", "a")
    with pytest.raises(StorageError, match=r"a\.safetensors is there already"):
        rewrite(original, Baked.of(stack(original)), Writing(tmp_path / "a.safetensors", {}))
    with pytest.raises(InvalidRequestError, match="no name for this"):
        rewrite(original, Baked.of(stack(original)), Writing(tmp_path / "a.ckpt", {}))


def test_a_stack_that_changes_nothing_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="changes this checkpoint"):
        Baked.of(stack(written(tmp_path, "sd1", "a"), weight=0.0))


def test_different_bases_are_refused_naming_a_parameter(tmp_path):
    first, second = written(tmp_path, "sd1", "a"), written(tmp_path, "sdxl", "b")
    with pytest.raises(InvalidRequestError, match=r"a and b are not built alike: \d+ of their parameters differ"):
        check_alike("a", first.shapes, [("a2", first.shapes), ("b", second.shapes)])
    check_alike("a", first.shapes, [("a2", dict(first.shapes))])


def test_blocks_that_are_none_are_refused():
    check_blocks([("unet", 1.0), ("unet.conv_in", 0.5)], ["unet.conv_in.weight"])
    with pytest.raises(InvalidRequestError, match=r"no block 'unet\.conv'"):
        check_blocks([("unet.conv", 1.0)], ["unet.conv_in.weight"])
