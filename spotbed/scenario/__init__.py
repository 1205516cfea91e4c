"""The scenario: a YAML file, read into models, every mistake told at its place. `load.load_scenario` is the door."""
