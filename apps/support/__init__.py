"""What the scripts of apps/ share. Not published: the packages hold everything importable."""
