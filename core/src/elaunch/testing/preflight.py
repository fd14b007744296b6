"""What every check of a node must do."""

import asyncio
import json

import pytest

from elaunch.api import Preflight, PreflightContext, PreflightOptions, PreflightResult


SOON = 60.0
"""Seconds in which anything here happens."""


class PreflightContract:
    """Inherit, override both fixtures, and run."""

    @pytest.fixture
    def fit(self) -> Preflight:
        """Return a new check that finds no problem here; must be overridden."""
        raise NotImplementedError("override the fixture 'fit'")

    @pytest.fixture
    def unfit(self) -> Preflight:
        """Return a new check that finds a problem here; must be overridden."""
        raise NotImplementedError("override the fixture 'unfit'")

    def test_it_tells_its_options(self, fit: Preflight, unfit: Preflight) -> None:
        """The agent asks for them: how long it may take, when it looks again."""
        for preflight in (fit, unfit):
            assert isinstance(preflight.options, PreflightOptions)
            assert preflight.options.timeout < SOON

    @pytest.mark.asyncio
    async def test_a_node_that_is_fit_passes_each_time(self, fit: Preflight) -> None:
        """It is made before each join, and again while the node waits."""
        for attempt in (1, 2):
            result = await _checked(fit, attempt)

            assert result.problem == ""

    @pytest.mark.asyncio
    async def test_a_problem_is_found_each_time(self, unfit: Preflight) -> None:
        """All nodes read it in their own lines."""
        for attempt in (1, 2):
            result = await _checked(unfit, attempt)

            assert result.problem.strip()
            assert result.problem.isprintable()

    @pytest.mark.asyncio
    async def test_it_can_be_given_up_and_made_again(self, fit: Preflight) -> None:
        """Nobody waits for it once the agent is told to end."""
        for _ in range(2):
            checking = asyncio.ensure_future(fit.check(PreflightContext()))
            await asyncio.sleep(0)
            checking.cancel()
            done, _ = await asyncio.wait((checking,), timeout=SOON)

            assert done
        assert (await _checked(fit, 3)).problem == ""


async def _checked(preflight: Preflight, attempt: int) -> PreflightResult:
    async with asyncio.timeout(preflight.options.timeout):
        result = await preflight.check(PreflightContext(attempt=attempt))
    assert isinstance(result, PreflightResult)
    for name, value in result.facts.items():
        assert name.isidentifier()
        # An event is flat.
        assert isinstance(value, str | int | float | bool | list | None)
    json.dumps(dict(result.facts))
    return result
