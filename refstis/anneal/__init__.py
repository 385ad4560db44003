"""Which files: anneal table, periods, plan, runner and ledger."""
