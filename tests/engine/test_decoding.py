from itertools import pairwise

import pytest
import torch
from diffusers import AutoencoderKL

from studio.engine import decoding
from studio.engine.decoding import NO_NUMBERS, TOO_LARGE, decode, encode, tile, tile_starts, wider
from tests import tiny

CPU = torch.device("cpu")
FACTOR = 2


@pytest.fixture
def vae():
    return tiny.tiny_pipeline().vae.eval().requires_grad_(False)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(decoding, "TILE", 16)
    monkeypatch.setattr(decoding, "OVERLAP", 8)


def latents(height, width, count=1):
    return torch.randn(count, 4, height, width, generator=torch.Generator().manual_seed(0))


def state(module):
    return {name: (t.clone(), t.data_ptr(), t.dtype) for name, t in module.state_dict().items()}


def assert_untouched(module, before):
    for name, t in module.state_dict().items():
        value, address, dtype = before[name]
        assert (t.data_ptr(), t.dtype) == (address, dtype)
        assert torch.equal(t, value)


def overflow_above(vae, dtypes, name="decode"):
    """Let the autoencoder answer NaN in these dtypes."""
    real, tried = getattr(vae, name), []

    def instead(x, **options):
        tried.append((x.dtype, next(vae.parameters()).dtype))
        if x.dtype in dtypes:
            x = x * float("nan")
        return real(x, **options)

    setattr(vae, name, instead)
    return tried


@torch.no_grad()
def test_a_picture_is_what_the_autoencoder_makes_of_it(vae):
    z, told = latents(8, 12, count=3), []
    expected = torch.cat([vae.decode(one / vae.config.scaling_factor).sample for one in z.split(1)])
    made = decode(vae, z, warnings=told)
    assert made.shape == (3, 3, 16, 24)
    assert torch.equal(made, expected)
    assert not told


@torch.no_grad()
def test_latents_are_the_mode_of_the_posterior(vae):
    pictures = torch.rand(2, 3, 16, 24) * 2 - 1
    made = encode(vae, pictures, warnings=[])
    expected = torch.cat([vae.encode(one).latent_dist.mode() for one in pictures.split(1)]) * vae.config.scaling_factor
    assert torch.equal(made, expected)


@torch.no_grad()
def test_a_batch_changes_no_bit(vae):
    z = latents(8, 8, count=3)
    together = decode(vae, z, warnings=[])
    assert torch.equal(together, torch.cat([decode(vae, one, warnings=[]) for one in z.split(1)]))


@torch.no_grad()
def test_a_small_picture_has_one_tile(vae):
    z = latents(8, 12)
    assert torch.equal(decode(vae, z, tiled=True, warnings=[]), decode(vae, z, warnings=[]))


@pytest.mark.parametrize("size", [(17, 16), (40, 16), (33, 57)])
def test_tiles_of_something_local_are_exact(small_tiles, size):
    """A map that looks only at its own latent is cut and joined without a trace."""
    z = latents(*size)

    def grown(part):
        return part.repeat_interleave(FACTOR, 2).repeat_interleave(FACTOR, 3)

    torch.testing.assert_close(tile(grown, z, (1, FACTOR)), grown(z), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(tile(lambda part: part[:, :, ::FACTOR, ::FACTOR], grown(z), (FACTOR, 1)), z)


@pytest.mark.parametrize("size", [(24, 40), (33, 16)])
@torch.no_grad()
def test_tiles_leave_no_seam(vae, small_tiles, size):
    """What tiles change, they change smoothly: no step at a tile's edge stands out from the rest."""
    z = latents(*size)
    off = decode(vae, z, tiled=True, warnings=[]) - decode(vae, z, warnings=[])
    steps = torch.cat([off.diff(dim=2).abs().amax((0, 1, 3)), off.diff(dim=3).abs().amax((0, 1, 2))])
    plain = decode(vae, z, warnings=[])
    assert 0 < off.norm() < 0.1 * plain.norm()
    assert steps.max() < 0.1 * plain.diff(dim=3).abs().max()


@torch.no_grad()
def test_encoding_in_tiles_is_close(vae, small_tiles):
    pictures = torch.rand(1, 3, 72, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = encode(vae, pictures, warnings=[])
    tiled = encode(vae, pictures, tiled=True, warnings=[])
    assert 0 < (tiled - whole).norm() < 0.2 * whole.norm()  # measured: 0.13, for tiles of 16 latents and random weights


@pytest.mark.parametrize("side", range(1, 200))
def test_tiles_cover_a_side_with_overlaps(side):
    starts, size = tile_starts(side), min(side, decoding.TILE)
    assert starts[0] == 0
    assert starts[-1] + size == side
    steps = [b - a for a, b in pairwise(starts)]
    assert all(0 < step <= decoding.TILE - decoding.OVERLAP for step in steps)


@pytest.mark.parametrize(
    ("broken", "name", "tried"),
    [
        ([], "", [torch.float16]),
        ([torch.float16], "bf16", [torch.float16, torch.bfloat16]),
        ([torch.float16, torch.bfloat16], "fp32", [torch.float16, torch.bfloat16, torch.float32]),
    ],
)
@torch.no_grad()
def test_an_overflow_is_done_again_in_a_wider_dtype_and_told(vae, broken, name, tried):
    vae.to(torch.float16)
    before, told = state(vae), []
    heard = overflow_above(vae, broken)
    made = decode(vae, latents(8, 8), warnings=told)
    assert heard == [(dtype, dtype) for dtype in tried]
    assert made.isfinite().all()
    assert made.dtype == torch.float32
    assert [name in sentence for sentence in told] == [True] * bool(name)
    assert_untouched(vae, before)


@torch.no_grad()
def test_only_the_picture_that_overflows_is_done_again(vae):
    vae.to(torch.float16)
    heard, z = overflow_above(vae, []), latents(8, 8, count=3)
    z[1] *= 1e6  # above what fp16 holds
    told = []
    decode(vae, z, warnings=told)
    assert [given for given, _ in heard] == [torch.float16, torch.float16, torch.bfloat16, torch.float16]
    assert len(told) == 1


@torch.no_grad()
def test_encoding_has_the_same_ladder(vae):
    vae.to(torch.bfloat16)
    before, told = state(vae), []
    overflow_above(vae, [torch.bfloat16], "encode")
    assert encode(vae, torch.zeros(1, 3, 8, 8), warnings=told).isfinite().all()
    assert "fp32" in told[0]
    assert_untouched(vae, before)


@torch.no_grad()
def test_what_never_becomes_a_number_is_grey_and_told(vae):
    z, told = latents(8, 8), []
    z[0, 0, 0, 0] = float("nan")
    assert decode(vae, z, warnings=told).isfinite().all()
    assert told == [NO_NUMBERS]


@torch.no_grad()
def test_too_little_memory_for_a_whole_picture_gives_tiles_and_is_told(vae, small_tiles):
    class Small(AutoencoderKL):
        """An autoencoder on a device that holds one tile."""

        def decode(self, z, **options):
            if z.shape[2] > decoding.TILE or z.shape[3] > decoding.TILE:
                raise torch.OutOfMemoryError("no room")
            return super().decode(z, **options)

    z, told = latents(20, 24, count=2), []
    expected = decode(vae, z, tiled=True, warnings=[])
    vae.__class__ = Small
    assert torch.equal(decode(vae, z, warnings=told), expected)
    assert told == [TOO_LARGE]


def test_in_inference_mode_it_is_left_as_it_was(vae):
    vae.to(torch.float16)
    before = state(vae)
    with torch.inference_mode():
        overflow_above(vae, [torch.float16])
        decode(vae, latents(8, 8), warnings=[])
    assert_untouched(vae, before)
    assert not any(p.is_inference() for p in vae.parameters())


def test_a_picture_between_two_sizes_is_refused(vae):
    with pytest.raises(ValueError, match="no multiple of 2"):
        encode(vae, torch.zeros(1, 3, 8, 9), warnings=[])


def test_a_card_without_bf16_goes_to_fp32_at_once(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert wider(torch.float16, torch.device("cuda")) == [torch.float32]
    assert wider(torch.float16, CPU) == [torch.bfloat16, torch.float32]
    assert wider(torch.float32, CPU) == []
