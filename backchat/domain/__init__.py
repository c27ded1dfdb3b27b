"""The nouns of backchat: frozen values without I/O; ids and times are made by whoever creates them."""
