import asyncio

import pytest

from elaunch_rdzv_c10d.calls import Call, Calls
from elaunch_rdzv_c10d.messages import MAX_IN_FLIGHT, Answer, Done, Get


pytestmark = pytest.mark.asyncio

OPERATION = Get("key")


async def overdue(*calls: Call) -> list[BaseException | None]:
    """Wait until one of the calls is given up; return the errors of all."""
    async with asyncio.timeout(60):
        await asyncio.wait([c.answer for c in calls], return_when="FIRST_COMPLETED")
    return [c.answer.exception() if c.answer.done() else None for c in calls]


class TestDeadlines:
    async def test_each_call_has_its_own(self) -> None:
        calls = Calls()
        long = await calls.begin(OPERATION, 60.0)
        short = await calls.begin(OPERATION, 0.02)
        longer = await calls.begin(OPERATION, 70.0)

        errors = await overdue(long, short, longer)
        calls.close()

        assert errors[0] is errors[2] is None
        assert isinstance(errors[1], TimeoutError)

    async def test_of_calls_that_came_after_an_answer_still_count(self) -> None:
        calls = Calls()
        answered = await calls.begin(OPERATION, 0.01)
        calls.take(Answer(answered.request.id, Done(), 0))
        late = await calls.begin(OPERATION, 0.03)

        (error,) = await overdue(late)

        assert isinstance(error, TimeoutError)
        assert answered.answer.result() == Done()

    async def test_pass_also_before_a_call_has_begun(self) -> None:
        calls = Calls()
        open_calls = [await calls.begin(OPERATION, 60.0) for _ in range(MAX_IN_FLIGHT)]

        with pytest.raises(TimeoutError):
            await calls.begin(OPERATION, 0.02)
        calls.forget(open_calls[0])
        calls.forget(open_calls[0])
        await calls.begin(OPERATION, 60.0)
        with pytest.raises(TimeoutError):
            await calls.begin(OPERATION, 0.0)
        calls.close()


class TestAnswers:
    async def test_find_their_calls(self) -> None:
        calls = Calls()
        one, other = [await calls.begin(OPERATION, 60.0) for _ in range(2)]
        calls.take(Answer(other.request.id, Done(), 0))
        calls.take(Answer(other.request.id, Done(), 0))
        calls.take(Answer(999, Done(), 0))
        calls.close()

        assert list(calls) == [one]
        assert other.answer.result() == Done()

    async def test_to_who_gave_up_are_dropped(self) -> None:
        calls = Calls()
        call = await calls.begin(OPERATION, 60.0)
        call.answer.cancel()
        calls.take(Answer(call.request.id, Done(), 0))
        calls.fail(call, TimeoutError())
        calls.close()

        assert list(calls) == []
