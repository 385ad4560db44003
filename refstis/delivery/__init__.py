"""Is it good: checks, regression, plots, report page, form and mail."""
