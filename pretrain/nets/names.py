"""What stands before the name of a network that is none of this zoo's. No torch here."""

FOREIGN = "foreign:"  # a module of another program: its name, in place of an architecture
TIMM = "timm:"  # timm's name of a network
