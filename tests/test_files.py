"""Files are written whole or not at all, and never through a link."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from gpool_jax import files
from gpool_jax.errors import RunError


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "results.json"
    files.write(path, "old")
    written = files.writing(path)
    written.__enter__().write(b"half of the ne")
    with pytest.raises(ZeroDivisionError):
        written.gen.throw(ZeroDivisionError())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_kill_leaves_the_old_content_and_the_next_start_clears_up(tmp_path):
    path = tmp_path / "results.json"
    files.write(path, "old")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom gpool_jax import files\n"
        "with files.writing(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (tmp_path / ".mine.tmp").write_text("the user's")
    assert len(os.listdir(tmp_path)) == 3
    files.remove_leftovers(tmp_path, older_than=60.0)
    assert len(os.listdir(tmp_path)) == 3
    files.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".mine.tmp", "results.json"]


def test_links_are_replaced_and_what_they_point_at_is_not_touched(tmp_path):
    (tmp_path / "precious").write_text("precious")
    link = tmp_path / "report.html"
    link.symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match="cannot be written"):
        files.append(link, "line")
    files.write(link, "page")
    assert (link.read_text(), link.is_symlink()) == ("page", False)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_file_has_the_mode_of_any_other(tmp_path):
    (tmp_path / "plain").touch()
    files.write(tmp_path / "ours", "x")
    files.append(tmp_path / "log", "x")
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "ours", "log")}
    assert len(modes) == 1


def test_a_full_disk_is_one_line(tmp_path):
    path = tmp_path / "results.json"
    files.write(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(RunError, match=r"results.json cannot be written: File too large\.$"):
            files.write(path, "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


def test_json_holds_finite_numbers_only():
    values = {"rows": [{"low": 0.5, "high": 1.0}], "n": 3, "none": None, "on": True}
    assert json.loads(files.to_json(values)) == values
    assert files.to_json({"a": 1}, indent=None) == '{"a": 1}\n'
    values["rows"].append({"low": float("-inf")})
    with pytest.raises(RunError, match=r"the number rows\[1\]\.low is -inf"):
        files.to_json(values)
