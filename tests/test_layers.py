"""The dependency direction, checked: a layer may import only what stands in its row."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent / "studio"
CORE = {
    "errors",
    "params",
    "plain",
    "training_params",
    "training_couplings",
    "training_pace",
    "inpainting",
    "messages",
    "registry",
    "hookspecs",
    "builtin",
    "annotators",
    "prompts",
    "files",
    "importing",
    "regions",
    "segments",
    "skeleton",
    "drawn",
}
SHARED = CORE | {
    "settings",
    "database",
    "presets",
    "stacks",
    "strokes",
    "advice",
    "editing",
    "painting",
    "access",
    "accounts",
    "lock",
}
SERVICES = {
    "services",
    "edits",
    "models",
    "warming",
    "outcome",
    "resolve",
    "stacking",
    "shelf",
    "restored",
    "grids",
    "sight",
    "inspector",
    "control_maps",
    "trainings",
    "jobs",
    "library",
    "gallery",
    "datasets",
}
ENGINE = {"library", "control", "adapters", "engine"}
APP = {"app", "server", "sharing"}  # the wiring, and the process around the page
WIRING = APP | {"bench", "__main__"}  # these may import everything
MAY_IMPORT = {
    **dict.fromkeys(CORE, CORE),
    **dict.fromkeys(SHARED - CORE, SHARED),
    "library": SHARED,
    "gallery": SHARED,
    "datasets": SHARED | {"gallery"},
    "jobs": SHARED,
    "resolve": SHARED | {"library", "control_maps", "stacking"},
    "stacking": SHARED | {"library"},
    "shelf": SHARED | {"library", "models", "stacking"},
    "restored": SHARED | {"library", "gallery", "stacking"},
    "models": SHARED | {"library", "gallery"},
    "control_maps": SHARED | {"library"},
    "sight": SHARED | SERVICES,
    "inspector": SHARED | SERVICES,
    "warming": SHARED | {"library", "jobs", "resolve"},
    "services": SHARED | SERVICES,
    "edits": SHARED | SERVICES,
    "grids": SHARED | SERVICES,
    "trainings": SHARED | {"library", "jobs", "datasets"},
    "outcome": SHARED | {"jobs", "gallery"},
    "control": CORE | {"library"},
    "adapters": CORE | {"library"},
    "engine": CORE | {"library", "control", "adapters"},
    "training": CORE | ENGINE | {"datasets"},
    "starter": CORE | {"control", "engine", "training"},
    "worker": CORE | ENGINE,
    "api": SHARED | SERVICES,
    "ui": SHARED | SERVICES,
    "cli": SHARED | SERVICES,
    "environment": {"errors"},
    "doctor": SHARED | {"library", "environment"},
}
WITH_TORCH = {"control", "adapters", "engine", "training", "starter", "worker", "bench"}
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "xformers", "spandrel"}
HOMES = {"gradio": APP | {"ui"}, "fastapi": APP | {"api"}, "uvicorn": APP}


def modules() -> list[tuple[str, Path]]:
    """Every file of studio/ with its layer: the first folder, or the module itself; `studio/__init__.py` has none."""
    return [
        (path.relative_to(ROOT).parts[0].removesuffix(".py"), path)
        for path in ROOT.rglob("*.py")
        if path != ROOT / "__init__.py"
    ]


def imports(path: Path) -> set[str]:
    """Dotted names of everything the file imports, in functions too; relative imports are banned by ruff (TID252)."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_every_module_has_a_row():
    assert {layer for layer, _ in modules()} <= set(MAY_IMPORT) | WIRING


def test_layers_import_only_downwards():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for layer, path in modules()
        for name in imports(path)
        if layer in MAY_IMPORT
        and name.startswith("studio.")
        and name.split(".")[1] not in MAY_IMPORT[layer] | {layer, "__version__"}
    ]
    assert not wrong


def test_torch_stays_in_the_torch_layer():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for layer, path in modules()
        for name in imports(path)
        if layer not in WITH_TORCH and name.split(".")[0] in HEAVY
    ]
    assert not wrong


def test_layers_without_torch_import_none_that_has_it():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for layer, path in modules()
        for name in imports(path)
        if layer not in WITH_TORCH | WIRING and name.startswith("studio.") and name.split(".")[1] in WITH_TORCH
    ]
    assert not wrong


def test_web_frameworks_stay_in_the_front_ends():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for layer, path in modules()
        for name in imports(path)
        if layer not in HOMES.get(name.split(".")[0], {layer})
    ]
    assert not wrong


def test_the_launcher_and_set_up_need_the_standard_library_alone():
    for path in (ROOT.parent / "launch.py", ROOT / "environment.py", ROOT / "errors.py"):
        foreign = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
        assert foreign <= {"studio"}
