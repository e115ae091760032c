"""Our own annotators: rows of data with plain words for every slider. The code is in studio/control, run by the worker.

Defaults and ranges are those of the functions; a test holds the two together.
"""

from studio.hookspecs import CAPTION, AnnotatorSpec, OptionSpec, WeightsSpec, hookimpl

PACK = (WeightsSpec(name="annotator.safetensors"),)


@hookimpl
def register_annotators() -> list[AnnotatorSpec]:
    """Of several for one control kind the best comes first."""
    return [
        *lines(),
        *papers(),
        *pictures(),
        *soft_edges(),
        *drawn_lines(),
        *surfaces(),
        *poses(),
        *starter(),
        *captions(),
    ]


def lines() -> list[AnnotatorSpec]:
    """Photo to lines."""
    return [
        AnnotatorSpec(
            name="canny",
            label="Canny edges",
            kind="edges",
            module="studio.control.canny",
            options=(
                option("low_threshold", "Keep weak edges from", 100, (0, 254, 1), below="high_threshold"),
                option("high_threshold", "Start edges from", 200, (1, 255, 1)),
            ),
        ),
        AnnotatorSpec(
            name="scribble",
            label="Sketch lines",
            kind="scribble",
            module="studio.control.scribble",
            options=(option("threshold", "Leave out lines fainter than", 32, (1, 64, 1)),),
        ),
        AnnotatorSpec(
            name="softedge",
            label="Soft edges (built in)",
            kind="softedge",
            module="studio.control.softedge",
            options=(option("strength", "Strength of the edges", 1, (0.25, 4, 0.05)),),
        ),
        AnnotatorSpec(
            name="lineart",
            label="Pencil lines (built in)",
            kind="lineart",
            module="studio.control.lineart",
            options=(
                option("width", "Widest line, in pixels", 6, (1, 16, 0.5)),
                option("contrast", "Darkness of the pencil", 3, (0.5, 8, 0.1)),
            ),
        ),
    ]


def papers() -> list[AnnotatorSpec]:
    """Drawings on paper to maps."""
    return [
        AnnotatorSpec(
            name="invert",
            label="Dark lines on white to light on black",
            kind="scribble",
            module="studio.control.invert",
        ),
        AnnotatorSpec(
            name="threshold",
            label="Black and white",
            kind="scribble",
            module="studio.control.threshold",
            options=(option("limit", "White is what is lighter than", 127, (0, 255, 1)),),
        ),
    ]


def pictures() -> list[AnnotatorSpec]:
    """Pictures to pictures that say less."""
    return [
        AnnotatorSpec(
            name="tile",
            label="Coarser",
            kind="tile",
            module="studio.control.tile",
            options=(option("rate", "How many times coarser", 2, (1, 8, 0.1)),),
        ),
        AnnotatorSpec(
            name="blur",
            label="Blurred",
            kind="tile",
            module="studio.control.blur",
            options=(option("sigma", "Blur, in pixels", 9, (0.5, 64, 0.5)),),
        ),
        AnnotatorSpec(
            name="shuffle",
            label="Colours in other places",
            kind="shuffle",
            module="studio.control.shuffle",
            options=(
                option("seed", "Which of many ways", 0, (0, 9999, 1)),
                option("size", "Size of the whirls, in pixels", 256, (16, 1024, 16)),
            ),
        ),
        AnnotatorSpec(
            name="recolor",
            label="Without colour",
            kind="recolor",
            module="studio.control.recolor",
            options=(
                option("intensity", "From lightness as seen (0) to brightest channel (1)", 0, (0, 1, 0.05)),
                option("gamma", "Darken the middle tones", 1, (0.1, 4, 0.05)),
            ),
        ),
    ]


def soft_edges() -> list[AnnotatorSpec]:
    """Photo to edges, by networks whose weights are downloaded."""
    hed, pidinet = (published("ControlNetHED.pth", 29.4),), (published("table5_pidinet.pth", 2.9),)
    strength = (looked_at(), option("safe", "All strengths (0) or three only (1)", 0, (0, 1, 1)))
    return [
        AnnotatorSpec(
            name="softedge_hed",
            label="Soft edges (HED)",
            kind="softedge",
            module="studio.control.hed:softedge",
            weights=hed,
            options=strength,
        ),
        AnnotatorSpec(
            name="softedge_pidinet",
            label="Soft edges (PiDiNet)",
            kind="softedge",
            module="studio.control.pidinet:softedge",
            weights=pidinet,
            options=strength,
        ),
        AnnotatorSpec(
            name="scribble_hed",
            label="Sketch lines (HED)",
            kind="scribble",
            module="studio.control.hed:scribble",
            weights=hed,
            options=(looked_at(),),
        ),
        AnnotatorSpec(
            name="scribble_pidinet",
            label="Sketch lines (PiDiNet)",
            kind="scribble",
            module="studio.control.pidinet:scribble",
            weights=pidinet,
            options=(looked_at(),),
        ),
    ]


def drawn_lines() -> list[AnnotatorSpec]:
    """Photo to line art and to straight lines, by networks whose weights are downloaded."""
    return [
        AnnotatorSpec(
            name="lineart_realistic",
            label="Line art of photos",
            kind="lineart",
            module="studio.control.lineart_realistic",
            weights=(published("sk_model.pth", 17.2), published("sk_model2.pth", 17.2)),
            options=(looked_at(), option("coarse", "Fine lines (0) or coarse ones (1)", 0, (0, 1, 1))),
        ),
        AnnotatorSpec(
            name="lineart_anime",
            label="Line art of drawings",
            kind="lineart",
            module="studio.control.lineart_anime",
            weights=(published("netG.pth", 218),),
            options=(looked_at(),),
        ),
        AnnotatorSpec(
            name="mlsd",
            label="Straight lines (M-LSD)",
            kind="lines",
            module="studio.control.mlsd",
            weights=(published("mlsd_large_512_fp32.pth", 6.3),),
            options=(
                looked_at(),
                option("score", "How sure a line must be", 0.1, (0.01, 2, 0.01)),
                option("distance", "Leave out lines shorter than", 0.1, (0.01, 20, 0.01)),
            ),
        ),
    ]


def surfaces() -> list[AnnotatorSpec]:
    """Photo to depth, normals and regions, by networks whose weights are downloaded."""
    return [
        AnnotatorSpec(
            name="depth_anything",
            label="Depth (Depth Anything V2)",
            kind="depth",
            module="studio.control.depth_anything",
            weights=(repository("depth-anything/Depth-Anything-V2-Small-hf", 99),),
            options=(looked_at(),),
        ),
        AnnotatorSpec(
            name="depth_midas",
            label="Depth (MiDaS)",
            kind="depth",
            module="studio.control.midas",
            weights=(published("dpt_hybrid-midas-501f0c75.pt", 493),),
            options=(looked_at(),),
        ),
        AnnotatorSpec(
            name="depth_zoe",
            label="Depth (ZoeDepth)",
            kind="depth",
            module="studio.control.zoe",
            weights=(repository("Intel/zoedepth-nyu", 1380),),
            options=(looked_at(384),),
        ),
        AnnotatorSpec(
            name="normal_bae",
            label="Normals (BAE)",
            kind="normal",
            module="studio.control.normal_bae",
            weights=(published("scannet.pt", 291),),
            options=(looked_at(),),
        ),
        AnnotatorSpec(
            name="segments_ade20k",
            label="Segments (UperNet)",
            kind="segments",
            module="studio.control.upernet",
            weights=(repository("openmmlab/upernet-convnext-small", 328),),
            options=(looked_at(),),
        ),
    ]


def poses() -> list[AnnotatorSpec]:
    """Photo to skeletons. OpenPose's licence allows no commercial use."""
    body = published("body_pose_model.pth", 209)
    details = (published("hand_pose_model.pth", 147), published("facenet.pth", 154))
    parts = (
        looked_at(),
        option("hands", "Without hands (0) or with them (1)", 1, (0, 1, 1)),
        option("face", "Without faces (0) or with them (1)", 1, (0, 1, 1)),
    )
    return [
        AnnotatorSpec(
            name="dwpose",
            label="DWPose, with hands and face",
            kind="pose",
            module="studio.control.dwpose",
            weights=(
                published("yolox_l.onnx", 217, "yzd-v/DWPose"),
                published("dw-ll_ucoco_384.onnx", 134, "yzd-v/DWPose"),
            ),
            options=parts,
        ),
        AnnotatorSpec(
            name="openpose",
            label="OpenPose (not for commercial use)",
            kind="pose",
            module="studio.control.openpose:body",
            weights=(body,),
            options=(looked_at(),),
        ),
        AnnotatorSpec(
            name="openpose_full",
            label="OpenPose with hands and face (not for commercial use)",
            kind="pose",
            module="studio.control.openpose:full",
            weights=(body, *details),
            options=parts,
        ),
    ]


def starter() -> list[AnnotatorSpec]:
    """What the starter pack's small network sees; it was taught by scenes such as the demonstration's."""
    module, demonstration = "studio.control.starter", "built in, for pictures like the demonstration's"
    return [
        AnnotatorSpec(
            name="starter_depth",
            label=f"Depth ({demonstration})",
            kind="depth",
            module=f"{module}:depth",
            weights=PACK,
        ),
        AnnotatorSpec(
            name="starter_segments",
            label=f"Segments ({demonstration})",
            kind="segments",
            module=f"{module}:segments",
            weights=PACK,
        ),
        AnnotatorSpec(
            name="starter_pose",
            label=f"Pose ({demonstration})",
            kind="pose",
            module=f"{module}:pose",
            weights=PACK,
        ),
    ]


def captions() -> list[AnnotatorSpec]:
    """Pictures to words."""
    return [
        AnnotatorSpec(
            name="blip",
            label="Caption (BLIP)",
            kind=CAPTION,
            module="studio.control.blip",
            weights=(repository("Salesforce/blip-image-captioning-base", 990),),
            options=(option("longest", "At most so many words and parts of words", 24, (8, 64, 1)),),
        ),
        AnnotatorSpec(
            name="starter_caption",
            label="Caption (built in, for pictures like the demonstration's)",
            kind=CAPTION,
            module="studio.control.starter:caption",
            weights=PACK,
        ),
    ]


def option(name: str, label: str, default: float, slider: tuple[float, float, float], below: str = "") -> OptionSpec:
    """A slider, (min, max, step), in one line."""
    low, high, step = slider
    return OptionSpec(name=name, label=label, default=default, min=low, max=high, step=step, below=below)


def looked_at(default: int = 512) -> OptionSpec:
    """The slider that every network has."""
    return option("resolution", "Shorter side at which it is looked at, in pixels", default, (256, 1024, 64))


def published(file: str, megabytes: float, repo: str = "lllyasviel/Annotators") -> WeightsSpec:
    """A file of a repository, by default of that where ControlNet's author keeps what its annotators need."""
    return WeightsSpec(name=file, repo=repo, file=file, megabytes=megabytes)


def repository(repo: str, megabytes: float) -> WeightsSpec:
    """A model of transformers, called by the last part of its repository's name."""
    return WeightsSpec(name=repo.rpartition("/")[2], repo=repo, megabytes=megabytes)
