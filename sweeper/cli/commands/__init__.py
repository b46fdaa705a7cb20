"""The commands, one file each, and the steps that the long ones take."""
