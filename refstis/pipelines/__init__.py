"""The products: one stpipe Pipeline per product, the order of stages and nothing else."""
