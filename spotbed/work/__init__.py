"""Work from files: job logs, job accounting, tables, and what turns any of them into `sim.inputs.Work`."""
