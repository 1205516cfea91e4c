"""Each order decides at least once by hand what its nearest neighbour decides otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core_examples import job, ticket
from hypothesis import given, settings
from hypothesis import strategies as st
from queueing import column, eternal_starts, plain_work, run_cluster
from test_order import RUNS, SLOTS, cluster_loads, names, running, view, waiting
from worlds import HOUR, MINUTE, S, work_of

from scheduler.central_record import QueueView, Running, Waiting
from scheduler.job_record import Job
from scheduler.observation import TENANT_USE
from scheduler.policies.order import (
    F1,
    F2,
    F3,
    F4,
    Conservative,
    DeficitRoundRobin,
    EarliestDeadlineFirst,
    Easy,
    EasyPlusPlus,
    EasySjbf,
    FairShare,
    Fifo,
    LeastLaxityFirst,
    NewestPastAge,
    NoisyTenants,
    ShortestJobFirst,
    TenantLimit,
    TimeToLive,
    Unicep,
    Wfp3,
)
from scheduler.policies.order.conservative import Profile
from scheduler.policies.order.fair_share import shares_of
from scheduler.policy import Order, RankView, TenantUse
from sim.inputs import JobClass
from sim.ranked import Tenants


def waits(name: str, *, slots: int = 1, **fields: object) -> Job:
    return job("queued", of=replace(ticket(name, **fields), slots=slots))  # type: ignore[arg-type]


def by_key(order: Order, *jobs: Job) -> str:
    return "".join(each.ticket.id for each in sorted(jobs, key=order.key))


def ranked(order: object, *jobs: Job, now_ms: int = 100 * S, uses: dict[str, TenantUse] | None = None) -> str:
    return "".join(each.ticket.id for each in order.rank(RankView(now_ms, uses or {}), jobs))  # type: ignore[attr-defined]


# static keys --------------------------------------------------------------------------------------------------------
def test_least_laxity_counts_the_work_and_the_earliest_deadline_does_not() -> None:
    """a is due at 100 and needs 10: 90 of slack. b is due at 120 and needs 60: 60."""
    jobs = (waits("a", deadline_ms=100, estimate_ms=10), waits("b", deadline_ms=120, estimate_ms=60), waits("c"))
    assert by_key(EarliestDeadlineFirst(), *jobs) == "abc"
    assert by_key(LeastLaxityFirst(), *jobs) == "bac"
    saved = replace(jobs[1], progress_ms=50)
    assert by_key(LeastLaxityFirst(), jobs[0], saved) == "ab"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (F1(), (3 * 4 + 870 * 2, 1 * 100 + 870 * 2)),
        (F2(), (31.622776601683793 * 4 + 25_600 * 2, 3.1622776601683795 * 100 + 25_600 * 2)),
        (F3(), (1_000 * 4 + 6.86e6 * 2, 10 * 100 + 6.86e6 * 2)),
        (F4(), (1_000 * 2 + 5.3e5 * 2, 10 * 10 + 5.3e5 * 2)),
    ],
)
def test_the_learned_scores_are_as_published(order: F1, expected: tuple[float, float]) -> None:
    """1,000 s on 4 slots, and 10 s on 100, both submitted at second 100."""
    long = waits("a", slots=4, submit_ms=100 * S, estimate_ms=1_000 * S)
    wide = waits("b", slots=100, submit_ms=100 * S, estimate_ms=10 * S)
    assert (order.key(long), order.key(wide)) == pytest.approx(expected)
    assert order.key(waits("c", submit_ms=100 * S)) > max(expected)


def test_the_learned_scores_differ_from_each_other_and_from_sjf() -> None:
    """F1 takes the narrow long job, F2 too; F3 and F4 and SJF the short wide one."""
    long = waits("a", slots=4, submit_ms=100 * S, estimate_ms=1_000 * S)
    wide = waits("b", slots=100, submit_ms=100 * S, estimate_ms=10 * S)
    orders = (F1(), F2(), F3(), F4(), ShortestJobFirst())
    assert [by_key(order, long, wide) for order in orders] == ["ab", "ab", "ba", "ba", "ba"]
    broad = waits("c", slots=64, submit_ms=100 * S, estimate_ms=64 * S)  # r n: 4,096; r sqrt(n): 512
    assert [by_key(order, long, broad) for order in (F3(), F4())] == ["ac", "ca"]
    narrow = waits("d", slots=5, submit_ms=100 * S, estimate_ms=100 * S)  # sqrt(r) n: 50; log10(r) n: 10
    tall = waits("e", slots=4, submit_ms=100 * S, estimate_ms=240 * S)  # 62; 9.5
    assert [by_key(order, narrow, tall) for order in (F1(), F2())] == ["ed", "de"]


def test_a_window_of_a_log_keeps_the_logs_clock() -> None:
    """From second 0 on, ten seconds count for more than the size; late in a log they do not."""
    early, late = waits("a", submit_ms=10 * S, slots=9, estimate_ms=HOUR), waits("b", submit_ms=20 * S, estimate_ms=S)
    assert by_key(F1(), early, late) == "ab"
    assert by_key(F1(begin_ms=10**9 * S), early, late) == "ba"


# ranks by the job ---------------------------------------------------------------------------------------------------
AGED = (waits("a"), waits("b", submit_ms=10 * S), waits("c", submit_ms=70 * S), waits("d", submit_ms=80 * S))


def test_past_the_age_the_newest_are_first_and_before_it_the_oldest() -> None:
    """At 100 s, c and d are younger than 50 s."""
    assert by_key(Fifo(), *AGED) == "abcd"
    assert by_key(NewestPastAge(), *AGED) == "dcba", "the index has the newest first"
    assert ranked(NewestPastAge(age_ms=50 * S), *AGED) == "cdba"


def test_what_is_past_its_time_to_live_comes_last_the_oldest_first() -> None:
    assert ranked(TimeToLive(age_ms=50 * S), *AGED) == "cdab"


def test_wfp3_prefers_the_wide_and_unicep_the_narrow() -> None:
    """a: w/r = 100/50 = 2, n = 16: WFP3 -128, UNICEP -2/4. b: w/r = 3, n = 4: -108 and -3/2."""
    first = waits("a", slots=16, estimate_ms=50 * S)
    second = waits("b", slots=4, submit_ms=10 * S, estimate_ms=30 * S)
    assert Wfp3().score(100 * S, first.ticket) == (-128,)
    assert Wfp3().score(100 * S, second.ticket) == (-108,)
    assert ranked(Wfp3(), second, first) == "ab"
    assert ranked(Unicep(), first, second) == "ba"
    serial = waits("c", submit_ms=99 * S, estimate_ms=HOUR)
    assert ranked(Unicep(), first, second, serial, waits("d")) == "cbad"
    assert ranked(Wfp3(), waits("d"), first, serial) == "acd"


def test_a_score_changes_while_jobs_wait() -> None:
    """The long one is ahead at first; the short one passes it."""
    long, short = waits("a", estimate_ms=HOUR), waits("b", submit_ms=50 * S, estimate_ms=10 * S)
    assert ranked(Wfp3(), long, short, now_ms=50 * S) == "ab"
    assert ranked(Wfp3(), long, short, now_ms=51 * S) == "ba"


def test_a_head_node_ranks_its_whole_queue() -> None:
    """At second 100: w/r of h is 100/200, of a 100/50, of b 100/10. b and a need 2 of 3 slots each."""
    queue = [waiting("h", 1, 200), waiting("a", 2, 50), waiting("b", 2, 10)]
    assert names(Wfp3().select(view(3, RUNS, queue))) == "b"
    assert names(Wfp3().select(view(5, RUNS, queue))) == "bah"


# ranks by what tenants use ------------------------------------------------------------------------------------------
def use(in_flight: int = 0, used_ms: float = 0.0, served_ms: int = 0) -> TenantUse:
    return TenantUse(in_flight, used_ms, served_ms)


OF_TWO = (waits("a", tenant="big"), waits("b", submit_ms=1, tenant="small"))


def test_fair_share_is_slurms_factor() -> None:
    """big has used 3 of 4 with 1 of 2 shares: 2^-1.5; small 2^-0.5. With three shares to one both have 2^-1."""
    uses = {"big": use(used_ms=3.0), "small": use(used_ms=1.0)}
    assert FairShare().factors(RankView(0, uses)) == pytest.approx({"big": 2**-1.5, "small": 2**-0.5})
    assert ranked(FairShare(), *OF_TWO, uses=uses) == "ba"
    even = FairShare(shares="big=3")
    assert even.factors(RankView(0, uses)) == pytest.approx({"big": 0.5, "small": 0.5})
    assert ranked(even, *OF_TWO, uses=uses) == "ab", "as they came"
    assert ranked(DeficitRoundRobin(), *OF_TWO, uses=uses) == "ab", (
        "it counts work that was started, not time that was used"
    )


@pytest.mark.parametrize("text", ["big", "big=0", "big=x"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"share|float"):
        shares_of(text)


def test_round_robin_goes_on_until_the_quantum_is_used_up() -> None:
    """quantum 10: big has had 9 of its first, small 0 of its own: big goes on, and from 10 on it is small's turn."""
    order = DeficitRoundRobin(quantum_ms=10)
    assert ranked(order, *OF_TWO[::-1], uses={"big": use(served_ms=9), "small": use()}) == "ab"
    assert ranked(order, *OF_TWO, uses={"big": use(served_ms=10), "small": use()}) == "ba"


@given(st.lists(st.integers(1, 50), min_size=2, max_size=60), st.integers(1, 40), st.integers(2, 5))
def test_no_tenant_is_ahead_by_more_than_the_quantum_and_a_job(lengths: list[int], quantum: int, count: int) -> None:
    order, served = DeficitRoundRobin(quantum_ms=quantum), dict.fromkeys("tuvwx"[:count], 0)
    for place, length in enumerate(lengths):
        jobs = [waits(name, tenant=name, estimate_ms=1 + (length * (1 + ord(name)) + place) % 50) for name in served]
        first = order.rank(RankView(0, {name: use(served_ms=ms) for name, ms in served.items()}), jobs)[0].ticket
        served[first.spec.tenant] += first.estimate_ms
        assert max(served.values()) - min(served.values()) <= quantum + 50


def test_a_tenant_is_noisy_by_what_is_in_flight_or_by_its_recent_time() -> None:
    order = NoisyTenants()
    others = {f"t{number}": use(in_flight=20, used_ms=100.0) for number in range(12)}

    def by(policy: object, big: TenantUse) -> str:
        return ranked(policy, *OF_TWO, uses={**others, "big": big, "small": use(1, 1.0)})

    assert by(order, use(30, 50.0)) == "ba"
    assert by(order, use(29, 50.0)) == "ab", "fewer than 30"
    assert by(order, use(1, 140.0)) == "ba", "more than a tenth of 1,341"
    assert by(order, use(1, 130.0)) == "ab"
    assert by(TenantLimit(), use(1, 140.0)) == "ab", "a limit counts jobs only"


def test_a_tenant_at_its_limit_comes_after_the_others() -> None:
    assert ranked(TenantLimit(most=3), *OF_TWO, uses={"big": use(2)}) == "ab"
    assert ranked(TenantLimit(most=3), *OF_TWO, uses={"big": use(3)}) == "ba"


def test_what_a_tenant_uses_is_read_off_its_jobs() -> None:
    """a runs from 10 to 30; with a half-life of 20, half of that is left at 50. b is still running, since 40."""
    tenants = Tenants(half_life_ms=20)
    first, second = waits("a", estimate_ms=7), waits("b", estimate_ms=5)
    for each in (first, second):
        tenants.moved(replace(each, phase="new"), each, 0)
    tenants.moved(first, replace(first, phase="leased"), 10)
    assert tenants.view(25) == {"default": TenantUse(1, 15.0, 7)}
    tenants.moved(replace(first, phase="leased"), replace(first, phase="done"), 30)
    assert tenants.view(50) == {"default": TenantUse(0, 10.0, 7)}
    tenants.moved(second, replace(second, phase="leased"), 40)
    assert tenants.view(50) == {"default": TenantUse(1, 20.0, 12)}


def test_a_tenant_that_was_away_has_saved_up_nothing() -> None:
    tenants = Tenants(0)
    first, later = waits("a", estimate_ms=70, tenant="old"), waits("b", tenant="new")
    tenants.moved(replace(first, phase="new"), first, 0)
    tenants.moved(first, replace(first, phase="leased"), 0)
    tenants.moved(replace(later, phase="new"), later, 5)
    assert tenants.view(5)["new"].served_ms == 70


def test_what_needs_the_use_of_tenants_says_so() -> None:
    assert all(TENANT_USE in each.needs for each in (FairShare, DeficitRoundRobin, NoisyTenants, TenantLimit))
    assert not any(hasattr(each, "needs") for each in (Wfp3, Unicep, NewestPastAge, TimeToLive))


# whole worlds -------------------------------------------------------------------------------------------------------
def test_workers_take_the_best_of_the_first_jobs() -> None:
    """One worker, busy until 600 s; a, b, c, d wait. WFP3 by then: (600/900)^3, (599/60)^3, (598/300)^3, (597/30)^3."""
    runtimes = [600 * S, 900 * S, 60 * S, 300 * S, 30 * S]
    work = work_of((JobClass("job"),), [0, 0, 1 * S, 2 * S, 3 * S], runtimes)
    for first, expected in ((25, "dbca"), (2, "bcda")):
        starts = eternal_starts("decoupled", work, 1, order=Wfp3(first=first))
        assert "".join("abcd"[index] for index in np.argsort(starts[1:])) == expected
    starts = eternal_starts("central", work, 1, order=Wfp3())
    assert "".join("abcd"[index] for index in np.argsort(starts[1:])) == "dbca"


def test_the_newest_jobs_are_served_when_all_are_too_old() -> None:
    """One worker, a job a second of ten seconds each: past a minute nobody who has waited longer is served in time."""
    work = plain_work(np.arange(60) * S, np.full(60, 10 * S))
    fifo = eternal_starts("decoupled", work, 1, order=Fifo())
    newest = eternal_starts("decoupled", work, 1, order=NewestPastAge(age_ms=5 * S))
    assert np.median(newest - work.submit_ms) < np.median(fifo - work.submit_ms)
    assert sorted(newest) == sorted(fifo), "the same starts, of other jobs"
    assert newest[59] <= 70 * S < fifo[59]


def test_a_noisy_neighbour_waits_itself() -> None:
    """Forty jobs of one tenant, then two of another, on two workers: without fairness they wait for all forty."""
    classes = (JobClass("big", tenant="big"), JobClass("small", tenant="small"))
    work = work_of(classes, [0] * 40 + [1 * S] * 2, [MINUTE] * 42, klass=[0] * 40 + [1] * 2)
    waits_ms = {}
    for order in (Fifo(), TenantLimit(most=1, first=50), FairShare(first=50), DeficitRoundRobin(MINUTE, first=50)):
        starts = eternal_starts("decoupled", work, 2, order=order)
        waits_ms[type(order).__name__] = max(starts[40:]) - min(starts)
    assert waits_ms.pop("Fifo") >= 20 * MINUTE
    assert max(waits_ms.values()) <= 3 * MINUTE, waits_ms


# the whole queue ----------------------------------------------------------------------------------------------------
def test_easy_sjbf_tries_the_shortest_first() -> None:
    queue = [waiting("h", 6, 60), waiting("a", 2, 40), waiting("b", 2, 10)]
    assert names(Easy().select(view(2, RUNS, queue))) == "a"
    assert names(EasySjbf().select(view(2, RUNS, queue))) == "b"


def reserved(free: int, runs: list[Running], queue: list[Waiting], **promised: float) -> tuple[str, dict[str, float]]:
    seen: QueueView = view(free, runs, queue)._replace(promised={name: at * S for name, at in promised.items()})
    starts, later = Conservative().reserve(seen)
    return names(starts), {name: at / S for name, at in later.items()}


def test_conservative_keeps_a_reservation_that_easy_breaks() -> None:
    """4 slots; x has 3 of them until 150. h needs 4: at 150. a needs 2 for 50: after h, at 210. b needs 1 for 50 and
    ends when h begins. c needs 1 for 60, too long; so it comes beside a at 210."""
    runs = [running("x", 3, 150)]
    queue = [waiting("h", 4, 60), waiting("a", 2, 50), waiting("c", 1, 60), waiting("b", 1, 50)]
    assert reserved(1, runs, queue) == ("b", {"h": 150, "a": 210, "c": 210})
    # h needs 3 and leaves one over; the second, a, is promised all four at 210: EASY lets c have one for ever.
    queue = [waiting("h", 3, 60), waiting("a", 4, 50), waiting("c", 1, 900)]
    assert names(Easy().select(view(1, runs, queue))) == "c"
    assert reserved(1, runs, queue) == ("", {"h": 150, "a": 210, "c": 260})


def test_a_job_moves_up_only_if_no_reservation_moves_back() -> None:
    """x ended early, so 3 of 4 slots are free now; y holds one until 200. a was promised 200 (it needs 4), b 250."""
    runs = [running("y", 1, 200)]
    queue = [waiting("a", 4, 50), waiting("b", 2, 110), waiting("c", 2, 100)]
    assert reserved(3, runs, queue, a=200, b=250) == ("c", {"a": 200, "b": 250})


def test_a_profile_is_what_is_free_from_when_on() -> None:
    profile = Profile(0, 1, [(10, 2), (20, 1)])
    assert (profile.earliest(1, 99), profile.earliest(2, 5), profile.earliest(4, 1)) == (0, 10, 20)
    profile.take(3, 10, 5)
    assert (profile.earliest(1, 11), profile.earliest(1, 10), profile.earliest(2, 1)) == (15, 0, 15)
    assert profile.fits(1, 0, 10)
    assert not profile.fits(1, 5, 6)
    profile.take(-3, 10, 5)
    assert profile.earliest(2, 5) == 10
    assert profile.earliest(5, 1) is None


class Noted(Conservative):
    """Notes the first reservation of each job."""

    first: dict[str, float]

    def reserve(self, view: QueueView) -> tuple[object, dict[str, float]]:  # type: ignore[override]
        starts, later = super().reserve(view)
        for each in starts:
            self.first.setdefault(each.job, view.now_ms)
        for name, at_ms in later.items():
            self.first.setdefault(name, at_ms)
        return starts, dict(later)


@settings(max_examples=80, deadline=None)
@given(load=cluster_loads())
def test_no_job_starts_later_than_its_first_reservation(
    load: tuple[list[int], list[int], list[int], list[int]],
) -> None:
    """Estimates are upper bounds here; many jobs end early."""
    submit, runtime, estimate, slots = (np.array(column_) for column_ in load)
    work = replace(plain_work(submit * S, runtime * S), slots=slots.astype(np.int32), estimate_ms=estimate * S)
    order = Noted()
    object.__setattr__(order, "first", {})
    starts = column(run_cluster(work, SLOTS, order=order).jobs.first_start_ms)
    promised = np.array([order.first[work.job_id(index)] for index in range(len(work))])
    assert (starts <= promised).all()
    assert (starts >= work.submit_ms).all()


def test_a_prediction_is_the_mean_of_the_last_two_capped_by_the_request() -> None:
    order = EasyPlusPlus()
    assert order.predict((), 100) == order.predict((8,), 100) == 100
    assert order.predict((8, 20), 100) == 14
    assert order.predict((90, 200), 100) == 100
    assert order.predict((90, 200), -1) == 145


def test_a_prediction_that_is_over_is_corrected() -> None:
    """Predicted to end at 90 s, and it is 100 s; it asks for as long as to 800 s."""
    over = replace(running("x", 2, 90), limit_ms=800 * S)
    assert EasyPlusPlus().corrected_ms(over, 100 * S) == 800 * S
    assert EasyPlusPlus(correction="steps").corrected_ms(over, 100 * S) == 150 * S
    assert EasyPlusPlus(correction="steps").corrected_ms(over, 400 * S) == 800 * S, "15 minutes more are too many"
    assert EasyPlusPlus().corrected_ms(over, 80 * S) == 90 * S


def test_easy_plus_plus_lets_jump_whom_the_request_would_hold() -> None:
    """Two slots. A user's two jobs ask for 1,000 s each and run 10. Then x takes one slot for 300 s, h needs both, and
    the user's next asks for 1,000 s on one: by its request it would delay h, by its history it ends long before."""
    submit = np.array([0, 0, 20, 21, 22]) * S
    runtime = np.array([10, 10, 300, 50, 10]) * S
    asked = np.array([1_000, 1_000, 300, 50, 1_000]) * S
    work = plain_work(submit, runtime)
    users = np.array([7, 7, 1, 1, 7], dtype=np.int32)
    work = replace(work, slots=np.array([1, 1, 1, 2, 1], dtype=np.int32), estimate_ms=asked, user=users)
    starts = {
        type(order).__name__: column(run_cluster(work, 2, order=order).jobs.first_start_ms) // S
        for order in (EasySjbf(), EasyPlusPlus())
    }
    assert starts["EasySjbf"].tolist() == [0, 0, 20, 320, 370]
    assert starts["EasyPlusPlus"].tolist() == [0, 0, 20, 320, 22]


def test_the_queue_may_be_looked_at_after_each_event_of_a_moment() -> None:
    """One slot; a long and a short job come in the same second, the long one first."""
    work = plain_work(np.array([10, 10]) * S, np.array([30, 5]) * S)
    work = replace(work, estimate_ms=work.runtime_ms)
    starts = [
        column(run_cluster(work, 1, order=Easy(base=ShortestJobFirst(), each_event=each)).jobs.first_start_ms) // S
        for each in (False, True)
    ]
    assert [each.tolist() for each in starts] == [[15, 10], [10, 40]]
