import random
from dataclasses import replace
from itertools import pairwise

import pytest

from studio.engine.placement import HEADROOM, Memory, Need, Rung, plan
from studio.engine.working_sets import RunSize, WorkingSet
from studio.errors import OutOfMemoryError

GIB = 2**30
# fp16 bytes by parameter count: SD 1.5 860 M, 123 M, 84 M, 361 M; SDXL 2,567 M, 817 M (both encoders), 84 M, 1,251 M
SIZES = {
    "sd1": {"unet": 1.60, "text_encoder": 0.23, "vae": 0.16, "controlnet": 0.67},
    "sdxl": {"unet": 4.78, "text_encoder": 1.52, "vae": 0.16, "controlnet": 2.33},
}
LAYER = {"sd1": 59 * 2**20, "sdxl": 59 * 2**20}


def card(gib: float) -> Memory:
    """A card whose driver and desktop take 0.6 GiB."""
    return Memory(total=int(gib * GIB), free=int((gib - 0.6) * GIB))


def need(name, kind, gib, **changed) -> Need:
    plain = {"in_use": kind in ("unet", "controlnet"), "reload_cost": 0.05 + gib / 3, "layer_bytes": 0}
    size = int(gib * GIB)
    return Need(name, kind, size, **{**plain, "fp8_bytes": size, **changed})


def parts(base, *, control=False, fp8=True) -> list[Need]:
    kinds = ["unet", "text_encoder", "vae"] + ["controlnet"] * control
    made = [need(kind, kind, SIZES[base][kind]) for kind in kinds]
    return [
        replace(n, layer_bytes=LAYER[base], fp8_bytes=n.bytes // 2 if fp8 else n.bytes) if n.in_use else n for n in made
    ]


def work(base, *, control=False) -> WorkingSet:
    side = {"sd1": 512, "sdxl": 1024}[base]
    units = ("controlnet",) * control
    return RunSize(architecture=base, width=side, height=side, batch=2, units=units).guess()


def used(made, needs, working, phase) -> int:
    """Bytes on the device in a phase, counted anew from the plan."""
    guests = {"encode": "text_encoder", "decode": "vae"}
    total = {"denoise": working.denoise, "decode": working.tiled if made.tiled_vae else working.decode}.get(phase, 0)
    for n in needs:
        stored = n.fp8_bytes if made.fp8 and n.in_use else n.bytes
        stored = made.budgets.get(n.name, stored)
        visits = n.name in made.evicted and guests.get(phase) == n.kind and not n.other
        leaves = n.in_use and phase in made.aside
        total += stored if (n.name in made.resident and not leaves) or visits else 0
    return total


RUNGS = [
    # base, control, fp8 works: rung on cards of 24, 12, 8, 6, 4 GB
    ("sd1", False, True, (0, 0, 0, 0, 1)),
    ("sd1", True, True, (0, 0, 0, 0, 1)),
    ("sdxl", False, True, (0, 0, 1, 3, 5)),
    ("sdxl", True, True, (0, 1, 3, 3, 5)),
    ("sdxl", False, False, (0, 0, 1, 4, 5)),
    ("sdxl", True, False, (0, 1, 4, 4, 5)),
]


@pytest.mark.parametrize(("base", "control", "fp8", "rungs"), RUNGS)
def test_each_card_gets_its_rung(base, control, fp8, rungs):
    found = tuple(
        plan(card(gib), parts(base, control=control, fp8=fp8), work(base, control=control)).rung
        for gib in (24, 12, 8, 6, 4)
    )
    assert found == rungs


def test_free_memory_counts_what_the_allocator_holds_unused():
    assert Memory(total=100, free=10, reserved=50, active=30).available == 30


def test_what_is_there_already_needs_no_room():
    needs, working = parts("sdxl"), work("sdxl")
    total = sum(n.bytes for n in needs)
    there = [replace(n, resident=n.bytes) for n in needs]
    full = Memory(24 * GIB, free=HEADROOM + working.decode, reserved=total, active=total)
    assert plan(full, there, working).rung == 0
    assert plan(full, needs, working).rung > 0


def test_a_picture_that_only_decoding_makes_too_large_is_tiled_and_no_more():
    working = RunSize(architecture="sd1", width=1024, height=1024, batch=2).guess()
    made = plan(card(4), parts("sd1"), working)
    assert (made.rung, made.tiled_vae, made.fp8, made.streamed_bytes) == (Rung.TILES, True, False, 0)


def test_the_best_score_goes_first():
    needs = [
        *parts("sd1"),
        need("seldom", "controlnet", 0.7, in_use=False, reuse=0.1),
        need("often", "controlnet", 0.7, in_use=False, reuse=0.9),
    ]
    working = work("sd1")
    room = Memory(8 * GIB, free=HEADROOM + sum(n.bytes for n in needs) + working.decode - GIB // 2)
    assert plan(room, needs, working).evicted == ("seldom",)


def test_other_checkpoints_stay_while_idle_parts_suffice():
    other = need("other UNet", "unet", 1.6, in_use=False, other=True)
    needs, working = [*parts("sd1"), other], work("sd1")
    whole = HEADROOM + sum(n.bytes for n in needs) + working.decode
    little = plan(Memory(8 * GIB, free=whole - GIB // 8), needs, working)
    much = plan(Memory(8 * GIB, free=whole - GIB * 3 // 2), needs, working)
    assert (little.rung, little.evicted) == (Rung.IDLE_OUT, ("text_encoder",))
    assert (much.rung, much.evicted) == (Rung.OTHERS_OUT, ("other UNet",))


def test_after_out_of_memory_every_plan_is_another_until_there_is_none():
    needs, working, seen, floor = parts("sdxl", control=True), work("sdxl", control=True), [], 0
    while floor <= Rung.LEAST:
        made = plan(card(24), needs, working, floor)
        assert made.rung >= floor
        seen.append(replace(made, rung=0))
        floor = made.rung + 1
    assert len(seen) == 6  # no other checkpoint is loaded: that rung is left out
    assert all(one != two for one, two in pairwise(seen))
    with pytest.raises(OutOfMemoryError, match="too little memory"):
        plan(card(24), needs, working, floor)


def test_a_card_that_is_far_too_small_gets_the_least_and_is_told():
    made = plan(card(1), parts("sdxl"), work("sdxl"))
    assert (made.rung, made.fits, made.tiled_vae) == (Rung.LEAST, False, True)
    assert "still lacking" in made.sentences[-1]


@pytest.mark.parametrize(
    ("gib", "fp8", "told"),
    [
        (24, True, ["Everything stays"]),
        (8, True, ["Moved out while pictures are decoded: unet."]),
        (6, True, ["until needed: text_encoder", "8 bits"]),
        (6, False, ["MiB of unet stay in main memory"]),
        (4, True, ["tiles"]),
    ],
)
def test_sentences_tell_what_was_done(gib, fp8, told):
    said = " ".join(plan(card(gib), parts("sdxl", fp8=fp8), work("sdxl")).sentences)
    for part in told:
        assert part in said


def drawn(seed) -> tuple[list[Need], WorkingSet, random.Random]:
    """Parts of a random studio: one UNet and some control models in use, and whatever else is loaded."""
    rng = random.Random(seed)
    needs = [need("unet", "unet", rng.uniform(0.5, 6))]
    for i in range(rng.randrange(8)):
        kind = rng.choice(["text_encoder", "vae", "controlnet", "unet"])
        in_use = kind == "controlnet" and rng.random() < 0.5
        other = not in_use and (kind == "unet" or rng.random() < 0.3)
        needs.append(need(f"{kind} {i}", kind, rng.uniform(0.1, 3), in_use=in_use, other=other, reuse=rng.random()))
    for i, n in enumerate(needs):
        layer = rng.choice([0, n.bytes // 40])
        needs[i] = replace(n, fp8_bytes=rng.choice([n.bytes, n.bytes // 2]), layer_bytes=layer)
    decode = int(rng.uniform(0.2, 5) * GIB)
    return needs, WorkingSet(int(rng.uniform(0.1, 3) * GIB), decode, min(decode, GIB)), rng


@pytest.mark.parametrize("seed", range(60))
def test_laws_hold_for_any_studio(seed):
    needs, working, rng = drawn(seed)
    floor = rng.choice([0, 0, 0, *range(1, 7)])
    before = None
    for gib in (0.5, 1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 48):
        memory = card(gib + 0.6)
        made = plan(memory, needs, working, floor)
        fullest = max(used(made, needs, working, phase) for phase in ("encode", "denoise", "decode"))
        assert made.fits == (fullest <= memory.available - HEADROOM)
        assert {*made.resident, *made.evicted} == {n.name for n in needs}
        assert not {n.name for n in needs if n.in_use} & {*made.evicted}
        assert made.sentences
        assert before is None or (made.rung <= before.rung and made.fits >= before.fits)
        before = made
    assert before is not None
    assert before.fits


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_evicted_that_could_have_stayed(seed):
    needs, working, _ = drawn(seed)
    for gib in (2, 4, 8, 16):
        made = plan(card(gib), needs, working)
        if made.rung > Rung.OTHERS_OUT:
            continue
        for name in made.evicted:
            back = replace(made, resident=(*made.resident, name), evicted=tuple(n for n in made.evicted if n != name))
            fullest = max(used(back, needs, working, phase) for phase in ("encode", "denoise", "decode"))
            assert fullest > card(gib).available - HEADROOM
