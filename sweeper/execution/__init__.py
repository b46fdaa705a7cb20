"""Runs the trials of a study: the coordinating command, the one worker loop, their launchers."""
