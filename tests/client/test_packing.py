"""Packing and unpacking: what goes in comes out, the same bytes each time, and nothing that unpacks badly does harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from styx.client.packing import Packed, pack
from styx.errors import UsageError
from styx.protocol import parcel
from styx.protocol.parcel import BadParcel, unpack


def packed(folder: Path, into: Path) -> Packed:
    with into.open("wb") as file:
        return pack(folder, file)


def tree(folder: Path) -> dict[str, Any]:
    """Everything in a folder that matters to a program."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "a" / "empty").mkdir(parents=True)
    (source / "a" / "run.sh").write_text("#!/bin/sh\n")
    (source / "a" / "run.sh").chmod(0o700)
    (source / "große Datei.bin").write_bytes(os.urandom(300_000))
    (source / ("x" * 200)).write_text("a long name")
    with open(os.fsencode(source) + b"/not-utf8-\xff", "wb") as file:
        file.write(b"bytes")
    (source / "up").symlink_to("a/run.sh")
    (source / "a" / "down").symlink_to("../a/../up")
    (source / "nowhere").symlink_to("not/there")
    target.mkdir()
    about = packed(source, tmp_path / "p")
    assert about.sha256 == hashlib.sha256((tmp_path / "p").read_bytes()).hexdigest()
    assert (about.files, about.left_out) == (4, ())
    unpack(str(tmp_path / "p"), str(target))
    assert tree(target) == tree(source)
    # the same again, elsewhere and later, is the same parcel
    os.utime(source / "a" / "run.sh", (5, 5))
    again = tmp_path / "elsewhere"
    source.rename(again)
    assert packed(again, tmp_path / "q").sha256 == about.sha256
    (again / "a" / "run.sh").chmod(0o600)
    assert packed(again, tmp_path / "q").sha256 != about.sha256


def test_what_stays_behind(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / ".git").mkdir(parents=True)
    (source / ".git" / "HEAD").write_text("x")
    (source / "build").mkdir()
    (source / "build" / "big").write_text("x")
    (source / "sub").mkdir()
    (source / "sub" / ".gitignore").write_text("*.tmp\n!keep.tmp\n")
    for name in ("a.tmp", "keep.tmp", "code.py"):
        (source / "sub" / name).write_text(name)
    (source / ".gitignore").write_text("/build/\n")
    (source / "outside").symlink_to("/etc/passwd")
    (source / "sly").symlink_to("sub/../../in")
    (source / "there").symlink_to("sub")
    (source / "through").symlink_to("there/code.py")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket")[:100])
        about = packed(source, tmp_path / "p")
    (tmp_path / "out").mkdir()
    unpack(str(tmp_path / "p"), str(tmp_path / "out"))
    assert set(tree(tmp_path / "out")) == {
        ".gitignore", "sub", "sub/.gitignore", "sub/keep.tmp", "sub/code.py", "there",
    }  # fmt: skip
    assert set(about.left_out) == {"outside", "sly", "through", "socket"}


def test_what_cannot_be_packed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        packed(tmp_path / "nothing", tmp_path / "p")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no folder"):
        packed(tmp_path / "file", tmp_path / "p")
    source = tmp_path / "in"
    source.mkdir()
    (source / "x").write_bytes(b"12345")
    monkeypatch.setattr("styx.client.packing.MAX_BYTES", 4)
    with pytest.raises(UsageError, match="GB") as caught:
        packed(source, tmp_path / "p")
    assert "gitignore" in caught.value.hint
    monkeypatch.setattr("styx.client.packing.MAX_ENTRIES", 0)
    with pytest.raises(UsageError, match="more than 0 files"):
        packed(source, tmp_path / "p")


Member = tuple[str, bytes, str, bytes]  # name, type, linkname, content


def made(path: Path, *members: Member, **more: Any) -> Path:
    with (
        gzip.open(path, "wb") as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, kind, to, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size, member.mode = kind, to, len(content), 0o4777
            archive.addfile(member, io.BytesIO(content))
    return path


FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("/etc/x", FILE, "", b"")],
        [("../x", FILE, "", b"")],
        [("a/../../x", FILE, "", b"")],
        [("a//x", FILE, "", b"")],
        [("./x", FILE, "", b"")],
        [("a", LINK, "/etc", b"")],
        [("a", LINK, "..", b"")],
        [("a/b", LINK, "../../x", b"")],
        [("a", LINK, "", b"")],
        [("a", LINK, "b", b""), ("a/x", FILE, "", b"")],
        [("a/x", FILE, "", b""), ("a", LINK, "b", b"")],
        [("a", FILE, "", b""), ("a", FILE, "", b"")],
        [("a", FILE, "", b""), ("a/b", FILE, "", b"")],
        [("a", LINK, "b", b""), ("a", LINK, "c", b"")],
        # a link whose words stay inside while its way leads out
        [("d/e/s", LINK, "../..", b""), ("u", LINK, "d/e/s/../..", b"")],
        [("b", FILE, "", b""), ("a", HARD, "b", b"")],
        [("a", tarfile.CHRTYPE, "", b"")],
        [("a", tarfile.FIFOTYPE, "", b"")],
    ],
)  # fmt: skip
def test_what_would_do_harm_is_refused(tmp_path: Path, members: list[Member]) -> None:
    path = made(tmp_path / "p", *members)
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(BadParcel):
        unpack(str(path), str(target))
    assert {entry.name for entry in tmp_path.iterdir()} == {"p", "out"}
    assert not [
        link for link in target.rglob("*") if link.is_symlink() and not str(link.resolve()).startswith(str(target))
    ]


def test_bits_that_give_rights_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    unpack(str(made(tmp_path / "p", ("a", FILE, "", b"x"))), str(tmp_path / "out"))
    assert (tmp_path / "out" / "a").stat().st_mode & 0o7000 == 0


def test_bombs(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    one = ("a", FILE, "", bytes(1 << 20))
    with pytest.raises(BadParcel, match="bytes"):
        unpack(str(made(tmp_path / "p", one)), str(target), most_bytes=1 << 19)
    with pytest.raises(BadParcel, match="entries"):
        unpack(str(made(tmp_path / "p", *[(f"f{n}", FILE, "", b"") for n in range(20)])), str(target), most_entries=10)
    # a header that says that the next is a gigabyte long
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(tmp_path / "p", "wb") as squeezed:
        squeezed.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            squeezed.write(bytes(1 << 20))
    with pytest.raises(BadParcel):
        unpack(str(tmp_path / "p"), str(target))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_and_made_up_parcels(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever the bytes are: it is unpacked, or refused in words, and nothing appears outside of the folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    good = made(folder / "p", ("d", FOLDER, "", b""), ("d/a", FILE, "", b"hello" * 100), ("l", LINK, "d/a", b""))
    raw = bytearray(gzip.decompress(good.read_bytes()))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    content = gzip.compress(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    good.write_bytes(content)
    (folder / "out").mkdir()
    try:
        unpack(str(good), str(folder / "out"), most_bytes=1 << 20, most_entries=100)
    except BadParcel:
        pass
    except OSError as error:
        if error.errno is None:  # else it is the file system's own word: a name that is too long
            raise
    assert {entry.name for entry in folder.iterdir()} == {"p", "out"}


def test_only_the_standard_library_is_needed() -> None:
    names = [line for line in Path(parcel.__file__).read_text().splitlines() if line.startswith(("import", "from"))]
    assert not [line for line in names if "styx" in line or "msgspec" in line]
