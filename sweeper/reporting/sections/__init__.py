"""The page's sections, in the order of the reader's questions: one module each."""
