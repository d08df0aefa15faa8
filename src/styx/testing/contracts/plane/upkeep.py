"""What the keeper of a control plane does: tokens, figures, dropping what is old, backups."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from styx.compose import ControlPlane
from styx.errors import NotFound, SpecError, StoreError, UsageError
from styx.protocol.verbs import Verbs
from styx.testing.contracts.plane.scenes import Scenes, a_moment_later, job, sh

__all__ = ["Upkeep"]


class Upkeep(Scenes):
    def test_tokens_and_figures(self, tmp_path: Path) -> None:
        async def body(plane: Verbs) -> None:
            assert (await plane.health()).status == "healthy"
            before = {token.token_id for token in await plane.tokens()}
            made = await plane.add_token("ci", role="viewer", ttl=3600)
            assert made.secret.startswith("styx_")
            assert made.expires_at > made.created_at > 0
            listed = [token for token in await plane.tokens() if token.token_id not in before]
            assert [(token.name, token.role, token.revoked, token.secret) for token in listed] == [
                ("ci", "viewer", False, "")
            ]
            assert await plane.revoke_token(made.token_id) is True
            assert await plane.revoke_token(made.token_id) is False
            with pytest.raises(NotFound):
                await plane.revoke_token(999_999)
            await plane.wait((await plane.submit_spec(job(sh("a", "true", array=3)))).job_id)
            stats = await plane.stats()
            assert (stats.submitted, stats.ended, stats.nodes) == (3, 3, 1)
            assert stats.commits > 0
            assert (await plane.gc(days=30))["jobs"] == 0
            await a_moment_later(plane)
            assert (await plane.gc(days=0))["jobs"] == 1
            assert await plane.jobs() == ([], "")

        self._run(tmp_path, body)

    def test_a_backup_is_a_whole_control_plane(self, tmp_path: Path) -> None:
        folder = tmp_path / "copies"
        folder.mkdir()

        async def body(plane: Verbs) -> tuple[str, str]:
            made = await plane.submit_spec(job(sh("a", "true"), name="kept"))
            await plane.wait(made.job_id)
            for bad in ("copy.db", "", str(tmp_path / "nowhere" / "copy.db"), str(tmp_path / "text"), "/a\0b"):
                (tmp_path / "text").write_text("something else")
                with pytest.raises((UsageError, SpecError)):
                    await plane.backup(bad)
            if not self.on_disk:
                with pytest.raises(StoreError):
                    await plane.backup(str(folder))
                return "", ""
            for _ in range(2):  # the second one takes the place of the first
                copy = await plane.backup(str(folder))
                assert copy.path == str(folder / "styx.db")
                assert copy.bytes == (folder / "styx.db").stat().st_size
                assert copy.taken_at > 0
            await plane.submit_spec(job(sh("a", "true"), name="later"))
            return made.job_id, await _incarnation(plane)

        job_id, incarnation = self._run(tmp_path, body)
        if not job_id:
            return

        async def restored() -> None:
            async with ControlPlane.open(folder, agent=False) as plane:
                jobs, _ = await plane.jobs()
                assert [(view.job_id, view.name, view.status) for view in jobs] == [(job_id, "kept", "SUCCEEDED")]
                assert await _incarnation(plane) not in {"", incarnation}

        asyncio.run(restored())


async def _incarnation(plane: Verbs) -> str:
    return (await plane.health()).incarnation
