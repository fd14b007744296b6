"""Errors as programs in other languages print them: C, C++, Go, Rust, Java."""

import re
from collections.abc import Sequence

from elaunch.explanations.explanation import Explanation, Found, described


_ASSERTION = re.compile(
    r"^(?:[^:]*: )?(?P<place>[^\s:]+:\d+): (?P<what>.*Assertion [`'].*' failed\.?.*)$"
)
_HEAP = re.compile(
    r"^(?:\*\*\* (?P<smash>.+ detected) \*\*\*.*"
    r"|(?P<heap>(?:double free or corruption|corrupted (?:size|double-linked)"
    r"|malloc|free|realloc|munmap_chunk)(?:\(\))?(?:: .+| vs\. .+| list.*| \(.+\))))$"
)
_SANITIZER = re.compile(
    r"^SUMMARY: (?P<what>\w*Sanitizer: [\w-]+)"
    r"(?: (?P<place>[^\s:]+:\d+)(?::\d+)?)?(?P<rest>.*)$"
)
_TERMINATE = re.compile(
    r"^(?:terminate called|libc\+\+abi: terminating)"
    r"(?: (?:after throwing an instance of|due to uncaught exception of type) "
    r"'?(?P<type>[^':]+(?:::[^':]+)*)'?(?:: (?P<text>.*))?)?"
)
_WHAT = re.compile(r"^\s*what\(\):\s*(?P<text>.*)$")
_GO = re.compile(r"^(?P<what>(?:panic|fatal error): .+)$")
_GO_PLACE = re.compile(r"^\s+(?P<place>(?!\S*/src/runtime/)\S+\.go:\d+)")
_RUST = re.compile(
    r"^thread '(?:[^']*)'(?: \(\d+\))? panicked at (?:'(?P<old>.*)', )?"
    r"(?P<place>[^\s,]+?:\d+)(?::\d+)?:?$"
)
_JAVA = re.compile(
    r"^(?:Exception in thread \"[^\"]*\" )(?P<what>[\w$]+(?:\.[\w$]+)+(?:: .*)?)$"
)
_JAVA_PLACE = re.compile(r"^\s+at .*\((?P<place>[^()\s]+\.\w+:\d+)\)")
_JAVA_CAUSE = re.compile(r"^Caused by: (?P<what>.+)$")


def error_in(lines: Sequence[str]) -> Found | None:
    """Find the last error of any of these kinds."""
    for index in range(len(lines) - 1, -1, -1):
        for read in (_assertion, _sanitizer, _terminate, _go, _rust, _java, _heap):
            told = read(lines[index:])
            if told:
                return Found(index, told)
    return None


def _assertion(lines: Sequence[str]) -> Explanation | None:
    found = _ASSERTION.match(lines[0])
    return found and Explanation(found["what"].strip(), found["place"], lines[0])


def _heap(lines: Sequence[str]) -> Explanation | None:
    found = _HEAP.match(lines[0])
    return found and Explanation(found["smash"] or found["heap"], "", lines[0])


def _sanitizer(lines: Sequence[str]) -> Explanation | None:
    found = _SANITIZER.match(lines[0])
    if not found:
        return None
    return Explanation(
        f"{found['what']}{found['rest']}", found["place"] or "", lines[0]
    )


def _terminate(lines: Sequence[str]) -> Explanation | None:
    found = _TERMINATE.match(lines[0])
    if not found:
        return None
    what = _WHAT.match(lines[1]) if len(lines) > 1 else None
    text = what["text"] if what else found["text"]
    if not found["type"]:
        return Explanation(lines[0].strip(), "", lines[0])
    message = f"{found['type']}: {text}" if text else found["type"]
    block = "\n".join(lines[: 2 if what else 1])
    return Explanation(message, "", block, exception=found["type"])


def _go(lines: Sequence[str]) -> Explanation | None:
    found = _GO.match(lines[0])
    # Other programs say "fatal error", too, but have no goroutines.
    if not found or not any(line.startswith("goroutine ") for line in lines[1:]):
        return None
    return Explanation(found["what"], _first(_GO_PLACE, lines), "\n".join(lines))


def _rust(lines: Sequence[str]) -> Explanation | None:
    found = _RUST.match(lines[0])
    if not found:
        return None
    text = found["old"] or (lines[1].strip() if len(lines) > 1 else "")
    return Explanation(f"panicked: {text}", found["place"], "\n".join(lines))


def _java(lines: Sequence[str]) -> Explanation | None:
    found = _JAVA.match(lines[0])
    if not found:
        return None
    causes = [i for i, line in enumerate(lines) if _JAVA_CAUSE.match(line)]
    context = ""
    if causes:
        root = _JAVA_CAUSE.match(lines[causes[-1]])
        what = root["what"] if root else ""
        context = described(what, _first(_JAVA_PLACE, lines[causes[-1] :]))
    where = _first(_JAVA_PLACE, lines)
    name = found["what"].partition(": ")[0]
    return Explanation(found["what"], where, "\n".join(lines), context, name)


def _first(place: re.Pattern[str], lines: Sequence[str]) -> str:
    return next((found["place"] for line in lines if (found := place.match(line))), "")
