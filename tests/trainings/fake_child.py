"""Stands where the process that trains would be: it speaks the protocol, and does as its run's trigger says.

"steady" takes its steps at once; "slow" waits for an order before each step; "fails" says why; "dies" says nothing;
"full" finds no room at its first save, and rests; "restful" is slow, and may end in a pause without a loss.
"""

import json
import sys
from pathlib import Path


def main(folder: Path) -> int:
    params = json.loads((folder / "params.json").read_text())
    order = json.loads((folder / "order.json").read_text())
    assert Path(order["dataset"]).is_dir()
    assert order["models"][params["checkpoint_id"]]["name"] == params["checkpoint"]
    for name in ("loading", "caching", "training"):
        say(folder, event="phase", name=name, done=0, total=0)
    ways = {"fails": fails, "dies": dies, "full": full, "slow": slow, "restful": slow}
    return ways.get(params["trigger"], steady)(folder, params)


def say(folder: Path, **event) -> None:
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(event) + "\n")
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def fails(folder: Path, _params) -> int:
    say(folder, event="error", error="It cannot learn.", hint="Do otherwise.", field="rank", wrong_use=True)
    return 1


def dies(_folder: Path, _params) -> int:
    sys.stderr.write("the sky fell\n")
    return 9


def full(folder: Path, params) -> int:
    say(folder, event="warning", step=1, text="The disk is full. The run waits, and nothing is lost.")
    say(folder, event="paused", step=1)
    return steady(folder, params) if heard() == "go" else 0


def steady(folder: Path, params) -> int:
    for step in range(begin(folder), params["steps"]):
        take(folder, params, step)
    return finish(folder, params["steps"])


def slow(folder: Path, params) -> int:
    for step in range(begin(folder), params["steps"]):
        word = heard()
        if word == "pause":
            say(folder, event="paused", step=step, kept=params["trigger"] == "restful", short=True)
            while (word := heard()) not in ("go", "stop", None):
                pass
            if word == "go":
                say(folder, event="resumed", step=step)
        if word in ("stop", None):
            (folder / "state").mkdir(exist_ok=True)
            (folder / "state" / "step").write_text(str(step))
            return finish(folder, step, stopped=True) if word else 0
        take(folder, params, step)
    return finish(folder, params["steps"])


def begin(folder: Path) -> int:
    state = folder / "state" / "step"
    return int(state.read_text()) if state.exists() else 0


def take(folder: Path, params, step: int) -> None:
    facts = {"loss": 0.5, "learning_rate": 1e-4, "seconds": 0.1 * (step + 1), "left": 1.0}
    say(folder, event="step", step=step + 1, steps=params["steps"], **facts)


def finish(folder: Path, step: int, *, stopped: bool = False) -> int:
    file = folder / "saves" / str(step) / "made.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(make_lora())
    made = [{"file": f"saves/{step}/made.safetensors", "kind": "lora", "layout": "kohya"}]
    say(folder, event="saved", step=step, files=made)
    (folder / "header.json").write_text(json.dumps({"ss_network_dim": "4"}))
    (folder / "samples").mkdir(exist_ok=True)
    (folder / "samples" / f"{step}-0.png").write_bytes(b"\x89PNG")
    say(folder, event="samples", step=step, files=[f"{step}-0.png"], prompts=["a cup"])
    say(folder, event="verdict", verdict="best", text="About best here.", best_step=step)
    say(folder, event="done", files=made, best_step=step, scores={str(step): {"similarity": 0.5}}, stopped=stopped)
    return 0


def make_lora() -> bytes:
    header = json.dumps(
        {
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": {
                "dtype": "F16",
                "shape": [1, 2],
                "data_offsets": [0, 4],
            }
        }
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def heard() -> str | None:
    line = sys.stdin.readline()
    return json.loads(line)["do"] if line else None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
