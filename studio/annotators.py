"""Our own annotators: rows of data with plain words for every slider. The code is in studio/control, run by the worker.

Defaults and ranges are those of the functions; a test holds the two together.
"""

from studio.hookspecs import AnnotatorSpec, OptionSpec, WeightsSpec, hookimpl

PACK = (WeightsSpec(name="annotator.safetensors"),)


@hookimpl
def register_annotators() -> list[AnnotatorSpec]:
    """Of several for one control kind the best comes first."""
    return [*lines(), *papers(), *pictures(), *starter()]


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


def option(name: str, label: str, default: float, slider: tuple[float, float, float], below: str = "") -> OptionSpec:
    """A slider, (min, max, step), in one line."""
    low, high, step = slider
    return OptionSpec(name=name, label=label, default=default, min=low, max=high, step=step, below=below)
