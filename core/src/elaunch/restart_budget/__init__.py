"""The restart policy ``default``: a budget, and a table of failures."""

from elaunch.restart_budget.options import BudgetOptions
from elaunch.restart_budget.policy import BudgetPolicy


__all__ = ["BudgetOptions", "BudgetPolicy"]
