"""Live against simulated: a deployed run's journal is priced, measured, and played again by the simulator."""
