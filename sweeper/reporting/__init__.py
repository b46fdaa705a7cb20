"""From findings to report.html and the files beside it. Computes nothing new."""
