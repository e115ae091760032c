"""Our own schedulers and control kinds, registered through the hooks that extensions use. Rows of data, no torch."""

from studio.hookspecs import ControlKindSpec, SchedulerSpec, hookimpl

CONTROL_KINDS = {
    "scribble": ("Sketch", "Rough lines, drawn by hand: things stand where you draw them."),
    "edges": ("Edges", "Exact outlines, as Canny finds them in a photo."),
    "softedge": ("Soft edges", "Outlines with a strength, as HED finds them."),
    "lineart": ("Line art", "Drawn lines, thick and thin."),
    "lines": ("Straight lines", "The straight edges of buildings and rooms."),
    "depth": ("Depth", "How near everything is: light is near."),
    "normal": ("Normals", "Which way every surface looks."),
    "pose": ("Pose", "Skeletons of people: they stand as you pose them."),
    "segments": ("Segments", "Regions in colours that name what they are."),
    "regions": ("Regions", "Areas in flat colours, each with words of its own."),
    "shuffle": ("Shuffle", "Colours and textures of a picture, without its places."),
    "tile": ("Tile", "A picture to be filled with new detail."),
    "inpaint": ("Inpaint", "A picture with what is to be redone painted out."),
    "reference": ("Reference", "A picture to be like, read as words are by an IP-Adapter."),
    "reference_only": ("Reference only", "A picture to be like, read by the checkpoint itself."),
}
ALL = ("default", "karras", "exponential", "beta")


@hookimpl
def register_schedulers() -> list[SchedulerSpec]:
    """The schedulers that people ask for by name, best first."""
    sde = {"algorithm_type": "sde-dpmsolver++"}
    return [
        SchedulerSpec(name="dpmpp_2m", label="DPM++ 2M", class_name="DPMSolverMultistepScheduler", sigmas=ALL),
        SchedulerSpec(
            name="dpmpp_2m_sde",
            label="DPM++ 2M SDE",
            class_name="DPMSolverMultistepScheduler",
            options=sde,
            sigmas=ALL,
        ),
        SchedulerSpec(name="unipc", label="UniPC", class_name="UniPCMultistepScheduler", sigmas=ALL),
        SchedulerSpec(name="euler", label="Euler", class_name="EulerDiscreteScheduler", sigmas=ALL),
        SchedulerSpec(name="euler_a", label="Euler a", class_name="EulerAncestralDiscreteScheduler"),
        SchedulerSpec(name="heun", label="Heun", class_name="HeunDiscreteScheduler", sigmas=ALL),
        SchedulerSpec(name="ddim", label="DDIM", class_name="DDIMScheduler"),
        SchedulerSpec(name="ddpm", label="DDPM", class_name="DDPMScheduler"),
        SchedulerSpec(name="lcm", label="LCM", class_name="LCMScheduler"),
    ]


@hookimpl
def register_control_kinds() -> list[ControlKindSpec]:
    """What a person can draw or show."""
    return [ControlKindSpec(name=name, label=label, description=text) for name, (label, text) in CONTROL_KINDS.items()]
