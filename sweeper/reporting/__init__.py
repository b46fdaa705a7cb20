"""From findings to files that people read: report.html and its siblings. Computes nothing new."""
