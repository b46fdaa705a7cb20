"""What is wrong with a data set, and how to mend it: one class a kind of fault."""
