"""What is wrong with a data set, and how to mend it: one file a kind of fault, found by folder."""
