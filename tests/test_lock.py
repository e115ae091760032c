import os
import subprocess
import sys

import pytest

from studio.errors import StartError, StorageError
from studio.lock import Running, StudioLock, running_studio

HOLD = """
import sys
from pathlib import Path
from studio.lock import StudioLock
lock = StudioLock(Path(sys.argv[1]))
lock.acquire()
lock.announce(7861, "secret")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_nobody_holds_has_no_studio(tmp_path):
    assert running_studio(tmp_path / ".lock") is None
    with StudioLock(tmp_path / ".lock"):
        pass
    assert running_studio(tmp_path / ".lock") is None


def test_the_holder_is_found_with_its_port(tmp_path, holder):
    assert running_studio(tmp_path / ".lock") == Running(pid=holder.pid, port=7861, key="secret")


def test_a_second_studio_is_refused_and_told_the_port(tmp_path, holder):
    with pytest.raises(StartError, match=r"http://127\.0\.0\.1:7861"):
        StudioLock(tmp_path / ".lock").acquire()


def test_a_killed_holder_leaves_the_folder_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert running_studio(tmp_path / ".lock") is None
    with StudioLock(tmp_path / ".lock"):
        assert running_studio(tmp_path / ".lock") == Running(pid=os.getpid(), port=0)


def test_a_command_without_a_page_is_named_as_such(tmp_path):
    with StudioLock(tmp_path / ".lock"), pytest.raises(StartError, match="Another command"):
        StudioLock(tmp_path / ".lock").acquire()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        StudioLock(tmp_path / "file" / ".lock").acquire()
