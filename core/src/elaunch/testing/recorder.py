"""What every event recorder must do."""

import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from elaunch.api import Event, EventName, EventRecorder, Source


class RecorderContract:
    """Inherit, override the two fixtures, and run.

    Attributes:
        keeps_events: Whether what was recorded can be read back.
    """

    keeps_events: ClassVar[bool] = True

    @pytest.fixture
    def recorder(self) -> EventRecorder:
        """Return a new recorder; must be overridden."""
        raise NotImplementedError("override the fixture 'recorder'")

    @pytest.fixture
    def kept(self) -> Callable[[], Sequence[str]]:
        """Return what tells, after `close`, each kept event as a text.

        Must be overridden where ``keeps_events``. A text contains the event's name
        and the facts of its metadata.
        """
        raise NotImplementedError("override the fixture 'kept'")

    @pytest.fixture
    def checked(self, kept: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
        """Like ``kept``, for the tests that can't do without it."""
        if not self.keeps_events:
            pytest.skip("this recorder keeps nothing")
        return kept

    def test_events_are_kept_in_order(
        self, recorder: EventRecorder, checked: Callable[[], Sequence[str]]
    ) -> None:
        """What was accepted is there after `close`, in the order of acceptance."""
        for number in range(200):
            recorder.record(_event(f"fact-{number}-end"))
        recorder.close()

        texts = checked()

        assert len(texts) == 200
        for number, text in enumerate(texts):
            assert f"fact-{number}-end" in text
            assert EventName.WORKER_STARTED in text

    def test_an_event_is_one_text_whatever_its_facts(
        self, recorder: EventRecorder, checked: Callable[[], Sequence[str]]
    ) -> None:
        """Newlines, quotes and half characters in a fact tear nothing."""
        facts = ("two\nlines", 'a "quoted" word', "", "half \udcff", "naïve ☂")
        for fact in facts:
            recorder.record(_event(fact))
        recorder.record(
            Event(
                name="plugin.own",
                run_id="job",
                source=Source.AGENT,
                metadata={"n": 1, "x": 0.5, "b": True, "none": None, "pids": [1, 2]},
            )
        )
        recorder.close()

        assert len(checked()) == len(facts) + 1

    def test_threads_may_record_at_once(
        self, recorder: EventRecorder, checked: Callable[[], Sequence[str]]
    ) -> None:
        """Nothing is lost or torn when several threads record."""

        def record_many(who: int) -> None:
            for number in range(100):
                recorder.record(_event(f"fact-{who}-{number}-end"))

        threads = [threading.Thread(target=record_many, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recorder.close()

        texts = checked()

        assert len(texts) == 400
        for who in range(4):
            for number in range(100):
                fact = f"fact-{who}-{number}-end"
                assert sum(fact in text for text in texts) == 1

    def test_what_is_accepted_while_it_is_closed_is_kept(
        self, recorder: EventRecorder, checked: Callable[[], Sequence[str]]
    ) -> None:
        """An event is either refused or kept, also if `close` comes in between."""
        accepted: list[str] = []
        begun = threading.Event()

        def record_until_closed() -> None:
            while len(accepted) < 5000:
                fact = f"fact-{len(accepted)}-end"
                try:
                    recorder.record(_event(fact))
                except ValueError:
                    return
                accepted.append(fact)
                begun.set()

        thread = threading.Thread(target=record_until_closed)
        thread.start()
        begun.wait(10)
        recorder.close()
        thread.join()

        texts = checked()

        assert len(texts) == len(accepted) > 0
        for fact, text in zip(accepted, texts, strict=True):
            assert fact in text

    def test_recording_after_close_raises(self, recorder: EventRecorder) -> None:
        """A closed recorder doesn't pretend to accept."""
        recorder.close()

        with pytest.raises(ValueError, match="closed"):
            recorder.record(_event("late"))

    def test_closing_twice_is_fine(self, recorder: EventRecorder) -> None:
        """The second `close` does nothing."""
        recorder.record(_event("one"))

        recorder.close()
        recorder.close()


def _event(fact: str) -> Event:
    return Event(
        name=EventName.WORKER_STARTED,
        run_id="job",
        source=Source.WORKER,
        metadata={"fact": fact},
    )
