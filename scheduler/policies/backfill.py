"""Backfill by the name under which it was known before `order` was a package."""

from scheduler.policies.order.easy import CENTRAL_ONLY, FCFS, SJBF, Easy, Reservation, reservation

__all__ = ["CENTRAL_ONLY", "FCFS", "SJBF", "Easy", "Reservation", "reservation"]
