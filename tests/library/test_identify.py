import functools
import itertools
import json
import os
import random
import string
import struct

import pytest
import torch

from studio.library.header import read_tensors
from studio.library.identify import RULES, identify
from studio.library.identity import Identity
from studio.library.names import DIFFUSERS, LDM
from tests.library import headers
from tests.library.cases import ALL
from tests.library.headers import checkpoint, control, write, write_case

MUTATIONS = 2000
SMALL_ONES = {name: case for name, case in ALL.items() if len(case.tensors) < 400 and not case.metadata}
SPREAD_KEY = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


def of(path, tensors, name="model", **how):
    return identify(write(path / f"{name}.safetensors", tensors, **how))


def without(tensors, part):
    return {name: shape for name, shape in tensors.items() if part not in name}


def reshaped(tensors, part, shape):
    return {name: shape if part in name else old for name, old in tensors.items()}


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_each_sort_of_file_is_named(tmp_path, case):
    found = identify(write_case(tmp_path, case), case.place)
    assert (found.kind, found.base, found.usable) == (case.kind, case.base, case.usable), found
    assert found.format == "single file"
    assert found.precision == "fp16"
    assert bool(found.reason) != found.usable
    assert found.evidence
    assert case.family in ("", found.family)
    assert {name: getattr(found, name) for name in case.expected} == case.expected


def test_files_of_the_same_tensors_share_what_these_tell_and_nothing_else(tmp_path):
    read = []

    def tensors_in(table):
        read.append(table)
        return read_tensors(table)

    remembering = functools.lru_cache(None)(tensors_in)
    others = {"modelspec.architecture": "stable-diffusion-xl-v1-base", "modelspec.trigger_phrase": "sks"}
    for case in ALL.values():
        for number, (name, said) in enumerate(((case.name, {}), ("sdxl-vae-face-canny", others), ("x", {"n": "1"}))):
            file = write(tmp_path / f"{name}.safetensors", case.tensors, metadata={**case.metadata, **said})
            for place in (case.place, "embedding"):
                assert identify(file, place, remembering) == identify(file, place), (number, case)
    assert len(read) == len(set(read)) <= len(ALL)


@pytest.mark.parametrize("case", SMALL_ONES.values(), ids=SMALL_ONES)
def test_a_pickle_is_named_as_the_safetensors_file_of_the_same_tensors(tmp_path, case):
    types = {"I64": torch.int64, "F32": torch.float32}
    state = {}
    for name, value in case.tensors.items():
        kind, shape = value if value and isinstance(value[0], str) else ("F16", value)
        state[name] = torch.zeros((), dtype=types.get(kind, torch.float16)).expand(shape)  # one number for all
    file = tmp_path / f"{case.name}.pt"
    torch.save(state, file)
    assert identify(file, case.place) == identify(write_case(tmp_path, case), case.place)


def test_a_checkpoint_brings_defaults_for_its_size_and_noise(tmp_path):
    assert of(tmp_path, checkpoint("sd1"), "old").card.native_size == 512
    card = of(tmp_path, checkpoint("sdxl") | {"v_pred": (0,), "ztsnr": (0,)}).card
    assert (card.base, card.native_size, card.prediction_type, card.timestep_spacing) == (
        "sdxl",
        1024,
        "v_prediction",
        "trailing",
    )


@pytest.mark.parametrize(("spread", "prediction"), [(0.2, "v_prediction"), (0.05, "epsilon"), (0.0, "")])
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_what_an_sd2_checkpoint_predicts_shows_in_the_spread_of_one_tensor(tmp_path, spread, prediction, ending):
    values = [spread, -spread] * 160
    file = tmp_path / f"model.{ending}"
    if ending == "ckpt":
        one = torch.zeros((), dtype=torch.float16)
        state = {name: one.expand(shape) for name, shape in checkpoint("sd2").items()}
        torch.save({"state_dict": state | {SPREAD_KEY: torch.tensor(values)}}, file)
    else:
        write(file, {SPREAD_KEY: ("F32", (320,))} | without(checkpoint("sd2"), SPREAD_KEY))
        with file.open("r+b") as stream:  # it comes first
            length = int.from_bytes(stream.read(8), "little")
            stream.seek(8 + length)
            stream.write(struct.pack("<320f", *values))
    found = identify(file)
    assert (found.base, found.usable, found.prediction_type) == ("sd2", True, prediction)
    assert found.card.native_size == (768 if prediction == "v_prediction" else 512)


def test_the_configuration_beside_a_checkpoint_says_what_it_predicts(tmp_path):
    (tmp_path / "model.yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert of(tmp_path, checkpoint("sd2")).prediction_type == "v_prediction"
    (tmp_path / "model.yaml").write_text("model:\n  params:\n    linear_start: 0.00085\n")
    assert of(tmp_path, checkpoint("sd1")).prediction_type == "epsilon"


@pytest.mark.parametrize(
    ("tensors", "base", "words"),
    [
        (without(checkpoint("sd1"), "first_stage_model"), "sd1", "no VAE"),
        (without(checkpoint("sd1"), "cond_stage_model"), "sd1", "without text encoder"),
        (without(checkpoint("sdxl"), "embedders.1.model.text_projection"), "sdxl", "text encoder is incomplete"),
        (without(checkpoint("sd1"), "output_blocks.11.0.in_layers.0.bias"), "sd1", "UNet is incomplete"),
        (without(checkpoint("sd1"), "decoder.up.0.block.0.conv1.bias"), "sd1", "VAE is incomplete"),
        (without(checkpoint("sdxl"), "transformer_blocks.9"), "unknown", "not that of SDXL"),  # as SSD-1B's
        (reshaped(checkpoint("sdxl"), "label_emb.0.0.weight", (1280, 5632)), "unknown", "not that of SDXL"),  # Kolors
        (checkpoint("sd1") | {"model.diffusion_model.label_emb.0.0.weight": (1280, 2048)}, "unknown", "unCLIP"),
        (checkpoint("sd2", 8) | {"model.diffusion_model.input_blocks.1.0.time_stack.x": (2,)}, "unknown", "videos"),
        (checkpoint("sd1") | {"model.diffusion_model.output_blocks.3.1.fuser.x": (2,)}, "sd1", "GLIGEN"),
        (headers.unet("sd1") | headers.texts("sd2") | headers.vae(), "unknown", "text encoder is not"),
        (checkpoint("sd1", 7), "sd1", "7 channels"),
        (
            reshaped(checkpoint("sd1"), "input_blocks.1.1.transformer_blocks.0.attn2.to_k", (320, 1024)),
            "unknown",
            "width",
        ),
    ],
)
def test_near_misses_of_a_checkpoint_are_not_usable_and_say_why(tmp_path, tensors, base, words):
    found = of(tmp_path, tensors)
    assert (found.kind, found.base, found.usable) == ("checkpoint", base, False)
    assert words in found.reason


@pytest.mark.parametrize(
    ("tensors", "kind", "base"),
    [
        (without(control("sd1"), "controlnet_mid_block"), "controlnet", "sd1"),
        (without(control("sdxl"), "attn"), "controlnet", "sdxl"),  # the small ones
        (reshaped(control("sd1"), "cond_embedding.conv_in.weight", (16, 6, 3, 3)), "controlnet", "sd1"),
        (without(control("sd1"), "down_blocks.3"), "controlnet", "unknown"),
        (reshaped(headers.t2i(), "conv_in.weight", (320, 100, 3, 3)), "t2i_adapter", "unknown"),
        (reshaped(headers.ip_adapter("sd1"), "ip_adapter.1.to_k_ip", (320, 2048)), "ip_adapter", "unknown"),
        (reshaped(headers.ip_adapter("sdxl", "plus"), "proj_in", (1280, 1024)), "ip_adapter", "unknown"),  # Kolors'
        (headers.image_encoder(1000, 4, 77), "image_encoder", "unknown"),
        (headers.vae("") | {"quant_conv.weight": (32, 32, 1, 1)}, "vae", "unknown"),
        ({"clip_l": (4, 768)}, "embedding", "unknown"),
        ({"clip_l": (4, 768), "clip_g": (4, 1280), "t5xxl": (4, 4096)}, "embedding", "unknown"),
        ({"weight": (8, 768)}, "unknown", "unknown"),
        ({"a": (8, 768), "b": (8, 768)}, "unknown", "unknown"),
        ({"emb_params": (8, 700)}, "unknown", "unknown"),
        ({"emb_params": (9000, 768)}, "unknown", "unknown"),
        ({"emb_params": ("I64", (8, 768))}, "unknown", "unknown"),
        (headers.hypernetwork(768, 1024), "hypernetwork", "unknown"),
        (headers.hypernetwork(320, 640), "hypernetwork", "unknown"),
        (reshaped(headers.hypernetwork(768), "linear.0.weight", (2, 1024)), "hypernetwork", "unknown"),
        ({"body.0.weight": (64, 5, 3, 3), "body.1.weight": (64,)}, "unknown", "unknown"),
        ({"0.weight": (64, 3, 3, 3), "1.weight": (64, 64, 3, 3)}, "unknown", "unknown"),
        ({"conv_first.weight": (64, 3, 3, 3)}, "unknown", "unknown"),
        ({"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}, "unknown", "unknown"),
        (without(checkpoint("sd1"), "model.diffusion_model"), "unknown", "unknown"),
        ({"head.weight": (10, 768), "norm.bias": (768,)}, "unknown", "unknown"),
    ],
)
def test_near_misses_of_other_kinds_are_not_usable(tmp_path, tensors, kind, base):
    found = of(tmp_path, tensors)
    assert (found.kind, found.base, found.usable) == (kind, base, False)
    assert found.reason


def test_an_embedding_of_a_starter_may_have_any_width(tmp_path):
    found = of(tmp_path, {"emb_params": (2, 192)}, metadata={"maquette.base": "starter-0ff5dfae"})
    assert (found.kind, found.width, found.usable) == ("embedding", 192, True)


def test_a_file_that_was_made_from_a_starter_names_its_base(tmp_path):
    found = of(tmp_path, {"emb_params": (2, 768)}, metadata={"maquette.base": "starter-0ff5dfae"})
    assert (found.kind, found.base) == ("embedding", "starter-0ff5dfae")


def test_shapes_may_differ_by_dimensions_of_one(tmp_path):
    flat = {name: shape[:2] if shape[2:] == (1, 1) else shape for name, shape in headers.vae("").items()}
    assert of(tmp_path, flat).usable
    matrices = {n: s[:2] if "proj_" in n and s[2:] == (1, 1) else s for n, s in checkpoint("sd1").items()}
    assert of(tmp_path, matrices).usable


def test_weights_in_whole_numbers_are_not_usable(tmp_path):
    whole = {n: ("I8", s) if n.endswith("attn1.to_q.weight") else s for n, s in checkpoint("sd1").items()}
    assert not of(tmp_path, whole).usable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"a text", "no safetensors file"),
        (bytes(64), "no safetensors"),
        (b"\xff" * 64, "no safetensors"),
    ],
)
def test_what_is_no_model_is_unknown_with_its_reason(tmp_path, content, words):
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    found = identify(file, "checkpoint")
    assert (found.kind, found.usable) == ("unknown", False)
    assert words in found.reason


def test_files_that_are_not_there_or_no_files_or_not_readable_have_a_reason(tmp_path):
    assert "not there" in identify(tmp_path / "x.safetensors").reason
    (tmp_path / "x.safetensors").symlink_to(tmp_path / "x.safetensors")
    assert identify(tmp_path / "x.safetensors").reason
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert "no file" in identify(tmp_path / "pipe.safetensors").reason
    empty = headers.write_raw(tmp_path / "none.safetensors", b"{  }", 0)
    assert "no tensors" in identify(empty).reason


def test_an_unreadable_file_is_unknown(tmp_path, monkeypatch):
    file = write(tmp_path / "x.safetensors", {"a": (2,)})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "open", refuse)
    assert identify(file).reason == "It cannot be read: Permission denied."


def test_names_that_are_no_utf_8_are_shown_readable(tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.safetensors")
    write(file, checkpoint("sd1"))
    assert identify(file).card.name == "caf?"
    file.write_bytes(b"text")
    assert identify(file).reason == "caf?.safetensors is no safetensors file."


def test_a_pickle_that_runs_code_is_unknown_with_the_way_out(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"a": Trap()}, tmp_path / "x.ckpt")
    found = identify(tmp_path / "x.ckpt", "checkpoint")
    assert (found.kind, found.usable) == ("unknown", False)
    assert "models convert" in found.reason
    assert not (tmp_path / "made").exists()


def test_no_two_rules_claim_the_same_file(tmp_path):
    """But for a ControlNet that comes with its checkpoint."""
    from studio.library.identify import header_of
    from studio.library.rules.subject import Subject

    for name, case in {**SMALL_ONES, "control-whole": ALL["control-whole"]}.items():
        subject = Subject(header_of(write_case(tmp_path, case)), case.name)
        kinds = {found.kind for rule in RULES if (found := rule(subject)) and found.kind != "unknown"}
        assert len(kinds) == (2 if name == "control-whole" else case.kind != "unknown"), (name, kinds)


def mutate(rng, entries, size):
    """One change of a header, as damage or a strange program would make it: (header's JSON, bytes of data)."""
    names = [name for name in entries if name != "__metadata__"]
    name = rng.choice(names)
    table = dict(entries)
    match rng.randrange(12):
        case 0:  # tensors are gone, the rest closes up
            gone = set(rng.sample(names, min(len(names), rng.randint(1, 5))))
            return rebuilt({n: e for n, e in table.items() if n not in gone})
        case 1:  # all of one part are gone
            part = name.partition(".")[0]
            return rebuilt({n: e for n, e in table.items() if n.partition(".")[0] != part})
        case 2 | 3:  # a letter of a name
            place = rng.randrange(len(name))
            letters = string.digits if rng.random() < 0.5 else string.ascii_lowercase + "._"
            other = name[:place] + rng.choice(letters) + name[place + 1 :]
            return rebuilt({other if n == name else n: e for n, e in table.items()})
        case 4:  # a shape that fits its place
            shape = list(table[name]["shape"]) or [1]
            shape[rng.randrange(len(shape))] = rng.choice((1, 3, 4, 8, 9, 320, 768, 1024, 1280, 2048))
            text, fitting = rebuilt(table | {name: table[name] | {"shape": shape}})
            return text, fitting if len(names) > 1 else size  # a single tensor of another shape is another file
        case 5:  # a shape that does not
            return json.dumps(table | {name: table[name] | {"shape": [rng.randrange(5000), 7]}}), size
        case 6:  # another type
            kind = rng.choice(("BF16", "F32", "I8", "F8_E4M3", "X9", ""))
            return rebuilt(table | {name: table[name] | {"dtype": kind}})
        case 7:  # places
            start, end = table[name]["data_offsets"]
            moved = [start + rng.randint(-9, 9), end + rng.randint(-9, 9)]
            return json.dumps(table | {name: table[name] | {"data_offsets": moved}}), size
        case 8:  # two tensors have changed places
            other = rng.choice(names)
            return rebuilt(table | {name: table[other], other: table[name]})
        case 9:  # a name twice
            text = json.dumps(table)
            return f"{text[:-1]}, {json.dumps(name)}: {json.dumps(table[name])}}}", size
        case 10:  # bytes of the header
            text = bytearray(json.dumps(table).encode())
            for _ in range(rng.randint(1, 3)):
                text[rng.randrange(len(text))] = rng.randrange(256)
            return bytes(text), size
        case _:  # the file is cut, or longer than it says
            return json.dumps(table), max(0, size + rng.choice((-1, -size // 2, -size, 1, 100)))


def rebuilt(table):
    """The same header with offsets that fit its shapes."""
    tensors = {n: (e["dtype"], tuple(e["shape"])) for n, e in table.items() if n != "__metadata__"}
    if any(kind not in headers.BITS for kind, _ in tensors.values()):
        return json.dumps(table), 100
    entries, size = headers.table(tensors, metadata=table.get("__metadata__"))
    return json.dumps(entries), size


def test_a_mutated_header_is_named_as_the_original_or_as_unknown(tmp_path):
    rng = random.Random(7)
    cases = [
        case for name, case in ALL.items() if name != "control-whole"
    ]  # without its ControlNet, it is a checkpoint
    tables = [headers.table(case.tensors, "F16", case.metadata) for case in cases]
    each = [index for index in range(len(cases)) for _ in range(4)]
    weights = [1 / len(case.tensors) for case in cases]  # the rest for small ones: one change weighs more there
    for index in each + rng.choices(range(len(cases)), weights, k=MUTATIONS - len(each)):
        case = cases[index]
        text, size = mutate(rng, *tables[index])
        data = text if isinstance(text, bytes) else text.encode()
        file = headers.write_raw(tmp_path / f"{case.name}.safetensors", data, size)
        found = identify(file, case.place)
        assert found.kind in (case.kind, "unknown"), (case.kind, case.base, found, text[:300])
        assert found.base in (case.base, "unknown"), (case.kind, case.base, found, text[:300])
        assert found.usable or found.reason


def test_every_tensor_of_an_sdxl_checkpoint_counts(tmp_path):
    """Whatever is missing, the file is not taken for a usable one."""
    whole = checkpoint("sdxl")
    spare = ("position_ids", "logit_scale")
    for name in itertools.islice((name for name in whole if not name.endswith(spare)), 0, None, 299):
        found = of(tmp_path, {other: shape for other, shape in whole.items() if other != name})
        assert (found.kind, found.base, found.usable) == ("checkpoint", "sdxl", False), name


def test_unknown_is_the_default():
    assert (Identity().kind, Identity().base, Identity().usable) == ("unknown", "unknown", False)
    assert {DIFFUSERS, LDM} == {0, 1}
