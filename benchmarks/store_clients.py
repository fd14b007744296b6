"""Processes that put load on a server, all in one moment; used by store.py."""

import multiprocessing
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from typing import Concatenate, ParamSpec, Self, TypeVar


P = ParamSpec("P")
T = TypeVar("T")

Task = Callable[Concatenate[int, P], Generator[None, None, T]]
"""What a client process does, given its number: at each yield it waits for the others.

What comes before the first is not measured: it connects.
"""


class Clients:
    """Client processes, started once; a context manager that ends them.

    They are forked from one process that has imported what they need, so that even 32
    of them have torch at once.

    Args:
        count: How many.
        modules: What they need.
    """

    def __init__(self, count: int, modules: list[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(modules)
        self._pipes: list[Connection] = []
        for number in range(count):
            ours, theirs = context.Pipe()
            context.Process(target=_serve, args=(number, theirs), daemon=True).start()
            theirs.close()
            self._pipes.append(ours)

    def run(
        self, count: int, task: Task[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> list[T]:
        """Let so many clients do one task and return what they return."""
        pipes = self._pipes[:count]
        for pipe in pipes:
            pipe.send((task, args, kwargs))
        while True:
            steps = [pipe.recv() for pipe in pipes]
            results = [result for done, result in steps if done]
            if results:
                return results
            for pipe in pipes:
                pipe.send(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()


def _serve(number: int, pipe: Connection) -> None:
    while True:
        try:
            task, args, kwargs = pipe.recv()
        except EOFError:
            return
        steps = task(number, *args, **kwargs)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                pipe.send((True, end.value))
                break
            pipe.send((False, None))
            pipe.recv()
