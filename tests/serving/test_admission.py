"""Whose turn it is in an event loop."""

import asyncio
import contextlib

import pytest

from mlflow_dspy_plugin.errors import CallError
from mlflow_dspy_plugin.serving.admission import Admission


def test_so_many_run_at_a_time_and_the_others_follow_in_the_order_in_which_they_came():
    async def scenario():
        admission, order, most = Admission(2, 10), [], []

        async def request(number):
            async with admission.admitted():
                most.append(admission.running)
                order.append(number)
                await asyncio.sleep(0.001)

        await asyncio.gather(*map(request, range(9)))
        return order, max(most), admission.running, admission.queued

    assert asyncio.run(scenario()) == ([*range(9)], 2, 0, 0)


def test_whoever_comes_when_too_many_wait_is_told_to_come_again():
    async def scenario():
        admission, go = Admission(1, 1), asyncio.Event()

        async def request():
            async with admission.admitted():
                await go.wait()

        under_way = [asyncio.ensure_future(request()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(CallError, match="again later") as refused:
            await request()
        assert refused.value.get_http_status_code() == 503
        assert (admission.running, admission.queued) == (1, 1)
        go.set()
        await asyncio.gather(*under_way, request())
        assert (admission.running, admission.queued) == (0, 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("also_its_turn", [False, True])
def test_whoever_goes_away_while_waiting_leaves_the_place_to_others(also_its_turn):
    async def scenario():
        admission = Admission(1, 5)

        async def request():
            async with admission.admitted():
                return "answered"

        async with contextlib.AsyncExitStack() as first:
            await first.enter_async_context(admission.admitted())
            second, third = asyncio.ensure_future(request()), asyncio.ensure_future(request())
            await asyncio.sleep(0)
            if also_its_turn:
                await first.aclose()
            second.cancel()
        assert await asyncio.wait_for(third, 10) == "answered"
        assert second.cancelled()
        assert (admission.running, admission.queued) == (0, 0)

    asyncio.run(scenario())


def test_a_failure_inside_frees_the_place():
    async def scenario():
        admission = Admission(1, 0)
        with pytest.raises(ZeroDivisionError):
            async with admission.admitted():
                raise ZeroDivisionError
        return admission.running

    assert asyncio.run(scenario()) == 0
