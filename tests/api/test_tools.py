import pytest
from safetensors.torch import load_file, save_file
from torch import Generator, randn, tensor
from torch.linalg import svdvals

from studio.access import LOCAL_USER
from studio.library.header import read_header

BASE = "starter-0ff5dfae"
BLOCK = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"


def write_lora(folder, name, seed):
    """A LoRA of rank 4 for one layer of the starter."""
    rng = Generator().manual_seed(seed)
    shapes = {"lora_down.weight": (4, 192), "lora_up.weight": (128, 4)}
    tensors = {f"{BLOCK}.{role}": randn(shape, generator=rng).half() for role, shape in shapes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors | {f"{BLOCK}.alpha": tensor(4.0)}, folder / f"{name}.safetensors", {"maquette.base": BASE})


@pytest.fixture
def loras(studio):
    folder = studio.settings.paths.models / "loras"
    for seed, name in enumerate(("ink", "oil")):
        write_lora(folder, name, seed)
    studio.library.refresh()
    yield folder
    studio.tools.close()


def body(**more):
    files = [{"name": "ink", "weight": 0.5}, {"name": "oil", "weight": 1.0, "text_weight": 0.0}]
    return {"tool": "merge-loras", "files": files, "name": "both", **more}


def product(file):
    found = load_file(file)
    down, up = (found[f"{BLOCK}.lora_{role}.weight"].float() for role in ("down", "up"))
    return up @ down * (found[f"{BLOCK}.alpha"] / len(down))


def test_what_is_planned_is_made_and_listed(studio, local, loras):
    plan = local.post("/api/v1/tools/plan", json=body()).json()
    assert plan["name"] == "both.safetensors"
    assert "these 2 LoRAs" in plan["text"]
    answer = local.post("/api/v1/tools/runs", json=body())
    assert answer.status_code == 201, answer.json()
    view = studio.tools.wait(answer.json()["id"], LOCAL_USER, 120)
    assert (view["state"], view["error"], view["done"]) == ("done", "", view["total"])
    wanted = 0.5 * product(loras / "ink.safetensors") + product(loras / "oil.safetensors")
    assert (product(loras / "both.safetensors") - wanted).norm() < 2e-3 * wanted.norm()
    rows = local.get("/api/v1/models", params={"q": "both"}).json()["models"]
    assert [(row["key"], row["kind"], row["base"]) for row in rows] == [(view["model"]["key"], "lora", BASE)]
    header = read_header(loras / "both.safetensors")
    assert sum(t.end - t.start for t in header.tensors.values()) == pytest.approx(plan["bytes"], rel=0.01)
    assert local.get("/api/v1/tools/runs").json() == [view]
    assert local.delete(f"/api/v1/tools/runs/{view['id']}", params={"forget": True}).json()["forgotten"]
    assert local.get("/api/v1/tools/runs").json() == []


def attention(folder):
    """The layer of a checkpoint's UNet that write_lora's files change."""
    found = (load_file(file) for file in (folder / "unet").glob("*.safetensors"))
    return next(tensors[LAYER].float() for tensors in found if LAYER in tensors)


def run(studio, local, **asked):
    """Have a file made, and the row of it in the library."""
    answer = local.post("/api/v1/tools/runs", json=asked)
    assert answer.status_code == 201, answer.json()
    view = studio.tools.wait(answer.json()["id"], LOCAL_USER, 240)
    assert (view["state"], view["error"], view["done"], view["notes"]) == ("done", "", view["total"], [])
    (row,) = local.get("/api/v1/models", params={"q": asked["name"]}).json()["models"]
    assert row["usable"], row
    return row


def test_a_lora_is_baked_extracted_and_half_of_it_mixed_in(studio, local, loras):
    made, desk = loras.parent / "checkpoints", next(e for e in studio.library.entries("checkpoint") if e.base == BASE)
    wanted = 0.5 * product(loras / "ink.safetensors")
    row = run(studio, local, tool="bake", checkpoint=desk.name, files=[{"name": "ink", "weight": 0.5}], name="inked")
    assert (row["kind"], row["base"]) == ("checkpoint", BASE)
    before, after = attention(desk.path), attention(made / "inked")
    assert (after - before - wanted).norm() < 1e-2 * wanted.norm()

    row = run(studio, local, tool="extract", files=[desk.name, "inked"], rank=4, name="what")
    assert (row["kind"], row["base"]) == ("lora", BASE)
    assert (product(loras / "what.safetensors") - wanted).norm() < 2e-2 * wanted.norm()

    run(studio, local, tool="merge", files=[desk.name, "inked"], share=0.5, name="half")
    assert (attention(made / "half") - (before + after) / 2).norm() < 1e-3 * after.norm()


def test_a_rank_is_cut_down_to_the_nearest_of_that_rank(studio, local, loras):
    run(studio, local, tool="resize", files=["ink"], rank=2, precision="fp32", name="small")
    whole, small = product(loras / "ink.safetensors"), product(loras / "small.safetensors")
    assert len(load_file(loras / "small.safetensors")[f"{BLOCK}.lora_down.weight"]) == 2
    lost = svdvals(whole)[2:].norm()
    assert (whole - small).norm() == pytest.approx(lost.item(), rel=1e-3)


WRONG = [
    ({"tool": "melt"}, "tool", "no such tool"),
    ({"files": ["ink"]}, "files", "1 LoRAs are given"),
    ({"files": ["ink", "gone"]}, "files", "no lora 'gone'"),
    ({"files": ["ink", {"name": "oil", "weight": "much"}]}, "files", "no number"),
    ({"name": " "}, "name", "no name"),
    ({"name": "../up"}, "name", "no name for a file"),
    ({"name": "ink"}, "name", "there already"),
    ({"rank": 1.5}, "rank", "Rank cannot be"),
    ({"precision": "fp7"}, "precision", "Precision cannot be"),
    ({"colour": "red"}, "colour", "has no field"),
]


@pytest.mark.parametrize(("change", "field", "said"), WRONG)
def test_what_is_wrong_names_its_field(local, loras, change, field, said):
    for route in ("plan", "runs"):
        answer = local.post(f"/api/v1/tools/{route}", json=body(**change))
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert said in answer.json()["detail"]
    assert local.get("/api/v1/tools/runs").json() == []


def test_what_the_process_refuses_names_its_field(studio, local, loras):
    asked = {"tool": "respell", "files": ["ink"], "spelling": "kohya", "name": "again"}
    view = studio.tools.wait(local.post("/api/v1/tools/runs", json=asked).json()["id"], LOCAL_USER, 120)
    assert view["state"] == "failed"
    assert "spelled as kohya already" in view["error"]
    assert view["field"]
    assert view["request"] == asked
    assert not (loras / "again.safetensors").exists()


def test_guests_may_not(ann, loras):
    for path in ("plan", "runs"):
        answer = ann.post(f"/api/v1/tools/{path}", json=body())
        assert (answer.status_code, answer.json()["detail"]) == (403, "Guests cannot make model files.")
    for path in ("", "/runs"):
        assert ann.get(f"/api/v1/tools{path}").status_code == 403
    assert ann.delete("/api/v1/tools/runs/x").status_code == 403
    assert not (loras / "both.safetensors").exists()


def test_the_table_names_every_field_of_every_tool(local):
    rows = {row["name"]: row for row in local.get("/api/v1/tools").json()}
    assert list(rows) == ["merge-loras", "bake", "extract", "resize", "respell", "merge"]
    assert all(row["label"] and row["about"] and row["comes"] for row in rows.values())
    assert [field["name"] for field in rows["resize"]["fields"]][:3] == ["files", "rank", "name"]
