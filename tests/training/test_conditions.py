import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter

from studio.training.conditions import ControlNetTraining, Noisy, T2IAdapterTraining
from tests import tiny

MAPS = torch.rand(2, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def unet():
    return tiny.tiny_unet()


@pytest.fixture
def noisy():
    rng, side = torch.Generator().manual_seed(3), tiny.SIZE // tiny.FACTOR
    words = torch.randn(2, 8, tiny.HIDDEN, generator=rng)
    return Noisy(torch.randn(2, 4, side, side, generator=rng), torch.tensor([300, 800]), words)


def fresh_controlnet(unet):
    control = ControlNetModel.from_unet(unet, conditioning_channels=3, conditioning_embedding_out_channels=(4, 8))
    control.controlnet_cond_embedding.blocks[1].stride = (tiny.FACTOR, tiny.FACTOR)
    return control


def fall_of_loss(training, noisy, steps=12):
    torch.manual_seed(0)
    target = torch.randn_like(noisy.latents)
    optimizer = torch.optim.AdamW([p for p in training.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(steps):
        loss = (training(noisy, MAPS) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses[-1] / losses[0]


def test_a_fresh_controlnet_says_nothing(unet, noisy):
    alone = unet(noisy.latents, noisy.timesteps, noisy.words).sample
    torch.testing.assert_close(ControlNetTraining(unet, fresh_controlnet(unet))(noisy, MAPS), alone)


@pytest.mark.parametrize("options", [{}, {"middle_only": True}, {"unlocked_decoder": True}])
def test_a_controlnet_learns_and_the_unet_stays(unet, noisy, options):
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    assert fall_of_loss(ControlNetTraining(unet, fresh_controlnet(unet), **options), noisy) < 0.99
    changed = {name.split(".")[0] for name, value in unet.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == ({"up_blocks"} if options.get("unlocked_decoder") else set())


def test_middle_only_leaves_the_skips_alone(unet, noisy):
    control = tiny.tiny_controlnet(unet)
    training = ControlNetTraining(unet, control, middle_only=True)
    fall_of_loss(training, noisy, steps=2)
    down, middle = control(noisy.latents, noisy.timesteps, noisy.words, controlnet_cond=MAPS, return_dict=False)
    assert all(skip.abs().max() == 0 for skip in down)
    assert middle.abs().max() > 0


def test_a_t2i_adapter_learns_and_the_unet_stays(unet, noisy):
    torch.manual_seed(0)
    adapter = T2IAdapter(
        in_channels=3, channels=[8, 16], num_res_blocks=1, downscale_factor=4, adapter_type="full_adapter_xl"
    )
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    assert fall_of_loss(T2IAdapterTraining(unet, adapter), noisy) < 0.99
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
