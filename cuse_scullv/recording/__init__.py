"""Recording: what clients and a real device say to each other, passed on, noted, played again."""
