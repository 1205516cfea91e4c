"""The scenario: a YAML file, read into models with every mistake told at its place. `load.load_scenario` is the door."""
