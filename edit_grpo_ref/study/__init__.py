"""The study: does region credit keep edits local? Runs of every method, their records, the statistics, one report."""
