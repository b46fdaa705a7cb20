"""Features: folders that may be deleted. ``parts`` has the contract, ``loader`` finds them."""
