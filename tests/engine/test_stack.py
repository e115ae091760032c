"""Stacks in the weights of living modules: the store's own, of real classes, loaded from files."""

import random
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from studio.adapters import stack as sums
from studio.adapters.delta import Delta, LowRank
from studio.adapters.stack import Weighted
from studio.engine.modules import holds
from studio.engine.residency import Arrangement
from studio.engine.sources import open_checkpoint
from studio.engine.store import Store
from studio.errors import InvalidRequestError, ModelNotFoundError
from tests import tiny
from tests.engine.test_residency import made

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Whole:
    """A change that no branch can run."""

    inner: Delta

    def of(self, pristine, weight):
        return self.inner.of(pristine, weight)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two checkpoints that share their text encoder, one with another, and one of SDXL's form."""
    root = tmp_path_factory.mktemp("stacked")
    tiny.tiny_pipeline().save_pretrained(root / "tiny")
    tiny.tiny_pipeline(seed=9).save_pretrained(root / "other")
    sister = tiny.tiny_pipeline()
    sister.unet = tiny.tiny_unet(seed=4)
    sister.save_pretrained(root / "sister")
    tiny.tiny_sdxl_pipeline().save_pretrained(root / "large")
    return {name: tiny.location(root / name) for name in ("tiny", "other", "sister", "large")}


def store_of(dtype=torch.float32):
    return Store(CPU, dtype, "sdpa")


def parameters(store):
    """By the names that adapters use."""
    return {name: p for one in store.current.adapted.values() for name, (_, p) in one.parameters().items()}


def lora(store, seed, share=0.3, form=LowRank, **changed):
    """A random plain LoRA for a share of the matrices and kernels of a checkpoint."""
    rng, chance = torch.Generator().manual_seed(seed), random.Random(seed)
    names = [name for name, p in parameters(store).items() if p.dim() > 1 and "embed" not in name]
    deltas = {}
    for name in sorted(chance.sample(names, int(len(names) * share))):
        shape, rank = parameters(store)[name].shape, 1 + seed % 4
        up = torch.randn(shape[0], rank, generator=rng) * 0.2
        low = LowRank(up, torch.randn(rank, shape[1:].numel(), generator=rng) * 0.2, 0.5)
        deltas[name] = low if form is LowRank else form(low)
    return Weighted(id=f"lora-{seed}", title=f"lora-{seed}", deltas=deltas, **changed)


def bits(store):
    return {name: p.clone() for name, p in parameters(store).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def as_in_the_file(store, place):
    parts = open_checkpoint(place).parts
    return all(holds(one.module, parts[name]) for name, one in store.current.adapted.items())


@pytest.mark.parametrize("name", ["tiny", "large"])
def test_an_empty_stack_writes_nothing(places, name):
    store = store_of()
    store.checkpoint(places[name])
    assert set(store.current.adapted) == {"unet", "text_encoder"} | ({"text_encoder_2"} if name == "large" else set())
    before = [(p.data_ptr(), p._version) for p in parameters(store).values()]
    store.dress([])
    assert [(p.data_ptr(), p._version) for p in parameters(store).values()] == before


@pytest.mark.parametrize(
    ("name", "dtype", "changes"),
    [
        ("tiny", torch.bfloat16, 1000),
        ("tiny", torch.float32, 100),
        ("large", torch.float32, 100),
        ("large", torch.bfloat16, 100),
    ],
)
def test_random_changes_and_then_off_leave_the_files_bits(places, name, dtype, changes):
    store, chance = store_of(dtype), random.Random(1)
    store.checkpoint(places[name])
    shelf = [lora(store, seed, 0.05, Whole if seed == 3 else LowRank) for seed in range(5)]
    pointers = [p.data_ptr() for p in parameters(store).values()]
    for _ in range(changes):
        chosen = chance.sample(shelf, chance.randint(0, 5))
        store.dress([replace(one, weight=chance.choice([-1, 0, 0.35, 1, 4])) for one in chosen])
    worn = [replace(one, weight=0.7) for one in shelf]
    store.dress(worn)
    assert not as_in_the_file(store, places[name])
    fresh = store_of(dtype)
    fresh.checkpoint(places[name])
    fresh.dress(worn)
    assert same(bits(store), bits(fresh))
    store.dress([])
    assert as_in_the_file(store, places[name])
    assert [p.data_ptr() for p in parameters(store).values()] == pointers


def test_one_weight_among_five_writes_that_adapters_layers_alone(places):
    store = store_of()
    store.checkpoint(places["tiny"])
    worn = [lora(store, seed) for seed in range(5)]
    store.dress(worn)
    before = bits(store)
    store.dress([replace(one, weight=0.9) if one is worn[2] else one for one in worn])
    changed = {name for name, value in bits(store).items() if not torch.equal(value, before[name])}
    assert changed == set(worn[2].deltas)


def test_what_is_not_changed_is_not_computed(places, monkeypatch):
    store = store_of()
    store.checkpoint(places["tiny"])
    worn = [lora(store, seed) for seed in range(3)]
    store.dress(worn)
    monkeypatch.setattr("studio.engine.stack.merge", lambda *_: pytest.fail("merged"))
    store.dress([replace(one) for one in worn])


class Kernels(TorchDispatchMode):
    """Counts what is called."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen[func] += 1
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def step(unet):
    rng = torch.Generator().manual_seed(1)
    width = unet.config.cross_attention_dim
    sample, words = torch.randn(2, 4, 8, 8, generator=rng), torch.randn(2, 5, width, generator=rng)
    return unet(sample.to(unet.dtype), 7, words.to(unet.dtype)).sample


def traced(unet):
    """The classes of modules and the kernels that one step calls."""
    seen: list[str] = []
    hooks = [m.register_forward_pre_hook(lambda m, _: seen.append(type(m).__name__)) for m in unet.modules()]
    with Kernels() as kernels:
        step(unet)
    for hook in hooks:
        hook.remove()
    return seen, kernels.seen


def test_a_step_with_five_merged_runs_the_same_modules_and_kernels(places):
    store = store_of()
    unet = store.checkpoint(places["tiny"]).unet
    none = traced(unet)
    store.dress([lora(store, seed, 1.0) for seed in range(5)])
    assert traced(unet) == none


def test_another_checkpoint_comes_bare_and_the_first_comes_back_bare(places):
    store = store_of()
    for name in ("tiny", "other", "sister", "tiny", "large", "tiny"):
        store.checkpoint(places[name])
        assert as_in_the_file(store, places[name])
        store.dress([lora(store, 1), lora(store, 2)])
        assert not as_in_the_file(store, places[name])


def test_a_text_encoder_that_two_checkpoints_share_is_known_under_a_stack(places, monkeypatch):
    store, copied = store_of(), []
    store.checkpoint(places["tiny"])
    store.dress([lora(store, 1, 1.0)])
    monkeypatch.setattr("studio.engine.store.copy_part", lambda part, _module: copied.append(part.class_name))
    store.checkpoint(places["sister"])
    assert copied == ["UNet2DConditionModel"]


@pytest.mark.parametrize("failing", [MemoryError, KeyboardInterrupt])
def test_a_change_that_breaks_off_is_mended_by_the_next(places, monkeypatch, failing):
    store = store_of()
    store.checkpoint(places["tiny"])
    worn = [lora(store, seed) for seed in range(3)]
    left, real = [20], sums.merge

    def break_off(target, pristine, terms):
        left[0] -= 1
        if not left[0]:
            target.fill_(float("nan"))
            raise failing
        real(target, pristine, terms)

    with monkeypatch.context() as patch:
        patch.setattr("studio.engine.stack.merge", break_off)
        with pytest.raises(failing):
            store.dress(worn)
    broken = bits(store)
    assert any(value.isnan().any() for value in broken.values())
    store.dress(worn)
    fresh = store_of()
    fresh.checkpoint(places["tiny"])
    fresh.dress(worn)
    assert same(bits(store), bits(fresh))
    store.dress([])
    assert as_in_the_file(store, places["tiny"])


def test_an_adapter_with_nan_is_refused_and_the_stack_before_comes_back(places):
    store = store_of()
    store.checkpoint(places["tiny"])
    good, bad = lora(store, 1), lora(store, 2)
    next(iter(bad.deltas.values())).up[0, 0] = float("nan")
    store.dress([good])
    before = bits(store)
    with pytest.raises(InvalidRequestError, match="lora-2 holds values that are no numbers"):
        store.dress([good, bad])
    store.dress([good])
    assert same(bits(store), before)


def test_what_cannot_be_read_again_is_said(places):
    store = store_of()
    store.checkpoint(places["tiny"])
    store.current.adapted["unet"].pristine = None
    with pytest.raises(ModelNotFoundError, match="old pickle"):
        store.dress([lora(store, 1)])
    store.dress([])


@pytest.mark.parametrize(
    "how", [{"budgets": {"unet": 40_000}}, {"fp8": True}, {"fp8": True, "budgets": {"unet": 40_000}}]
)
@pytest.mark.parametrize("form", [LowRank, Whole])
def test_a_placed_unet_predicts_as_a_plain_one_and_gets_its_bits_back(places, how, form):
    store = store_of()
    unet = store.checkpoint(places["tiny"]).unet
    worn = [lora(store, seed, 1.0, form, weight=0.3) for seed in range(2)]
    store.dress(worn)
    plain = step(unet)
    store.dress([])
    part = next(part for part in store._parts(set()) if part.kind == "unet")
    store.arrangement = Arrangement(made(**how), CPU, {"unet": part})
    store.arrangement.begin()
    bare = step(unet)
    with store.dress(worn).shown():
        far = ((step(unet) - plain).norm() / plain.norm()).item()
    assert far <= (0.1 if "fp8" in how else 0)
    assert (bare - plain).norm() / plain.norm() > 0.3
    store.dress([])
    assert torch.equal(step(unet), bare)
    store.dress(worn)
    store._disarrange()
    store.dress([])
    assert as_in_the_file(store, places["tiny"])


def test_in_8_bits_plain_loras_run_beside_and_lose_nothing_more(places):
    store = store_of()
    store.checkpoint(places["tiny"])
    part = next(part for part in store._parts(set()) if part.kind == "unet")
    store.arrangement = Arrangement(made(fp8=True), CPU, {"unet": part})
    store.arrangement.begin()
    worn = store.dress([lora(store, 1, 1.0)])
    merged = {name.split(".")[1] for name in store.current.adapted["unet"].merged}
    assert merged == {"conv_in", "conv_out"}
    assert worn.beside is not None
