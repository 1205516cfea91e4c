"""What runs the scheduler on AWS, and what plans and packages it. The simulator is unknown here."""
