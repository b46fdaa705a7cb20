"""The search: the study, its space, the sampler of trials and the pruner that stops them early."""
