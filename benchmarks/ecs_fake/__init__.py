"""A fast fake of ECS, and of one SQS queue with its events, for ten thousand tasks and more.

moto's stand-in (fractal_dev.ecs) is the reference: what can be tested of both passes the same
contract tests. This one leaves out container instances, plans for single calls that are held or
cut, and every operation that the operator does not use; in return a task is shown from ready-made
text, and one process serves thousands of calls a second. It shares the stand-in's rules of what
ECS refuses, and its plans for the life of a task; the state is its own.
"""
