"""Who may come in, and what a job keeps secret: tokens, enrolments, credentials, sealed values."""

from __future__ import annotations

from pathlib import Path

from styx.store.base import Batch, SecretsRow, Store, TokenRow
from styx.testing.contracts.store.scenes import Scenes
from styx.testing.contracts.store.telling import AT, job_ended, submitted

__all__ = ["Access"]


class Access(Scenes):
    def test_tokens(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            first = await store.add_token(TokenRow(0, "me", "admin", b"\x00" * 32, AT, 0))
            second = await store.add_token(TokenRow(0, "you", "viewer", b"\x01" * 32, AT, AT + 9))
            assert 0 < first.token < second.token
            assert await store.tokens() == [first, second]
            assert await store.revoke_token(first.token, AT + 1)
            assert not await store.revoke_token(first.token, AT + 2)
            assert not await store.revoke_token(99, AT + 2)
            assert [row.revoked_at for row in await store.tokens()] == [AT + 1, 0]
            assert (first.name, first.role, first.digest) == ("me", "admin", b"\x00" * 32)

        self.run(tmp_path, scene)

    def test_a_token_is_bound_to_the_first_agent(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            join = await store.add_token(TokenRow(0, "j", "join", b"\x00" * 32, AT, 0, pool="p", single=True))
            assert await store.tokens() == [join]
            assert await store.bind_token(join.token, "a") == "a"
            assert await store.bind_token(join.token, "b") == "a"
            assert await store.bind_token(99, "b") == ""
            assert [(row.agent, row.pool, row.single) for row in await store.tokens()] == [("a", "p", True)]
            assert await store.enrolled("a") == b""
            assert await store.enrol("a", b"key") == b"key"
            assert await store.enrolled("a") == b"key"
            assert await store.enrol("a", b"other") == b"key"
            await store.forget_enrolment("a")
            assert await store.enrol("a", b"other") == b"other"

        self.run(tmp_path, scene)

    def test_ended_credentials_are_dropped_and_revoked_ones_stay(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            rows = [
                TokenRow(0, "plain", "agent", b"\x00" * 32, AT, AT + 1),
                TokenRow(0, "ended", "agent", b"\x01" * 32, AT, AT + 1, parent=1),
                TokenRow(0, "good", "agent", b"\x02" * 32, AT, AT + 9, parent=1),
                TokenRow(0, "revoked", "agent", b"\x03" * 32, AT, AT + 1, AT, parent=1),
            ]
            for row in rows:
                await store.add_token(row)
            await store.drop_credentials(AT + 5)
            assert [row.name for row in await store.tokens()] == ["plain", "good", "revoked"]

        self.run(tmp_path, scene)

    def test_secrets_come_with_the_acceptance_and_go_with_the_job(self, tmp_path: Path) -> None:
        async def scene(store: Store, epoch: int) -> None:
            assert await store.secrets(1) == b""
            sealed = (SecretsRow(1, b"one"), SecretsRow(2, b"two"))
            await store.commit(epoch, Batch([*submitted(1), *submitted(2)], secrets=sealed))
            await store.commit(epoch, Batch([job_ended(1, AT + 1)]))
            assert (await store.secrets(1), await store.secrets(2)) == (b"one", b"two")
            assert (await store.prune(ended_before=AT + 2))[0] == 1
            assert (await store.secrets(1), await store.secrets(2)) == (b"", b"two")

        self.run(tmp_path, scene)
