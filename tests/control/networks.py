"""The annotators' networks with random weights, written as their files are published."""

from pathlib import Path
from types import SimpleNamespace

import torch

from studio.control.networks import aux
from studio.control.normal_bae import LAYOUT
from tests.control import pose_networks


def _save(network: torch.nn.Module, file: Path, prefix: str = "", under: str = "") -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({under: state, "epoch": 3} if under else state, file)


def hed(folder: Path) -> None:
    _save(aux().hed.ControlNetHED_Apache2().half(), folder / "ControlNetHED.pth")


def pidinet(folder: Path) -> None:
    _save(aux().pidi.pidinet(), folder / "table5_pidinet.pth", prefix="module.", under="state_dict")


def lineart(folder: Path) -> None:
    for name in ("sk_model.pth", "sk_model2.pth"):
        _save(aux().lineart.Generator(3, 1, 3), folder / name)


def lineart_anime(folder: Path) -> None:
    from functools import partial

    norm = partial(torch.nn.InstanceNorm2d, affine=False, track_running_stats=False)
    network = aux().lineart_anime.UnetGenerator(3, 1, 8, 64, norm_layer=norm)
    _save(network, folder / "netG.pth", prefix="module.")


def mlsd(folder: Path) -> None:
    _save(aux().mlsd.MobileV2_MLSD_Large(), folder / "mlsd_large_512_fp32.pth")


def midas(folder: Path) -> None:
    aux()
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    network = DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=False)
    network.scratch.output_conv[4].bias.data += 1  # what is not near at all is cut off at zero
    _save(network, folder / "dpt_hybrid-midas-501f0c75.pt")


def normal_bae(folder: Path) -> None:
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()):
        network = aux().normalbae.NNET(SimpleNamespace(**LAYOUT))
    _save(network, folder / "scannet.pt", prefix="module.", under="model")


def openpose(folder: Path) -> None:
    """Bodies and hands are published under names without their first part."""
    pose = aux().open_pose
    for name, network in (("body", pose.body.bodypose_model()), ("hand", pose.hand.handpose_model())):
        state = {key.partition(".")[2]: tensor for key, tensor in network.state_dict().items()}
        torch.save(state, folder / f"{name}_pose_model.pth")
    _save(pose.face.FaceNet(), folder / "facenet.pth")


def dwpose(folder: Path) -> None:
    """As deep as the published ones, an eighth as wide."""
    pose_networks.export(pose_networks.seeing_somebody(8), folder / "yolox_l.onnx")
    pose_networks.export(pose_networks.RtmPose(8), folder / "dw-ll_ucoco_384.onnx")


def depth_anything(folder: Path) -> None:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=24, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8,
        head_hidden_size=8,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(config).save_pretrained(folder / "Depth-Anything-V2-Small-hf")


def blip(folder: Path) -> None:
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration

    seen = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[DEC]",
        *"a red green house tree boat under the sky".split(),
    ]
    said = seen | {"vocab_size": len(words), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    ids = {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 2, "sep_token_id": 3}
    config = BlipConfig(
        vision_config=seen | {"image_size": 32, "patch_size": 8}, text_config=said | ids, projection_dim=8
    )
    network = BlipForConditionalGeneration(config)
    for tensor in network.parameters():  # as it begins, all words are as likely
        torch.nn.init.normal_(tensor, std=0.3)
    network.save_pretrained(folder / "blip-image-captioning-base")
    vocab = {word: number for number, word in enumerate(words)}
    tokens = BertTokenizerFast(vocab=vocab, additional_special_tokens=["[DEC]"])
    tokens.save_pretrained(folder / "blip-image-captioning-base")


def zoe(folder: Path) -> None:
    from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

    backbone = BeitConfig(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, use_relative_position_bias=True,
    )  # fmt: skip
    config = ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8, bottleneck_features=8,
        num_relative_features=8, bin_embedding_dim=8, num_patch_transformer_layers=1,
        patch_transformer_hidden_size=8, patch_transformer_intermediate_size=16,
        patch_transformer_num_attention_heads=2,
    )  # fmt: skip
    network = ZoeDepthForDepthEstimation(config)
    for tensor in network.parameters():  # as it begins, all distances are the same
        torch.nn.init.normal_(tensor, std=0.3)
    network.save_pretrained(folder / "zoedepth-nyu")


def upernet(folder: Path) -> None:
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_indices=[1, 2, 3, 4])
    config = UperNetConfig(
        backbone_config=backbone, hidden_size=16, num_labels=150, use_auxiliary_head=True, auxiliary_in_channels=16,
        auxiliary_channels=8,
    )  # fmt: skip
    UperNetForSemanticSegmentation(config).save_pretrained(folder / "upernet-convnext-small")
