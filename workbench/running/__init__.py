"""Long work outside the page: jobs, the resident model, threads."""
