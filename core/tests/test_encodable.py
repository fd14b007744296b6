"""Whatever workers say can be written down and told to other nodes."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from elaunch.encodable import encodable
from elaunch.events import Event
from elaunch.failures import ProcessFailure
from elaunch.membership.records import NoticeRecord, decode, encode
from elaunch.notice import Notice, NoticeKind


TEXTS = st.text(st.characters(exclude_categories=()))
FAILURE = ProcessFailure(
    rank=1, local_rank=1, role="r", host="h", pid=7, exitcode=3, timestamp=1.0
)


@given(TEXTS)
def test_any_text_can_be_told(text: str) -> None:
    failure = attrs.evolve(
        FAILURE, message=text, stderr_tail=(text,), log_paths=(text, "a")
    )
    read = decode(ProcessFailure, "key", encode(failure))
    said = encodable(text)
    assert read == attrs.evolve(
        FAILURE, message=said, stderr_tail=(said,), log_paths=(said, "a")
    )
    assert decode(dict[str, str], "key", encode({text: text})) == {said: said}


@given(TEXTS)
def test_a_notice_can_be_told_for_any_reason(text: str) -> None:
    notice = Notice(kind=NoticeKind.STOP, reason=text, host="h", timestamp=1.0)
    read = decode(NoticeRecord, "key", encode(NoticeRecord(1, notice)))
    assert read.notice == attrs.evolve(notice, reason=encodable(text))


@given(st.text())
def test_text_that_utf_8_takes_stays_as_it_is(text: str) -> None:
    assert encodable(text) == text


def test_bytes_of_a_file_name_that_are_no_text_stay_recognizable() -> None:
    assert encodable("caf\udce9.txt") == "caf\\udce9.txt"


def test_an_event_is_good_json_whatever_it_says() -> None:
    event = Event(name="n", run_id="job", metadata={"files": ["\udc80"], "pid": 1})
    assert event.metadata == {"files": ["\\udc80"], "pid": 1}
