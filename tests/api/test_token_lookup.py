"""Looking tokens up: who comes while the first look is under way gets its answer, not an empty list's."""

from __future__ import annotations

import asyncio

import pytest

from styx.api.auth import Tokens, digest_of
from styx.errors import StoreError
from styx.store.base import TokenRow

SECRET = "styx_secret"
ROW = TokenRow(1, "local user", "admin", digest_of(SECRET), 1, 0)


def test_two_at_once_are_both_known() -> None:
    async def body() -> None:
        looked = 0
        go_on = asyncio.Event()

        async def load() -> list[TokenRow]:
            nonlocal looked
            looked += 1
            await go_on.wait()
            return [ROW]

        tokens = Tokens(load)
        both = [asyncio.ensure_future(tokens.find(SECRET)) for _ in range(2)]
        await asyncio.sleep(0)
        go_on.set()
        first, second = await asyncio.gather(*both)
        assert first is not None
        assert second is not None
        assert first.name == second.name == "local user"
        assert looked == 1

    asyncio.run(body())


def test_whoever_looks_and_goes_away_takes_nobody_with_it() -> None:
    async def body() -> None:
        go_on = asyncio.Event()

        async def load() -> list[TokenRow]:
            await go_on.wait()
            return [ROW]

        tokens = Tokens(load)
        leaving = asyncio.ensure_future(tokens.find(SECRET))
        staying = asyncio.ensure_future(tokens.find(SECRET))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await staying is not None

    asyncio.run(body())


def test_a_look_that_fails_is_tried_again_by_the_next() -> None:
    async def body() -> None:
        answers: list[list[TokenRow] | StoreError] = [StoreError("not now"), [ROW]]

        async def load() -> list[TokenRow]:
            answer = answers.pop(0)
            if isinstance(answer, StoreError):
                raise answer
            return answer

        tokens = Tokens(load)
        with pytest.raises(StoreError):
            await tokens.find(SECRET)
        assert await tokens.find(SECRET) is not None

    asyncio.run(body())
