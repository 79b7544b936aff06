"""Background work: jobs, the resident model, threads."""
