"""How much code there is: ``make size``."""
