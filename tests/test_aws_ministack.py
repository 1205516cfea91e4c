"""The stacks on MiniStack: they deploy, their functions run under their own roles, and a job gets through."""

from __future__ import annotations

from ministack import ACCOUNT, Ministack


def test_the_emulated_account_answers(ministack: Ministack) -> None:
    assert ministack.client("sts").get_caller_identity()["Account"] == ACCOUNT
