"""How ``sweeper review`` does on the example configurations of other projects."""
