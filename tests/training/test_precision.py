"""What rests lives in the precision of the run; what learns, its averages and its states are fp32, whatever that is."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from studio.params import ControlUnit
from studio.training.data.batches import Batches, Sources
from studio.training.methods.build import build_method
from studio.training.methods.controls import LIVE
from studio.training.session import Hooks, Session
from studio.training.step import Lesson, Manner
from studio.training.workplace import Workplace
from tests.datasets.kit import fill
from tests.training import workshop
from tests.training.data import kit as data
from tests.training.lesson import Told
from tests.training.methods import kit
from tests.training.test_every_method import FEATURES, METHODS, Given
from tests.training.test_session import everything

HELD = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
RUNS = {
    **METHODS,
    "dreambooth-unet": {"method": "dreambooth"},
    "controlnet-unlocked": {**METHODS["controlnet"], "method": "controlnet", "unlocked_decoder": True},
}
WHOLE = {"dreambooth": ("unet", "text"), "dreambooth-unet": ("unet",), "controlnet-unlocked": ("unet",)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("precision")


@pytest.fixture(scope="module")
def locations(root):
    return {base: workshop.checkpoint(root, base) for base in ("sd1", "sdxl")}


@pytest.fixture(params=RUNS)
def name(request):
    return request.param


def workplace(root, location, folder, name, precision):
    plain = {"method": name, "steps": 3, "batch": 2, "learning_rate": 1e-3, "ema": 0.9, "seed": 3}
    given = {**plain, **RUNS[name], "precision": precision, "base": location.base, "checkpoint_id": location.id}
    return Workplace(workshop.order(root, folder, location, kit.params(**given)))


def lesson(work):
    torch.manual_seed(0)
    method = build_method(work.params, work.checkpoint, work.engine, features=FEATURES)
    return Lesson(method, Given(work.params.prior_preservation), work.checkpoint.noise)


def parts(work):
    encoders = work.checkpoint.prompts.text_encoders
    return {"unet": [work.checkpoint.unet], "text": list(encoders), "vae": [work.checkpoint.vae]}


@pytest.mark.parametrize(("base", "precision"), [*(("sd1", precision) for precision in HELD), ("sdxl", "bf16")])
def test_what_rests_is_held_in_the_precision_of_the_run(root, locations, tmp_path, name, precision, base):
    work = workplace(root, locations[base], tmp_path.name, name, precision)
    method = lesson(work).method
    for part, modules in parts(work).items():
        exact = part == "vae" or part in WHOLE.get(name, ())  # half precision gains an autoencoder nothing on a CPU
        dtypes = {tensor.dtype for module in modules for tensor in module.state_dict().values()}
        assert dtypes - {torch.int64} == {torch.float32 if exact else HELD[precision]}
    assert {one.dtype for one in method.trained.parameters()} == {torch.float32}


@pytest.mark.parametrize(("base", "precision"), [("sd1", "fp16"), ("sdxl", "bf16")])
def test_gradients_flow_and_the_loss_is_that_of_fp32(root, locations, tmp_path, name, precision, base):
    found = {}
    for held in ("fp32", precision):
        work = workplace(root, locations[base], f"{tmp_path.name}-{held}", name, held)
        taught = lesson(work)
        run = Session(work.params, taught, work.order.folder / "state")
        found[held] = run.stepper.gradients(0, Manner(scale=run.recovery.scale))
        gradients = [one.grad for one in run.stepper.parameters if one.grad is not None]
        assert {one.dtype for one in gradients} == {torch.float32}
        assert all(one.isfinite().all() for one in gradients)
        assert any(one.abs().max() > 0 for one in gradients)
    assert found[precision].loss == pytest.approx(found["fp32"].loss, rel=0.02)
    assert found[precision].norm == pytest.approx(found["fp32"].norm, rel=0.1)


def test_a_run_in_half_precision_goes_on_bit_for_bit(root, locations, tmp_path, name):
    def begun(folder, hooks=None):
        work = workplace(root, locations["sd1"], f"{tmp_path.name}-{folder}-{len(begins)}", name, "bf16")
        begins.append(work)
        return Session(work.params, lesson(work), tmp_path / folder, Hooks(**(hooks or {})))

    begins = []
    whole = begun("whole")
    assert whole.run()
    assert not begun("cut", Told({1: ["stop"]}).hooks).run()
    last = begun("cut")
    assert last.step == 1
    assert last.run()
    assert everything(last) == everything(whole)
    state = last.state()
    tensors = [*state["trained"].values(), *state["average"].values()]
    tensors += [value for one in state["optimizer"]["state"].values() for value in one.values()]
    assert {value.dtype for value in tensors if torch.is_tensor(value)} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_what_is_alive_is_shown_in_half_precision_and_learns_on(root, locations, tmp_path, name, precision):
    pictures = []
    for held in ("fp32", precision):
        work = workplace(root, locations["sd1"], f"{tmp_path.name}-{held}", name, held)
        work.images["house"] = kit.house()
        taught = lesson(work)
        run = Session(work.params, taught, work.order.folder / "state")
        run.run()
        before = {key: value.clone() for key, value in taught.method.trained.state_dict().items()}
        with run.shown(), taught.method.shown() as more, torch.inference_mode():
            pictures.append(painted(work, taught.method, more))
        after = taught.method.trained.state_dict()
        assert all(after[key].dtype == value.dtype and torch.equal(after[key], value) for key, value in before.items())
        assert not run.stepper.gradients(1, run.recovery.manner).short
    assert (pictures[0].float() - pictures[1].float()).abs().mean() < 3


def painted(work, method, more):
    """A picture, following a map where a control model learns."""
    models, fields = dict(more.get("models", {})), {key: value for key, value in more.items() if key != "models"}
    if work.params.method in ("controlnet", "t2i_adapter"):
        fields["controls"] = (ControlUnit(kind="edges", map="house", model=LIVE, model_id=LIVE),)
    return kit.picture(work.engine, method.checkpoint.location, models, **fields)


@pytest.mark.parametrize("name", ["dreambooth-unet"], indirect=True)
def test_a_checkpoint_keeps_the_bits_of_what_rested(root, locations, tmp_path, name):
    for base, location in locations.items():
        exports = []
        for held in ("fp32", "bf16"):
            work = workplace(root, location, f"{tmp_path.name}-{base}-{held}", name, held)
            exports.append(lesson(work).method.exports()[0].tensors)
        plain, half = exports
        assert plain.keys() == half.keys()
        assert all(half[key].dtype == value.dtype and torch.equal(half[key], value) for key, value in plain.items())


def test_an_autoencoder_that_overflows_in_fp16_sees_the_picture_again(tmp_path):
    folder = fill(tmp_path / "set", 2, (32, 32))
    vaes = [kit.pipeline("sd1").vae.eval() for _ in range(2)]
    with torch.no_grad():
        for vae in vaes:
            vae.encoder.conv_in.weight.mul_(1e5)  # a weight is still a number in fp16, a sum is none
    vaes[1].half()
    found = [
        Batches(data.params(), folder, data.Checkpoint(vae), Sources(cache=tmp_path / str(number))).at(0).latents
        for number, vae in enumerate(vaes)
    ]
    assert vaes[1].dtype == torch.float16
    assert found[1].isfinite().all()
    torch.testing.assert_close(found[1], found[0], rtol=0.05, atol=0.05)


@pytest.mark.slow
def test_a_run_in_half_precision_is_said_to_take_half_the_memory_for_what_rests(root):
    pipe = kit.pipeline("sd1")
    torch.manual_seed(0)
    pipe.unet = UNet2DConditionModel(**{**pipe.unet.config, "block_out_channels": (64, 512)})
    pipe.save_pretrained(root / "wide")
    wide, said = kit.location(root / "wide", "sd1"), {}
    for precision in ("fp32", "bf16"):
        params = kit.params(steps=1, rank=1, base="sd1", checkpoint_id=wide.id, precision=precision)
        order = workshop.order(root, f"wide-{precision}", wide, params)
        told = workshop.carried_out(order.folder)
        (said[precision],) = [event["bytes"] for event in told if event["event"] == "estimate"]
    spared = sum(one.numel() for one in pipe.unet.parameters()) * 2
    assert spared > 50e6
    assert said["fp32"] - said["bf16"] > 0.7 * spared
