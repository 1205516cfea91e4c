"""A region of its own on this machine: the functions that are deployed, with instances that are local processes.

`apply PLAN --target local` starts one background process for each stack. It holds moto's DynamoDB, S3 and SQS on
loopback, runs the state machine of `aws/worker.asl.json` over the handlers of `aws/functions.py`, and has a fleet
driver of its own: an instance is an agent process that runs `aws/wrapper.py` for each attempt.
"""
