"""The command line: one thin file a command. Heavy imports happen inside command bodies."""
