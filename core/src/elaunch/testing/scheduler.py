"""What every scheduler must do."""

from collections.abc import Iterator, Mapping

import pytest

from elaunch.api import Detected, SchedulerParameters, SchedulerProvider


HOSTILE = ("", " ", "-1", "0", "x", "9" * 5000, "[", "a[1-", "1,2", "/nowhere", "\0")
"""What a variable may hold that nobody expected."""


class SchedulerContract:
    """Inherit from it in a class named ``Test...`` and set the attributes.

    Attributes:
        provider: The provider of the scheduler.
        environments: Environments as the scheduler makes them, one at least.
        host: Name of the host in these environments.
    """

    provider: SchedulerProvider
    environments: tuple[Mapping[str, str], ...] = ()
    host: str = "node-0"

    def test_its_environments_are_detected(self) -> None:
        """Each has a marker, without which the scheduler would not be asked."""
        assert self.environments
        for environment in self.environments:
            found = self._detect(environment)

            assert set(self.provider.markers) & environment.keys()
            assert found
            assert found.values or found.notes or found.problem

    def test_what_it_says_is_text_with_a_rule(self) -> None:
        """Whoever reads the plan of a run sees each value and where it is from."""
        for environment in self.environments:
            found = self._detect(environment)

            assert found
            assert found.scheduler.strip()
            for name, suggestion in found.values.items():
                assert name.isidentifier()
                assert suggestion.value.strip() == suggestion.value != ""
                assert suggestion.rule.strip()
            for line in (*found.notes, found.problem):
                assert "\n" not in line

    def test_an_environment_without_its_variables_is_not_its(self) -> None:
        """It takes nobody else's process for its own."""
        assert self._detect({"PATH": "/bin", "HOME": "/"}) is None

    @pytest.mark.parametrize("value", [None, *HOSTILE])
    def test_a_variable_that_is_missing_or_wrong_is_no_error(
        self, value: str | None
    ) -> None:
        """A run that needs nothing of it must not fail because of it."""
        for environment in self._spoilt(value):
            found = self._detect(environment)

            for suggestion in found.values.values() if found else ():
                assert suggestion.value.strip()

    def _spoilt(self, value: str | None) -> Iterator[dict[str, str]]:
        for environment in self.environments:
            for name in environment:
                spoilt = {k: v for k, v in environment.items() if k != name}
                yield spoilt if value is None else {**spoilt, name: value}

    def _detect(self, environment: Mapping[str, str]) -> Detected | None:
        params = SchedulerParameters(host=self.host)
        scheduler = self.provider.create(params, self.provider.options_class()())
        return scheduler.detect(environment)
