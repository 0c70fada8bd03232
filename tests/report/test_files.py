import os
from pathlib import Path

import pytest

from lightning_invert.report.files import file_name, replace_file


def test_a_file_is_written_with_its_folder_and_written_anew(tmp_path):
    file = tmp_path / "deep" / "down" / "a.csv"
    replace_file(file, "κ\n")
    assert file.read_text(encoding="utf-8") == "κ\n"
    replace_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert [path.name for path in file.parent.iterdir()] == ["a.csv"]


@pytest.mark.skipif(os.name != "posix", reason="asks for a file's mode")
def test_a_file_may_be_read_by_whom_the_user_s_other_files_may_be(tmp_path):
    (tmp_path / "other").write_text("")
    replace_file(tmp_path / "a", "")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_on_a_full_disk_the_former_file_stays_and_nothing_beside_it(tmp_path, monkeypatch, step):
    file = tmp_path / "a.png"
    file.write_bytes(b"yesterday's")
    write = Path.write_bytes

    def full(self, data):
        if step == "write_bytes":
            write(self, b"hal")  # what a full disk took of it
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, step, full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"half of it")
    assert file.read_bytes() == b"yesterday's"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("label", ["forward", "round_trip", "forward_dataloader_1", "a-b.c", "κ"])
def test_a_safe_label_is_its_own_name(label):
    assert file_name(label) == label


LABELS = ["a/b", "a_b", "a b", "a\\b", "../../evil", "..", ".", "", "C:evil", "a\0b", "a" * 300,
          "a" * 301, "a\nb", "\ud800", "..evil", "evil"]  # fmt: skip


def test_every_label_has_a_name_of_its_own_inside_the_folder(tmp_path):
    names = [file_name(label) for label in LABELS]
    assert len(set(names)) == len(LABELS)
    for name in names:
        file = tmp_path / f"{name}_rank.png"
        file.write_bytes(b"")
        assert file.resolve().parent == tmp_path.resolve()
