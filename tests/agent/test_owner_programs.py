"""What a program gets from its owner, and what the owner says of how it ended."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest
from owner_talk import Talk, configured, owner, spec

from styx.core.states import Outcome


@pytest.mark.parametrize(
    ("line", "code"),
    [("true", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)],
)
def test_the_exit_code_is_the_programs_own(tmp_path: Path, line: str, code: int) -> None:
    with configured(tmp_path) as talk:
        ending = talk.run(spec(line, shell=True))
        assert (ending.outcome, ending.code) == (Outcome.EXITED, code)
        assert ending.pid > 0
        assert talk.started == [1]


def test_a_death_by_signal_names_it(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        assert talk.run(spec("kill -9 $$", shell=True)).reason == "killed by SIGKILL"


def test_what_cannot_run_ends_as_in_a_shell(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program\n")
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    bare = tmp_path / "bare"
    bare.write_bytes(b"\x00\x01no format")
    bare.chmod(0o755)
    cases = [
        (spec("no-such-program-anywhere"), 127, "command not found"),
        (spec(""), 127, "the command is empty"),
        (spec("/no/such/file"), 127, "no such file"),
        (spec(str(plain)), 126, "Permission denied"),
        (spec(str(tmp_path)), 126, "is a folder"),
        (spec(str(script)), 126, "the interpreter"),
        (spec(str(bare)), 126, "not a program of this machine"),
        (spec("plain", env=(("PATH", str(tmp_path)),)), 126, "not executable"),
        (spec("true", workdir="/no/such/folder"), 126, "cannot enter the folder '/no/such/folder'"),
        (spec("true", workdir=str(plain)), 126, "Not a directory"),
        (spec("true", "a\0b"), 126, "null"),
        (spec("true", "x" * 3_000_000), 126, "too long"),
    ]
    with configured(tmp_path / "owner") as talk:
        for attempt, (what, code, words) in enumerate(cases, 1):
            ending = talk.run(what, attempt)
            assert (ending.outcome, ending.code) == (Outcome.EXITED, code), words
            assert words in ending.reason
            said = talk.text(attempt, 2)
            assert said.startswith("styx: ")
            assert words in said
            assert said.count("\n") == 1


def test_a_program_is_looked_for_on_its_own_path(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "tool").write_text(f"#!/bin/sh\necho {folder.name}\n")
        (folder / "tool").chmod(0o755)
    both = (("PATH", f"{first}:{second}:{os.environ['PATH']}"),)
    with configured(tmp_path / "owner") as talk:
        talk.run(spec("tool", env=both), 1)
        assert talk.text(1) == "first\n"
        (first / "tool").unlink()  # the owner knew where it was
        talk.run(spec("tool", env=both), 2)
        assert talk.text(2) == "second\n"
        assert talk.run(spec("./tool", workdir=str(second)), 3).code == 0


def test_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYX_TOKEN", "hidden")
    monkeypatch.setenv("STYX_API_KEY", "hidden")
    monkeypatch.setenv("STYX_ARRAY_SIZE", "of a task around the agent")
    monkeypatch.setenv("STYX_SERVER_URL", "http://here")
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("OVERRIDDEN", "no")
    with configured(tmp_path) as talk:
        talk.start(spec("env", env=(("OVERRIDDEN", "yes"), ("EMPTY", ""))), 5)
        talk.ends(5)
        seen = dict(line.split("=", 1) for line in talk.text(5).splitlines())
        assert "hidden" not in talk.text(5)
        assert "STYX_TOKEN" not in seen
        assert "STYX_ARRAY_SIZE" not in seen
        assert "STYX_ARRAY_INDEX" not in seen
        assert "STYX_RESULTS" not in seen
        assert "CUDA_VISIBLE_DEVICES" not in seen or "CUDA_VISIBLE_DEVICES" in os.environ
        assert seen["STYX_SERVER_URL"] == "http://here"
        assert (seen["INHERITED"], seen["OVERRIDDEN"], seen["EMPTY"]) == ("yes", "yes", "")
        assert (seen["STYX_JOB_ID"], seen["STYX_TASK_ID"], seen["STYX_TASK_NAME"]) == ("the-job", "the-task", "name")
        assert seen["STYX_ATTEMPT"] == "1"


def test_an_element_of_an_array_knows_which(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        line = 'echo "$STYX_ARRAY_INDEX $STYX_ARRAY_SIZE $STYX_TASK_ID"'
        talk.start(spec(line, shell=True, array=3), 1, 2, 3)
        talk.ends(1, 2, 3)
        assert [talk.text(a) for a in (1, 2, 3)] == [f"{i} 3 the-task.{i}\n" for i in range(3)]


def test_folder_session_input_and_limits(tmp_path: Path) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with configured(tmp_path / "owner") as talk:
        talk.run(spec("pwd; cat; ulimit -n; ulimit -c; ls -A", shell=True, workdir=str(tmp_path)), 1)
        assert talk.text(1).split()[:3] == [str(tmp_path), str(soft), "0"]
        code = "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0), sorted(map(int, os.listdir('/proc/self/fd')))[:3])"
        talk.run(spec(sys.executable, "-c", code), 2)
        assert talk.text(2).startswith("True [0, 1, 2]")
        talk.run(spec("ls -l /proc/self/fd", shell=True), 3)
        assert talk.text(3).count(" -> ") == 4  # the three, and the folder that ls itself reads
        talk.run(spec("grep", "-E", "SigIgn|SigBlk", "/proc/self/status"), 4)
        internal = 0b11 << 31  # 32 and 33 are glibc's own business
        assert [int(line.split()[1], 16) & ~internal for line in talk.text(4).splitlines()] == [0, 0]


def test_a_private_folder_is_empty_and_goes_when_its_attempt_is_forgotten(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        talk = it.talk(forget=False).configure()
        talk.run(spec("pwd; ls -A; mkdir -p a/b; echo x > a/b/c; chmod 500 a", shell=True), 1)
        folder = Path(talk.text(1).strip())
        assert folder.parent == tmp_path / "work"
        assert (folder / "a/b/c").exists()
        talk.forget = True
        talk.close()
        talk = it.talk().configure()
        talk.ends(1)
        for attempt in range(2, 6):
            talk.run(spec("pwd; ls -A", shell=True), attempt)
            assert Path(talk.text(attempt).strip()) != folder  # one line: nothing in it
        talk.close()
    assert not folder.exists()


def test_results(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "before").write_text("what came before")
    with configured(tmp_path / "owner") as talk:
        assert talk.run(spec('printf 42 > "$STYX_RESULT"', shell=True), 1).result == b"42"
        assert talk.run(spec('head -c 4096 /dev/zero > "$STYX_RESULT"', shell=True), 2).result == bytes(4_096)
        large = talk.run(spec('head -c 4097 /dev/zero > "$STYX_RESULT"; exit 3', shell=True), 3)
        assert (large.code, large.result) == (3, b"")
        assert "its result was dropped: 4097 bytes are more than 4096" in large.reason
        odd = talk.run(spec('mkfifo "$STYX_RESULT"', shell=True), 4)
        assert (odd.code, odd.result) == (0, b"")
        assert "no plain file" in odd.reason
        linked = talk.run(spec('ln -s /etc/passwd "$STYX_RESULT"', shell=True), 5)
        assert linked.result == b""
        assert talk.run(spec("true"), 6).result == b""
        talk.start(spec('cat "$STYX_RESULTS/before"', shell=True), 7, results=str(folder))
        talk.ends(7)
        assert talk.text(7) == "what came before"
    assert not list((tmp_path / "owner" / "results").iterdir())


def test_a_timeout_counts_from_the_start_and_holds_without_an_agent(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        talk = it.talk(forget=False).configure(cpus=1_000)
        talk.start(spec("sleep", "1000", timeout=100), 1, 2)
        talk.starts(1)
        talk.close()
        talk = it.talk().configure(cpus=1_000)
        for ending in talk.ends(1, 2):
            assert (ending.outcome, ending.code) == (Outcome.TIMED_OUT, 143)
            assert ending.ran >= 100
            assert ending.reason == "timed out after 0.1 s"
        talk.close()


def test_a_program_that_ends_in_time_has_not_timed_out(tmp_path: Path) -> None:
    with configured(tmp_path) as talk:
        assert talk.run(spec("true", timeout=60_000)).outcome is Outcome.EXITED


def test_durations(tmp_path: Path) -> None:
    with owner(tmp_path) as it:
        talk = it.talk(forget=False).configure()
        first = talk.run(spec("sleep", "0.2"))
        assert 200 <= first.ran < 60_000
        talk.close()
        talk = Talk(tmp_path).configure()
        again = talk.ends(1)[0]
        assert again.ran == first.ran
        assert again.ago >= first.ago
        talk.close()
