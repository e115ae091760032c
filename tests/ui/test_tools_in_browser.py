"""Tools in the Models section: two LoRAs become one with the mouse, and what is wrong is said beside its field."""

import pytest
from torch.linalg import matrix_rank

from tests.api.test_tools import attention, product, write_lora
from tests.library.headers import lora, write


@pytest.fixture(scope="module")
def loras(served):
    """Two LoRAs for the starter, and one for another base model."""
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    folder = served.studio.settings.paths.models / "loras"
    for seed, name in enumerate(("ink", "oil")):
        write_lora(folder, name, seed)
    write(folder / "huge.safetensors", lora("sdxl", only="attn2"))
    served.studio.library.refresh()
    yield folder
    served.studio.tools.close()


@pytest.fixture
def tools(page, loras):
    page.get_by_role("tab", name="Models").click()
    page.click("#models-tools > summary")
    return page


def pick(page, field: str, name: str) -> list[str]:
    """Choose a model in that field with the mouse; what there was to choose."""
    page.click(f"#tool-{field}")
    page.wait_for_selector(f"#tool-{field}-list [data-name='{name}']")
    offered = page.locator(f"#tool-{field}-list li[data-name]")
    names = [offered.nth(index).get_attribute("data-name") for index in range(offered.count())]
    page.click(f"#tool-{field}-list [data-name='{name}']")
    return names


def test_two_loras_become_one_with_the_mouse(tools, loras):
    assert tools.is_disabled("#tool-start")
    tools.locator(".mq-tool-plan", has_text="Choose 2 LoRAs first.").wait_for()
    assert {"ink", "oil", "huge"} <= set(pick(tools, "files-0", "ink"))
    assert pick(tools, "files-1", "oil") == ["ink", "oil"]  # huge is for another base model
    tools.get_by_label("Weight of First", exact=True).fill("0.5")
    tools.locator(".mq-tool-plan", has_text="these 2 LoRAs do at their weights: ink-oil-merged.safetensors").wait_for()
    tools.fill("#tool-name", "both")
    tools.locator(".mq-tool-plan", has_text="both.safetensors, about").wait_for()
    tools.click("#tool-start")
    tools.locator(".mq-download[data-state=done]", has_text="both.safetensors").wait_for()
    wanted = 0.5 * product(loras / "ink.safetensors") + product(loras / "oil.safetensors")
    assert (product(loras / "both.safetensors") - wanted).norm() < 2e-3 * wanted.norm()
    tools.locator("#models .mq-model-name", has_text="both").wait_for()
    assert tools.input_value("#tool-files-0") == "ink"
    tools.get_by_role("button", name="Show both").click()
    tools.locator(".mq-details h2", has_text="both").wait_for()


def start(page, name, made):
    """Name the result, start, and wait until it is finished."""
    page.fill("#tool-name", name)
    page.locator(".mq-tool-plan", has_text=name).wait_for()
    page.click("#tool-start")
    page.locator(".mq-download[data-state=done]", has_text=made).wait_for(timeout=240_000)


def test_a_smaller_lora_is_made_and_baked_with_the_mouse(tools, loras, served):
    tools.click("[data-tool=resize]")
    pick(tools, "files-0", "ink")
    tools.fill("#tool-rank", "2")
    start(tools, "slim", "slim.safetensors")
    assert matrix_rank(product(loras / "slim.safetensors"), rtol=1e-2) == 2

    tools.click("[data-tool=bake]")
    pick(tools, "checkpoint", "starter-desk")
    pick(tools, "files-0", "slim")
    tools.get_by_label("Weight of LoRA", exact=True).fill("0.5")
    start(tools, "slimmed", "slimmed")
    desk = next(entry for entry in served.studio.library.entries("checkpoint") if entry.name == "starter-desk")
    wanted = 0.5 * product(loras / "slim.safetensors")
    change = attention(loras.parent / "checkpoints" / "slimmed") - attention(desk.path)
    assert (change - wanted).norm() < 1e-2 * wanted.norm()
    tools.get_by_role("button", name="Show slimmed").click()
    tools.locator(".mq-details h2", has_text="slimmed").wait_for()


def test_what_is_wrong_is_said_beside_its_field_and_nothing_typed_is_lost(tools, loras):
    tools.click("[data-tool=respell]")
    pick(tools, "files-0", "ink")
    tools.fill("#tool-name", "oil")
    tools.locator("[data-field=name] .mq-tool-error", has_text="is there already").wait_for()
    tools.fill("#tool-name", "again")
    tools.select_option("#tool-spelling", "kohya")
    tools.click("#tool-start")
    tools.locator(".mq-tool-form [role=alert]:visible", has_text="spelled as kohya already").wait_for()
    assert not (loras / "again.safetensors").exists()
    tools.reload()
    tools.wait_for_selector("#sketch-pad[data-ready]")
    tools.get_by_role("tab", name="Models").click()
    tools.click("#models-tools > summary")
    assert [tools.input_value(f"#tool-{field}") for field in ("files-0", "spelling", "name")] == [
        "ink",
        "kohya",
        "again",
    ]


def test_every_tool_asks_for_its_own_fields(tools):
    asked = {
        "merge-loras": ["files", "rank", "name", "energy", "precision", "checkpoint"],
        "bake": ["checkpoint", "files", "name"],
        "merge": ["files", "share", "name", "blocks"],
    }
    for tool, fields in asked.items():
        tools.click(f"[data-tool={tool}]")
        nodes = tools.locator(".mq-tool-form [data-field]")
        assert [nodes.nth(index).get_attribute("data-field") for index in range(nodes.count())] == fields
    assert pick(tools, "files-0", "starter-desk")
