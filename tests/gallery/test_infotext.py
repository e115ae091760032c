import json
import random
from dataclasses import replace

import pytest

from studio.gallery.infotext import parse_pairs, quote, read_infotext, split_infotext, write_infotext
from studio.params import AdapterRef, EmbeddingRef
from tests.gallery.samples import MODEL_ID, control, params

FORGE = """masterpiece, a (castle:1.2) on a hill, <lora:oil_paint:0.8>
second line: with a colon
Negative prompt: blurry, "bad" hands
third line
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 123456789, Size: 768x512, Model hash: 6ce0161689, \
Model: v1-5-pruned, VAE: "a, b.safetensors", Denoising strength: 0.45, Clip skip: 2, Hires upscale: 2, \
ControlNet 0: "Module: canny, Model: control_canny [d14c016b], Weight: 0.8, Guidance Start: 0.0, Guidance End: 1.0", \
Version: f2.0.1"""


def request_of(text):
    return read_infotext(text).request


def test_the_text_is_what_other_programs_write():
    text = write_infotext(
        params(
            prompt="a red house\nunder a sky",
            negative_prompt="blurry",
            sigmas="karras",
            clip_skip=1,
            init_image="ab" * 32,
            strength=0.6,
            controls=(control(conditioning_scale=0.8, control_guidance_end=0.9),),
        )
    )
    assert text == (
        "a red house\nunder a sky\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 128x96, "
        "Model hash: 0123456789, Model: starter-desk, Denoising strength: 0.6, Clip skip: 2, "
        'Timestep spacing: leading, ControlNet 0: "Module: none, Model: controlnet-scribble [01234567], Weight: 0.8, '
        "Resize Mode: Crop and Resize, Processor Res: 512, Threshold A: 0.5, Threshold B: 0.5, Guidance Start: 0.0, "
        'Guidance End: 0.9, Pixel Perfect: False, Control Mode: Balanced", App: Maquette 0.1.0'
    )


def test_what_does_not_apply_is_left_out():
    text = write_infotext(params(prompt="", checkpoint_id="", strength=0.5))
    assert text.startswith("Steps: 20, Sampler: DPM++ 2M")
    assert not {"Negative prompt", "Denoising strength", "Clip skip", "Model hash", "ControlNet"} & set(
        parse_pairs(text)
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a, b", '"a, b"'),
        ("x:1", '"x:1"'),
        ("l1\nl2", '"l1\\nl2"'),
        ('say "hi", ok', '"say \\"hi\\", ok"'),
        ('say "hi"', 'say "hi"'),
        ("é: 日本", '"é: 日本"'),
        (7.0, "7.0"),
    ],
)
def test_a_value_is_quoted_only_where_it_must_be_and_comes_back(value, written):
    assert quote(value) == written
    assert parse_pairs(f"Before: 1, Key: {written}, After: 2") == {"Before": "1", "Key": str(value), "After": "2"}


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_a", "heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm"])
@pytest.mark.parametrize("sigmas", ["default", "karras", "exponential", "beta"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_every_scheduler_comes_back_through_the_text(scheduler, sigmas, spacing):
    back = request_of(write_infotext(params(scheduler=scheduler, sigmas=sigmas, timestep_spacing=spacing)))
    assert (back.scheduler, back.sigmas, back.timestep_spacing) == (scheduler, sigmas, spacing)


def test_params_come_back_through_the_text_without_a_note():
    given = params(
        prompt='a (red:1.2) house, "quoted"\nsecond: line, here',
        negative_prompt="blurry,\nSteps: many",
        guidance_scale=7.123456789,
        seed=2**40,
        clip_skip=2,
        checkpoint="name, with: both",
        vae="soft, warm",
        vae_id="cd" * 32,
    )
    read = read_infotext(write_infotext(given))
    assert read.request == replace(given.to_request(), strength=None, mask_blur=None, fill=None)
    assert read.notes == ()


def test_a_foreign_text_is_read_and_what_is_left_out_is_noted():
    read = read_infotext(FORGE)
    assert read.request.adapters == (AdapterRef(name="oil_paint", weight=0.8),)
    assert replace(read.request, adapters=()).to_dict() == {
        "prompt": "masterpiece, a (castle:1.2) on a hill, \nsecond line: with a colon",
        "negative_prompt": 'blurry, "bad" hands\nthird line',
        "checkpoint": "v1-5-pruned",
        "vae": "a, b",
        "width": 768,
        "height": 512,
        "num_inference_steps": 28,
        "guidance_scale": 6.5,
        "scheduler": "dpmpp_2m",
        "sigmas": "karras",
        "seed": 123456789,
        "count": 1,
        "clip_skip": 1,
    }
    notes = " ".join(read.notes)
    for told in ("second pass", "control_canny", "Hires upscale"):
        assert told in notes


@pytest.mark.parametrize(
    ("written", "expected"),
    [("x.safetensors", "x"), ("vae-ft.pt", "vae-ft"), ("x.v2", "x.v2"), ("Automatic", None), ("None", None)],
)
def test_the_name_of_an_autoencoder_is_read(written, expected):
    assert request_of(f"Steps: 20, Sampler: Euler, Seed: 1, VAE: {written}").vae == expected


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras", None)),
        ("DPM++ 2M", None, ("dpmpp_2m", "karras", None)),
        ("DPM++ 2M SDE", "Automatic", ("dpmpp_2m_sde", "exponential", None)),
        ("Euler a", "Automatic", ("euler_a", "default", None)),
        ("Euler", "SGM Uniform", ("euler", "default", "trailing")),
        ("Euler", "Simple", ("euler", "default", None)),
        ("DPM++ 2M SDE Karras", None, ("dpmpp_2m_sde", "karras", None)),
        ("euler A", "exponential", ("euler_a", "exponential", None)),
    ],
)
def test_samplers_and_schedules_of_other_programs_are_understood(sampler, schedule, expected):
    line = f"Steps: 20, Sampler: {sampler}, Seed: 1" + (f", Schedule type: {schedule}" if schedule else "")
    read = read_infotext(line)
    assert (read.request.scheduler, read.request.sigmas, read.request.timestep_spacing) == expected
    assert read.notes == ()


def test_an_unknown_sampler_or_schedule_is_noted():
    read = read_infotext("Steps: 20, Sampler: DPM adaptive, Seed: 1")
    assert read.request.scheduler is None
    assert "DPM adaptive" in read.notes[0]
    read = read_infotext("Steps: 20, Sampler: Euler, Schedule type: KL Optimal, Seed: 1")
    assert read.request.sigmas == "default"
    assert "KL Optimal" in read.notes[0]


def test_a_picture_to_picture_setting_asks_for_the_picture():
    read = read_infotext(write_infotext(params(init_image="ab" * 32, strength=0.6)))
    assert read.request.strength == 0.6
    assert "choose it again" in read.notes[0]


@pytest.mark.parametrize("padding", [None, 0, 48])
@pytest.mark.parametrize("fill", ["original", "fill", "noise", "nothing"])
def test_how_a_mask_was_used_comes_back_through_the_text(padding, fill):
    picture = {"init_image": "ab" * 32, "mask_image": "cd" * 32}
    back = request_of(write_infotext(params(**picture, mask_padding=padding, mask_blur=6, fill=fill)))
    assert (back.mask_padding, back.mask_blur, back.fill or "original") == (padding, 6, fill)


@pytest.mark.parametrize(("mode", "written"), [("a1111", None), ("no_norm", "No norm"), ("comfy", "Comfy")])
def test_how_words_were_weighed_comes_back_through_the_text(mode, written):
    text = write_infotext(params(prompt_weighting=mode))
    assert parse_pairs(text.split("\n")[-1]).get("Emphasis") == written
    assert request_of(text).prompt_weighting == mode


def test_a_mask_is_written_as_other_programs_write_it():
    picture = {"init_image": "ab" * 32, "mask_image": "cd" * 32}
    text = write_infotext(params(**picture, strength=0.6, mask_padding=32, mask_blur=4, fill="noise"))
    assert (
        "Denoising strength: 0.6, Mask blur: 4, Inpaint area: Only masked, Masked area padding: 32, "
        "Masked content: latent noise" in text
    )
    assert "Mask" not in write_infotext(params(init_image="ab" * 32, mask_padding=32, fill="noise"))


def test_the_mask_of_another_program_is_read():
    line = "Steps: 20, Sampler: Euler, Seed: 1, Mask blur: 8, Inpaint area: Only masked"
    assert (request_of(line).mask_padding, request_of(line).mask_blur) == (32, 8)
    read = read_infotext(f"{line}, Masked content: stars")
    assert read.request.fill is None
    assert "'stars'" in read.notes[0]


def test_a_last_line_with_under_three_pairs_belongs_to_the_prompt():
    assert split_infotext("a house\nmood: calm, time: night") == ("a house\nmood: calm, time: night", "", {})


MALFORMED = [
    "",
    "\n\n\n",
    "Steps: x, Seed: 1e400, CFG scale: nan, Size: 5",
    "Steps: 20, Seed: " + "9" * 5000 + ", CFG scale: inf, Sampler: Euler",
    'Steps: "__import__(\'os\')", Seed: "\\ud800", Size: "1x1, Model: "open',
    'a: "b", "c": d, ,,,::, Steps: 1, Seed: 2, Model: ' + '"' * 99,
    "Negative prompt: Negative prompt: \nSteps: 1, Seed: 1, Clip skip: -5",
    "Steps: 1, Seed: 1, Size: 0x0, Clip skip: 99999999999999999999",
    'ControlNet 0: "Module", ControlNet 1: , ControlNet 2: "a: ""b"',
    "<lora:><lora:a:b:c:d> <hypernet:x> Steps: 1, Seed: 2, Size: 3x4",
    "\0\x01 Steps: 1\ud800, Seed: 2, Size: 3x4",
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_text_gives_a_request_and_notes(text):
    read = read_infotext(text)
    json.dumps(read.request.to_dict(), allow_nan=False)


def test_no_scramble_of_a_text_raises():
    rng = random.Random(0)
    pieces = [*FORGE, '"', "\\", ",", ":", "\n", "Steps: ", "ControlNet 0: "]
    for _ in range(500):
        read_infotext("".join(rng.choices(pieces, k=rng.randrange(200))))


def test_a_long_line_without_pairs_is_read_quickly():
    for filler in ("a", "a ", "a,", 'a: "', "a:", '"', "<lora:"):
        read_infotext(filler * (200_000 // len(filler)))


def test_a_model_name_cannot_break_the_control_unit():
    text = write_infotext(params(controls=(control(model="a, b: c"),)))
    assert parse_pairs(parse_pairs(text)["ControlNet 0"])["Model"] == f"a_ b_ c [{MODEL_ID[:8]}]"


STACK = (
    AdapterRef(name="oil_paint", id="ab" * 32, weight=0.8),
    AdapterRef(name="detail", id="cd" * 32, weight=1, text_weight=0.5, end=0.6),
    AdapterRef(name="mood", kind="hypernetwork", id="ef" * 32, weight=-0.25),
)


def test_adapters_are_written_as_tags_and_hashes():
    embeddings = (EmbeddingRef(name="bad-hands", id="12" * 32),)
    text = write_infotext(params(prompt="a house", adapters=STACK, embeddings=embeddings))
    assert text.startswith("a house <lora:oil_paint:0.8> <lora:detail:0.5:1:end=0.6> <hypernet:mood:-0.25>\nSteps")
    pairs = parse_pairs(text.split("\n")[-1])
    assert pairs["Lora hashes"] == "oil_paint: ababababab, detail: cdcdcdcdcd"
    assert pairs["TI hashes"] == "bad-hands: 1212121212"


def test_a_stack_comes_back_from_the_text():
    found = request_of(write_infotext(params(prompt="a house", adapters=STACK)))
    assert found.prompt == "a house"
    assert found.adapters == tuple(replace(ref, id=ref.id[:10] if ref.kind == "lora" else "") for ref in STACK)


def test_tags_of_other_programs_are_read_without_their_hashes():
    text = 'a <lora:ink:0.5>\nSteps: 2, Seed: 3, Size: 8x8, Lora hashes: "ink: 0123456789ab", Version: v1.10.1'
    assert request_of(text).adapters == (AdapterRef(name="ink", weight=0.5),)


def test_a_tag_that_weighs_too_much_is_left_out_with_a_word():
    found = read_infotext("a <lora:ink:9>\nSteps: 2, Seed: 3, Size: 8x8")
    assert (found.request.prompt, found.request.adapters) == ("a", ())
    assert "<lora:ink:9> is left out" in found.notes[0]
