"""One synthetic file of each sort that people have, and what it has to be taken for."""

from studio.library.names import DIFFUSERS, LDM, vae_names
from tests.library import headers
from tests.library.headers import FLUX, UPSCALERS, Case, checkpoint, control, lora

V = {"prediction_type": "v_prediction"}
CHECKPOINTS = {
    "sd1": Case(
        "checkpoint", "sd1", checkpoint("sd1"), usable=True, expected={"prediction_type": "epsilon", "width": 768}
    ),
    "sd1-inpaint": Case("checkpoint", "sd1", checkpoint("sd1", 9), usable=True, expected={"variant": "inpaint"}),
    "sd1-edit": Case("checkpoint", "sd1", checkpoint("sd1", 8), expected={"variant": "edit"}),
    "sd2": Case("checkpoint", "sd2", checkpoint("sd2"), usable=True, expected={"prediction_type": ""}),
    "sd2-depth": Case(
        "checkpoint", "sd2", checkpoint("sd2", 5), expected={"variant": "depth", "prediction_type": "epsilon"}
    ),
    "sd2-inpaint": Case("checkpoint", "sd2", checkpoint("sd2", 9), usable=True, expected={"variant": "inpaint"}),
    "sd2-v": Case(
        "checkpoint",
        "sd2",
        checkpoint("sd2"),
        usable=True,
        metadata={"modelspec.prediction_type": "v", "modelspec.resolution": "768x768"},
        expected=V,
    ),
    "sdxl": Case("checkpoint", "sdxl", checkpoint("sdxl"), usable=True, expected={"prediction_type": "epsilon"}),
    "sdxl-v": Case(
        "checkpoint",
        "sdxl",
        checkpoint("sdxl") | {"v_pred": (0,), "ztsnr": (0,)},
        usable=True,
        expected=V | {"zero_snr": True},
    ),
    "sdxl-inpaint": Case("checkpoint", "sdxl", checkpoint("sdxl", 9), usable=True, expected={"variant": "inpaint"}),
    "sdxl-edit": Case("checkpoint", "sdxl", checkpoint("sdxl", 8), expected={"variant": "edit"}),
    "playground": Case("checkpoint", "sdxl", checkpoint("sdxl") | {"edm_mean": (1, 4, 1, 1), "edm_std": (1, 4, 1, 1)}),
    "cosxl": Case("checkpoint", "sdxl", checkpoint("sdxl") | {"edm_vpred.sigma_max": (), "edm_vpred.sigma_min": ()}),
    "sd1-unwrapped": Case("checkpoint", "sd1", headers.unwrapped(checkpoint("sd1")), usable=True),
    "sdxl-unwrapped": Case("checkpoint", "sdxl", headers.unwrapped(checkpoint("sdxl")), usable=True),
    "sd-turbo": Case("checkpoint", "sd2", headers.turbo(checkpoint("sd2")), usable=True),
    "sd2-zero-snr": Case(
        "checkpoint",
        "sd2",
        checkpoint("sd2"),
        usable=True,
        metadata={"ss_zero_terminal_snr": "True"},
        expected={"zero_snr": True},
    ),
    "refiner": Case("checkpoint", "sdxl-refiner", checkpoint("sdxl-refiner")),
    "unet-alone": Case("checkpoint", "sdxl", headers.unet("sdxl")),
    "unet-bare": Case("checkpoint", "sd1", headers.unet("sd1", prefix="")),
    "unet-diffusers": Case("checkpoint", "sd2", headers.unet("sd2", prefix="", spelling=DIFFUSERS)),
}
AUTOENCODERS = {
    "vae": Case("vae", "unknown", headers.vae(""), usable=True),
    "vae-prefixed": Case("vae", "unknown", headers.vae(), usable=True),
    "vae-diffusers": Case("vae", "sd1", dict(vae_names(DIFFUSERS)), "vae-ft-mse-840000-ema-pruned", usable=True),
    "vae-sdxl": Case("vae", "sdxl", headers.vae(""), "sdxl_vae", usable=True),
    "vae-flux": Case("vae", "unknown", headers.vae("") | {"decoder.conv_in.weight": (512, 16, 3, 3)}),
    "taesd": Case(
        "taesd",
        "unknown",
        headers.taesd_half("encoder", "encoder.layers.") | headers.taesd_half("decoder", "decoder.layers.", 0),
    ),
    "taesd-encoder": Case("taesd", "unknown", headers.taesd_half("encoder", "")),
    "taesd-decoder": Case("taesd", "sdxl", headers.taesd_half("decoder", "", 1), "taesdxl_decoder"),
}
CONTROLS = {
    "control-sd1": Case(
        "controlnet", "sd1", control("sd1", LDM, "control_model."), "control_v11p_sd15_canny", usable=True
    ),
    "control-sd2": Case("controlnet", "sd2", control("sd2", LDM, "control_model."), usable=True),
    "control-sdxl": Case("controlnet", "sdxl", control("sdxl"), "diffusers_xl_depth_full", usable=True),
    "control-diffusers": Case("controlnet", "sd1", control("sd1"), usable=True),
    "control-bare": Case("controlnet", "sdxl", control("sdxl", LDM), usable=True),
    "control-whole": Case("controlnet", "sd1", control("sd1", LDM, "control_model.") | checkpoint("sd1"), usable=True),
    "control-union": Case("controlnet", "sdxl", headers.union(), family="union"),
    "control-lora": Case("controlnet", "sdxl", headers.control_lora("sdxl"), family="control-lora"),
    "control-difference": Case(
        "controlnet", "sd1", control("sd1", LDM, "control_model.") | {"difference": ()}, family="difference"
    ),
    "control-lllite": Case(
        "controlnet",
        "sdxl",
        {f"lllite_unet_input_blocks_7_1_transformer_blocks_{n}_attn1_to_q.down.0.weight": (64, 1280) for n in range(4)},
        family="lllite",
    ),
    "t2i": Case(
        "t2i_adapter",
        "sd1",
        headers.t2i(),
        "t2iadapter_depth_sd15",
        family="full",
        usable=True,
        expected={"control_kind": "depth"},
    ),
    "t2i-diffusers": Case("t2i_adapter", "sd1", headers.t2i(64, DIFFUSERS), family="full", usable=True),
    "t2i-xl": Case("t2i_adapter", "sdxl", headers.t2i(768), family="xl", usable=True),
    "t2i-xl-diffusers": Case("t2i_adapter", "sdxl", headers.t2i(256, DIFFUSERS), family="xl", usable=True),
    "t2i-light": Case("t2i_adapter", "sd1", headers.t2i_light(), family="light", usable=True),
    "t2i-light-diffusers": Case("t2i_adapter", "sd1", headers.t2i_light(DIFFUSERS), family="light", usable=True),
}
IMAGES = {
    **{
        f"ip-{base}-{family}": Case("ip_adapter", base, headers.ip_adapter(base, family), family=family, usable=usable)
        for base in ("sd1", "sdxl")
        for family, usable in {
            "plain": True,
            "plus": True,
            "full": False,
            "faceid": False,
            "faceid-plus": False,
        }.items()
    },
    "ip-plus-face": Case(
        "ip_adapter",
        "sd1",
        headers.ip_adapter("sd1", "plus"),
        "ip-adapter-plus-face_sd15",
        family="plus-face",
        usable=True,
    ),
    "ip-instantid": Case("ip_adapter", "sdxl", headers.ip_adapter("sdxl", "instantid"), family="instantid"),
    "clip-h": Case("image_encoder", "unknown", headers.image_encoder(1280, 32, 1024), family="CLIP ViT-H", usable=True),
    "clip-g": Case(
        "image_encoder", "unknown", headers.image_encoder(1664, 48, 1280), family="CLIP ViT-bigG", usable=True
    ),
    "clip-h-open": Case("image_encoder", "unknown", headers.image_encoder(1280, 32, 1024, "open"), family="CLIP ViT-H"),
}
LORAS = {
    **{
        f"lora-{base}-{family}": Case("lora", base, lora(base, family), family=family, usable=True)
        for base in ("sd1", "sd2", "sdxl")
        for family in ("lora", "dora", "loha", "lokr", "glora", "full")
    },
    **{
        f"lora-sdxl-{family}": Case("lora", "sdxl", lora("sdxl", family), family=family, usable=True)
        for family in ("oft", "boft", "ia3")
    },
    "lora-oft-sd1": Case(
        "lora", "sd1", lora("sd1", "oft"), family="oft", usable=True, metadata={"ss_base_model_version": "sd_v1"}
    ),
    **{
        f"lora-{base}-{sort}": Case(
            "lora", base, lora(base, sort, start="base_model.model.unet."), family=sort.partition("-")[0], usable=True
        )
        for base in ("sd1", "sd2", "sdxl")
        for sort in ("oft-peft", "oft-named", "boft-peft", "boft-named")
    },
    "lora-oft-onetrainer": Case("lora", "sd1", lora("sd1", "oft-peft"), family="oft", usable=True),
    "lora-oft-shared": Case("lora", "sdxl", lora("sdxl", "oft-shared"), family="oft", usable=True),
    "lora-oft-diag": Case("lora", "sdxl", lora("sdxl", "oft-diag"), family="oft", usable=True),
    "lora-boft-diag": Case("lora", "sdxl", lora("sdxl", "boft-diag"), family="boft", usable=True),
    "lora-ldm-names": Case("lora", "sdxl", lora("sdxl", spelling=LDM, texted=True), family="lora", usable=True),
    "lora-texts": Case("lora", "sd2", lora("sd2", texted=True), family="lora", usable=True),
    "lora-locon": Case("lora", "sd1", headers.kernels("sd1"), family="locon", usable=True),
    "lora-peft": Case("lora", "sd1", lora("sd1", "peft", start="base_model.model.unet."), family="lora", usable=True),
    "lora-peft-bare": Case("lora", "sd1", lora("sd1", "bare", start="unet."), family="lora", usable=True),
    "lora-peft-default": Case(
        "lora", "sdxl", lora("sdxl", "default", start="base_model.model."), family="lora", usable=True
    ),
    "lora-diffusers": Case("lora", "sdxl", lora("sdxl", "diffusers", start="unet."), family="lora", usable=True),
    "lora-diffusers-linear": Case("lora", "sd2", lora("sd2", "linear", start="unet."), family="lora", usable=True),
    "lora-comfy": Case(
        "lora", "sdxl", lora("sdxl", start="diffusion_model.", spelling=LDM), family="lora", usable=True
    ),
    **{
        f"lora-{name}": Case("lora", "sd1", lora("sd1", family), family=found, usable=True)
        for name, (family, found) in {
            "underscore": ("underscore", "lora"),
            "reshaped": ("reshaped", "lora"),
            "loha-tucker": ("loha-tucker", "loha"),
            "lokr-whole": ("lokr-whole", "lokr"),
            "lokr-both": ("lokr-both", "lokr"),
            "lokr-tucker": ("lokr-tucker", "lokr"),
            "set": ("set", "full"),
        }.items()
    },
    "lora-norms": Case("lora", "unknown", headers.norms("sd1"), family="full", usable=True),
    "lora-lycoris": Case("lora", "sd1", lora("sd1", start="lycoris_"), family="lora", usable=True),
    "lora-old-diffusers": Case("lora", "sd1", headers.processors("sd1"), family="lora", usable=True),
    "lora-cascade": Case("lora", "unknown", lora("sd1", start="lora_prior_unet_"), family="lora"),
    "lora-transformer": Case(
        "lora",
        "unknown",
        {
            f"transformer.transformer_blocks.{n}.attn.to_q.{role}": shape
            for n in range(9)
            for role, shape in headers.ROLES["peft"](1536, 1536, 4).items()
        },
        family="lora",
    ),
    "lora-transformer-kohya": Case(
        "lora",
        "unknown",
        {
            f"lora_transformer_single_transformer_blocks_{n}_attn_to_q.{role}": shape
            for n in range(9)
            for role, shape in headers.ROLES["lora"](3072, 3072, 4).items()
        },
        family="lora",
    ),
    "lora-self-attention": Case("lora", "unknown", lora("sd1", only="attn1"), family="lora", usable=True),
    "lora-flux": Case(
        "lora",
        "unknown",
        {
            f"lora_unet_double_blocks_{n}_img_attn_qkv.{role}": shape
            for n in range(19)
            for role, shape in headers.ROLES["lora"](9216, 3072, 16).items()
        },
        family="lora",
    ),
}
SMALL = {
    "embedding-sd1": Case(
        "embedding", "sd1", {"emb_params": (8, 768)}, "badhands", usable=True, expected={"trigger_words": ("badhands",)}
    ),
    "embedding-sd2": Case("embedding", "sd2", {"emb_params": (3, 1024)}, usable=True),
    "embedding-a1111": Case("embedding", "sd1", {"string_to_param.*": (2, 768)}, "style", usable=True),
    "embedding-oldest": Case(
        "embedding", "sd1", {"string_to_token.*": (1,), "string_to_param.*": (2, 768)}, "style", usable=True
    ),
    "embedding-diffusers": Case(
        "embedding", "sd1", {"<cat-toy>": (768,)}, usable=True, expected={"trigger_words": ("<cat-toy>",)}
    ),
    "embedding-sdxl": Case("embedding", "sdxl", {"clip_l": (4, 768), "clip_g": (4, 1280)}, usable=True),
    "embedding-onetrainer": Case(
        "embedding",
        "sdxl",
        {"clip_l": (4, 768), "clip_g": (4, 1280), "clip_l_out": (4, 768), "clip_g_out": (4, 1280)},
        usable=True,
    ),
    "hypernetwork": Case("hypernetwork", "sd1", headers.hypernetwork(768, 320, 640, 1280), usable=True),
    "hypernetwork-sd2": Case("hypernetwork", "sd2", headers.hypernetwork(1024, 320, 640, 1280), usable=True),
}
OTHERS = {
    **{
        f"upscaler-{family}": Case("upscaler", "unknown", tensors, family=family)
        for family, tensors in UPSCALERS.items()
    },
    "flux": Case("unknown", "unknown", FLUX),
    "flux-prefixed": Case("unknown", "unknown", headers.with_prefix("model.diffusion_model.", FLUX)),
}
ALL = CHECKPOINTS | AUTOENCODERS | CONTROLS | IMAGES | LORAS | SMALL | OTHERS
