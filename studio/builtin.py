"""Our own schedulers and control kinds, registered through the hooks that extensions use. Rows of data, no torch."""

from studio.hookspecs import ControlKindSpec, SchedulerSpec, hookimpl

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
    """What a person can draw."""
    return [
        ControlKindSpec(
            name="scribble", label="Sketch", description="Rough lines, drawn by hand: things stand where you draw them."
        )
    ]
