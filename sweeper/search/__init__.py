"""Which trial comes next and which one stops early: the study, its space, sampler and pruner."""
