import pickle

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from studio.engine import turbo as module
from studio.engine.attention import AttentionProcessor
from studio.engine.kept_words import KeptWords
from studio.engine.turbo import REPEATED, Turbo, compile_skeletons, obstacle
from studio.engine.units.unit import keeping
from tests import tiny

CPU = torch.device("cpu")
PLAIN = {"rows": 2, "height": 16, "width": 16, "words": 5}


class Backend:
    """Compiles nothing, and counts codes and how often they ran."""

    def __init__(self):
        self.codes = self.runs = 0

    def __call__(self, graph, _inputs):
        self.codes += 1

        def run(*values):
            self.runs += 1
            return graph.forward(*values)

        return run


@pytest.fixture
def backend():
    torch._dynamo.reset()
    return Backend()


@pytest.fixture
def turbo(backend):
    return Turbo(CPU, backend)


@pytest.fixture
def unet():
    return attending(tiny.tiny_unet())


def attending(model):
    model.set_attn_processor(AttentionProcessor("sdpa"))
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def picture(turbo, model, extra=(), **changed):
    """One call of the model in a picture, whose words are kept as the denoise loop keeps them, and what it noted."""
    size = PLAIN | changed
    rng = torch.Generator().manual_seed(1)
    sample = torch.randn(size["rows"], 4, size["height"], size["width"], generator=rng)
    words = torch.randn(size["rows"], size["words"], tiny.HIDDEN, generator=rng)
    kept = KeptWords()
    kept.tell([words])
    with turbo.picture(model) as notes, keeping(model, kept):
        return model(sample, torch.tensor(7), words, *extra, return_dict=False)[0], notes


def test_the_first_picture_runs_as_ever_and_the_next_compiled(turbo, unet, backend):
    first, _ = picture(turbo, unet)
    assert (backend.codes, backend.runs) == (0, 0)
    turbo.tend()
    made, ran = backend.codes, backend.runs
    assert made
    second, _ = picture(turbo, unet)
    assert backend.codes == made
    assert backend.runs > ran
    assert torch.equal(first, second)


def test_nothing_is_compiled_while_pictures_are_made(turbo, unet, backend):
    picture(turbo, unet)
    turbo.tend()
    made = backend.codes
    for changed in ({"height": 24}, {"rows": 1}, {"words": 14}):
        picture(turbo, unet, **changed)
    assert backend.codes == made


def test_one_code_serves_free_sizes_and_another_a_batch_of_one(turbo, unet, backend):
    picture(turbo, unet)
    turbo.tend()
    made = backend.codes
    for changed in ({"height": 24}, {"words": 14}, {"rows": 4, "width": 32}):
        picture(turbo, unet, **changed)
        turbo.tend()
        assert backend.codes == made
    picture(turbo, unet, rows=1)
    turbo.tend()
    assert backend.codes <= 2 * made


def test_other_weights_in_the_same_storage_need_nothing_new(turbo, unet, backend):
    picture(turbo, unet)
    turbo.tend()
    made = backend.codes
    other = attending(tiny.tiny_unet(seed=5))
    unet.load_state_dict(other.state_dict())
    swapped, _ = picture(turbo, unet)
    assert torch.equal(swapped, picture(Turbo(CPU, backend), other)[0])
    assert backend.codes == made


def test_another_module_of_the_architecture_needs_nothing_new(turbo, unet, backend):
    picture(turbo, unet)
    turbo.tend()
    made, ran = backend.codes, backend.runs
    picture(turbo, attending(tiny.tiny_unet(seed=5)))
    assert backend.codes == made
    assert backend.runs > ran


def test_a_controlnet_is_compiled_too(turbo, unet, backend):
    control = attending(tiny.tiny_controlnet(unet))
    map_ = torch.ones(2, 3, tiny.SIZE, tiny.SIZE)
    sample, words = torch.ones(2, 4, 16, 16), torch.ones(2, 5, tiny.HIDDEN)
    for _ in range(2):
        ran = backend.runs
        with torch.inference_mode(), turbo.picture(unet, control):
            control(sample, torch.tensor(7), encoder_hidden_states=words, controlnet_cond=map_)
        turbo.tend()
    assert backend.runs > ran


def test_a_picture_leaves_the_model_as_it_found_it(turbo, unet):
    for _ in range(2):
        picture(turbo, unet)
        assert not unet._forward_pre_hooks
        assert not unet._forward_hooks
        for block in unet.modules():
            assert block._compiled_call_impl is None
            assert not block._forward_pre_hooks
        turbo.tend()


def test_a_picture_that_breaks_off_leaves_the_model_as_it_found_it(turbo, unet):
    with pytest.raises(RuntimeError, match="stop"), turbo.picture(unet):
        raise RuntimeError("stop")
    assert not unet._forward_pre_hooks
    picture(turbo, unet)


def test_tending_ends_when_a_picture_waits(turbo, unet, backend):
    picture(turbo, unet)
    turbo.tend(busy=lambda: True)
    assert backend.codes == 0
    picture(turbo, unet)
    assert backend.codes == 0
    turbo.tend()
    assert backend.codes > 0


def test_what_cannot_be_compiled_is_said_once_and_runs_as_ever(unet):
    def failing(_graph, _inputs):
        raise ValueError("no such thing")

    torch._dynamo.reset()
    turbo = Turbo(CPU, failing)
    first, notes = picture(turbo, unet)
    assert notes == []
    turbo.tend()
    second, notes = picture(turbo, unet)
    assert len(notes) == 1
    assert notes[0].startswith("Turbo is off: the model could not be compiled (")
    assert torch.equal(first, second)
    assert picture(turbo, unet)[1] == []


def test_blocks_with_hooks_are_left_alone(turbo, unet, backend):
    layer = next(block for block in unet.modules() if type(block).__name__ in REPEATED).attn1
    hook = layer.register_forward_pre_hook(lambda *_: None)
    picture(turbo, unet)
    turbo.tend()
    assert backend.codes == 0
    hook.remove()


def test_examples_hold_no_values_and_compile_after_the_journey_to_another_process(turbo, unet, backend):
    picture(turbo, unet)
    examples = [example.skeleton() for example in turbo._prepared[0].examples.values()]
    assert all(p.device.type == "meta" for example in examples for p in example.block.parameters())
    counter = CompileCounter()
    compile_skeletons(pickle.dumps(examples), CPU, counter)
    assert counter.frame_count > 0
    assert all(p.device == CPU for p in unet.parameters())


def test_the_other_process_says_why_it_failed(turbo, unet, monkeypatch):
    monkeypatch.setattr(module.pickle, "dumps", lambda _: b"")
    with pytest.raises(RuntimeError, match="EOFError"):
        module.prepare([], CPU)


def test_without_a_compiler_turbo_says_so(monkeypatch, unet):
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    turbo = Turbo(CPU)
    assert "C++ compiler" in turbo.trouble
    assert picture(turbo, unet)[1] == [turbo.trouble]
    assert picture(turbo, unet)[1] == []


def test_without_triton_turbo_says_so(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    assert "triton" in obstacle(torch.device("cuda"))
