"""The order in the script, and the archive, as far as both can be told without starting a machine."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from styx.errors import StyxError, UsageError
from styx.providers.bootstrap import LIMIT, BootstrapOrder, certificates, user_data
from styx.providers.bootstrap.bundle import LIBRARIES, arch_of, build, own, tag_of
from styx.providers.bootstrap.fetch import wheels_in

SHA = "0" * 64
PEM = "-----BEGIN CERTIFICATE-----\n" + "QUJD" * 16 + "\n-----END CERTIFICATE-----\n"


def order(**more: Any) -> BootstrapOrder:
    given: dict[str, Any] = {
        "server_url": "https://s",
        "join_token": "styx_join_x",
        "archives": (("cp311", "x86_64", SHA),),
    }
    return BootstrapOrder(**{**given, **more})


def carried(script: str) -> dict[str, Any]:
    """The order as a machine reads it."""
    text = script.split("order.new\" <<'END_OF_STYX'\n")[1].partition("END_OF_STYX")[0]
    return dict(json.loads(base64.b64decode(text)))


def test_only_the_order_differs_from_one_machine_to_the_next() -> None:
    one, other = user_data(order(token="styx-a")), user_data(order(token="styx-b", labels=(("k", 'a "b" \\'),)))
    first, second = (script.split("order.new\" <<'END_OF_STYX'\n") for script in (one, other))
    assert first[0] == second[0]
    assert carried(one)["token"] == "styx-a"
    assert carried(other)["labels"] == [["k", 'a "b" \\']]
    assert "styx_join_x" not in repr(order())
    for shell in ("dash", "bash", "busybox"):
        try:
            checked = subprocess.run(
                [shell, *(["sh"] if shell == "busybox" else []), "-n"], input=one, text=True, check=False
            )
        except FileNotFoundError:
            continue
        assert checked.returncode == 0, shell


def test_it_fits_with_a_private_certificate_and_says_so_when_it_does_not() -> None:
    about = "subject=CN = mine\n" + PEM.replace("QUJD" * 16, "QUJD" * 400)
    script = user_data(order(ca=about))
    assert len(script) <= LIMIT
    assert carried(script)["ca"].startswith("-----BEGIN")
    with pytest.raises(UsageError, match="bytes, more than"):
        user_data(order(ca=PEM * 200))
    with pytest.raises(UsageError, match="PEM"):
        certificates("no certificate")


@pytest.mark.parametrize(
    "wrong",
    [
        {"end_command": 'echo "x"'}, {"end_command": "a\nb"}, {"server_url": "http://ä"}, {"join_token": 'a"b'}, {"token": "\\"},
        {"archives": ()}, {"idle_seconds": 0}, {"busy_seconds": -1}, {"idle_seconds": 1 << 40}, {"watch": "azure"},
    ],
)  # fmt: skip
def test_an_order_that_no_machine_could_carry_out_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        user_data(order(**wrong))


def test_the_same_files_are_the_same_archive(tmp_path: Path) -> None:
    one, two = build(tmp_path / "a", *own()), build(tmp_path / "b", *own())
    assert one.sha256 == two.sha256
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.size < 2 << 20
    with tarfile.open(one.path) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {*LIBRARIES, "styx", "styx_orchestrator.dist"}
    assert not any(name.startswith("/") or ".." in name or name.endswith(".pyc") for name in names)
    assert not any(name.startswith(("styx/server", "styx/store", "styx/runtime", "styx/cli")) for name in names)


def test_another_python_is_made_of_wheels(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels" / "cp312-aarch64"
    wheels.mkdir(parents=True)
    for name in LIBRARIES[:2]:
        with zipfile.ZipFile(wheels / f"{name}-1.0-cp312-cp312-linux_aarch64.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
            wheel.writestr(f"{name}/_core.so", "elf")
            wheel.writestr(f"{name}-1.0.data/scripts/x", "no")
            wheel.writestr("../outside", "no")
    assert wheels_in(tmp_path) == [("cp312", "aarch64", wheels)]
    with pytest.raises(StyxError, match="no wheel of websockets"):
        build(tmp_path, "cp312", "aarch64", wheels)
    with zipfile.ZipFile(wheels / "websockets-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("websockets/__init__.py", "")
    made = build(tmp_path, "cp312", "aarch64", wheels)
    with tarfile.open(made.path) as archive:
        names = archive.getnames()
    assert {"msgspec/_core.so", "websockets/__init__.py", "styx/agent/main.py"} <= set(names)
    assert not [name for name in names if "outside" in name or "scripts" in name]
    (wheels / "psutil-1.0-cp312-cp312-linux_aarch64.whl").write_bytes(b"not a zip")
    with pytest.raises(StyxError, match="cannot be made"):
        build(tmp_path, "cp312", "aarch64", wheels)


def test_the_words_people_have_for_them() -> None:
    assert (tag_of("3.11"), tag_of("3.14")) == ("cp311", "cp314")
    assert (arch_of("arm64"), arch_of("AMD64"), arch_of("aarch64")) == ("aarch64", "x86_64", "aarch64")
    for python in ("3.10", "2.7", "3", "3.x", "3.12.1"):
        with pytest.raises(UsageError):
            tag_of(python)
    with pytest.raises(UsageError):
        arch_of("vax")


def test_the_server_keeps_what_a_machine_may_have_been_told_of(tmp_path: Path) -> None:
    import asyncio

    from styx.errors import NotFound
    from styx.runtime.bundles import Bundles

    async def main() -> None:
        for age in range(5):
            old = tmp_path / f"{own()[0]}-{own()[1]}-{age:064x}.tar.gz"
            old.write_bytes(b"old")
            os.utime(old, (1_000 + age, 1_000 + age))
        bundles = Bundles(tmp_path)
        ((tag, arch, sha256),) = await bundles.known()
        assert (tag, arch) == own()
        assert (await bundles.find(tag, arch)).name == f"{tag}-{arch}-{sha256}.tar.gz"
        assert (await bundles.find(tag, arch, f"{4:064x}")).read_bytes() == b"old"
        for wrong in ((tag, arch, f"{1:064x}"), ("cp399", arch, ""), ("..", "..", ""), (tag, arch, "../../x")):
            with pytest.raises(NotFound):
                await bundles.find(*wrong)
        wheels = tmp_path / "wheels" / "cp399-aarch64"
        wheels.mkdir(parents=True)
        for name in LIBRARIES:
            with zipfile.ZipFile(wheels / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr(f"{name}/__init__.py", "")
        assert [known[:2] for known in await bundles.known()] == [own(), ("cp399", "aarch64")]

    asyncio.run(main())
