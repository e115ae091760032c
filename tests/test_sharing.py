"""A share link without a network: the tunnel program is a script that says what the real one would."""

import sys
from pathlib import Path

import pytest
from gradio import tunneling

from studio import sharing
from studio.errors import StartError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
SERVER = "127.0.0.1:7000"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a tunnel program in place of gradio's; it says the line and stays, as the real one does."""

    def put(line: str) -> Path:
        file = tmp_path / "frpc"
        file.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "{line}"\nexec cat\n')
        file.chmod(0o755)
        monkeypatch.setattr(tunneling, "BINARY_PATH", str(file))
        return tmp_path / "asked"

    yield put
    sharing.close_tunnels()


def test_the_link_is_what_the_tunnel_says(program):
    asked = program("start proxy success: https://x.gradio.live")
    assert sharing.open_tunnel(7861, SERVER) == "https://x.gradio.live"
    words = asked.read_text().split()
    assert words[words.index("-l") + 1] == "7861"
    assert words[words.index("--server_addr") + 1] == SERVER


def test_the_tunnel_ends_with_the_studio(program):
    program("start proxy success: https://x.gradio.live")
    sharing.open_tunnel(7861, SERVER)
    process = tunneling.CURRENT_TUNNELS[-1].proc
    sharing.close_tunnels()
    assert process.poll() is not None
    assert not tunneling.CURRENT_TUNNELS


def test_a_server_that_refuses_is_one_sentence(program, capfd):
    program("login to server failed: token is wrong")
    with pytest.raises(StartError, match=r"could not be opened: [^\n]+\.$") as caught:
        sharing.open_tunnel(7861, SERVER)
    assert "goes on locally" in caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_without_a_network_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tunneling, "BINARY_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(tunneling, "BINARY_FOLDER", str(tmp_path))
    monkeypatch.setattr(tunneling, "BINARY_URL", "http://127.0.0.1:9/frpc")
    with pytest.raises(StartError, match="could not be opened"):
        sharing.open_tunnel(7861, SERVER)


def test_a_server_address_that_is_none_is_refused(program):
    program("start proxy success: https://x.gradio.live")
    with pytest.raises(StartError, match="could not be opened"):
        sharing.open_tunnel(7861, "nonsense")
