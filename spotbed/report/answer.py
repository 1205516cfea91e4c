"""The answer in plain words, made from numbers. It never names a winner that the intervals do not carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spotbed.report.charts.deadlines import has_deadlines
from spotbed.report.charts.rows import ByCause
from spotbed.report.data import ComparisonData
from spotbed.report.document import Strong, Words
from spotbed.report.estimates import LEGACY, Difference, Estimate, difference, estimate, labels, policies
from spotbed.report.marks import Label
from spotbed.report.standing import ENOUGH_WORK, Standing, policy_of
from spotbed.report.words import MINUS, count, duration, fixed, is_known, listed, percent, plural, usd, usd_like


def answer(data: ComparisonData, found: Standing) -> list[Words]:
    """The opening paragraph, sentence by sentence."""
    if found.best is None:
        told = "No policy did the work at a cost that can be stated, so none is called the cheapest."
        return [(told,), *_less(data, found), *_undefined(found)]
    sentences = [
        _cheapest(data, found.best, found),
        *_work_done(data, found.best),
        *_against_others(data, found.best, found),
        *_against_baseline(data, found.best),
    ]
    return [*sentences, *_price_of_it(data, found.best), *_less(data, found), *_undefined(found)]


def answer_in_time(data: ComparisonData) -> list[Words]:
    """The opening paragraph where nothing is billed: who keeps jobs waiting least for their size."""
    slowdown = {str(policy["label"]): estimate(policy, "bounded_slowdown").mean for policy in policies(data.results)}
    known = {label: mean for label, mean in slowdown.items() if is_known(mean)}
    if not known:
        return [("Nothing is billed, and no job ended well: there is nothing to compare.",)]
    best, baseline = min(known, key=lambda label: known[label]), str(data.results.get("baseline"))
    worlds = data.replications
    over = f"Over {plural(worlds, 'simulated world')}, " if worlds > 1 else "In the one world that was simulated, "
    lowest: Words = (over, Label(best), " has the lowest mean bounded slowdown: ", Strong(fixed(known[best])), ".")
    sentences = [lowest]
    gap = difference(data.worlds, best, baseline, "bounded_slowdown")
    if best == baseline:
        sentences.append((Label(best), " is the baseline itself."))
    elif baseline in known and gap is not None:
        open_end = ", a difference that these worlds do not resolve" if worlds > 1 and gap.answer != "lower" else ""
        sentences.append(("Under the baseline ", Label(baseline), f" it is {fixed(known[baseline])}{open_end}."))
    return [*sentences, ("Nothing is billed here, so policies are compared by time alone.",)]


def _cheapest(data: ComparisonData, best: str, found: Standing) -> Words:
    cost = estimate(policy_of(data, best), "cost_usd")
    worlds = data.replications
    over = f"Over {plural(worlds, 'simulated world')}, " if worlds > 1 else "In the one world that was simulated, "
    price: Words = (Strong(usd(cost.mean)), f"{between(cost)} a world.")
    if len(policies(data.results)) == 1:
        return (over, Label(best), " costs ", *price)
    whole = " of those that did comparable work" if found.less_work else ""
    if worlds < 2:
        return (over, Label(best), f" costs least{whole}: ", Strong(usd(cost.mean)), ".")
    what = " has the lowest mean cost" if found.tied else " is the cheapest policy"
    return (over, Label(best), f"{what}{whole}: ", *price)


def _work_done(data: ComparisonData, best: str) -> list[Words]:
    """Said only where the best of them did not get nearly all jobs done."""
    own = policy_of(data, best)
    done, submitted = estimate(own, "jobs_done").mean, estimate(own, "jobs_submitted").mean
    if done is None or not submitted or done >= ENOUGH_WORK * submitted:
        return []
    return [(f"It gets {count(done)} of {count(submitted)} jobs done ({percent(done / submitted)}).",)]


def between(found: Estimate) -> str:
    """The interval of a cost, in brackets, if there is one."""
    if found.low is None or found.high is None:
        return ""
    scale = min(abs(found.mean or found.high), 50 * (found.high - found.low))  # the ends may not look the same
    return f" (95 % interval {usd_like(found.low, scale)} to {usd_like(found.high, scale)})"


def _against_others(data: ComparisonData, best: str, found: Standing) -> list[Words]:
    if found.tied:
        return [_tie(data, best, found)]
    if found.next_best is None:
        return []
    gap = difference(data.worlds, found.next_best, best, "cost_usd")
    if gap is None or gap.low is None:
        return []
    ends = f" ({usd_like(gap.low, gap.mean)} to {usd_like(gap.high, gap.mean)}) more on the same worlds."
    return [("The next, ", Label(found.next_best), ", costs ", usd(gap.mean), ends)]


def _tie(data: ComparisonData, best: str, found: Standing) -> Words:
    tied = found.tied
    names: list[str | Strong | Label] = []
    for label in tied:
        names += [Label(label), " or " if label == tied[-2:][0] else ", "]
    names = names[:-1]
    gap = difference(data.worlds, tied[0], best, "cost_usd")
    if gap is None or gap.low is None:
        return ("With one world nothing says whether it is cheaper than ", *names, ": run more worlds.")
    size = max(abs(gap.mean), abs(gap.low), abs(gap.high or 0.0))
    judged = difference(data.worlds, best, tied[0], "cost_usd", found.others)
    more = judged.more_worlds if judged is not None else None
    tail = f" About {plural(more, 'more world')} would." if more else ""
    ends = f"{signed(gap.low, size)} to {signed(gap.high, size)}"
    whole = f" ({tied[0]} costs {usd_like(gap.mean, size)} more, interval {ends})"
    return (
        "But the intervals do not tell it apart from ",
        *names,
        f"{whole}, so it is ",
        Strong("not a winner"),
        f".{tail}",
    )


def signed(value: float | None, scale: float) -> str:
    """Dollars with their sign, written like one of size `scale`."""
    text = usd_like(value, scale)
    return text if text.startswith(MINUS) or not value else f"+{text}"


def _against_baseline(data: ComparisonData, best: str) -> list[Words]:
    baseline = str(data.results.get("baseline"))
    if baseline not in labels(data.results) or len(policies(data.results)) < 2:
        return []
    if best == baseline:
        return [(Label(best), " is the baseline itself: ", Strong("no saving was found"), ".")]
    own, theirs = (estimate(policy_of(data, label), "cost_usd").mean for label in (best, baseline))
    gap = difference(data.worlds, best, baseline, "cost_usd")
    if own is None or not theirs or gap is None:
        return []
    if gap.low is not None and gap.answer != "lower":
        return [("Against the baseline ", Label(baseline), f" ({usd(theirs)}) ", Strong("no saving is shown"), ".")]
    won = f", and is cheaper in {_won(gap)}" if gap.worlds > 1 else ""
    saved = Strong(f"{percent(1 - own / theirs)} less")
    return [(Label(best), " costs ", saved, " than the baseline ", Label(baseline), f" ({usd(theirs)}){won}.")]


def _won(gap: Difference) -> str:
    won = round(gap.below * gap.worlds)
    return f"all {gap.worlds} worlds" if won == gap.worlds else f"{won} of {gap.worlds} worlds"


def _price_of_it(data: ComparisonData, best: str) -> list[Words]:
    """What the saving costs in time and in deadlines, against the baseline."""
    baseline = str(data.results.get("baseline"))
    if best == baseline or baseline not in labels(data.results):
        return []
    return [*_makespan(data, best, baseline), *_misses(data, best, baseline)]


def _makespan(data: ComparisonData, best: str, baseline: str) -> list[Words]:
    own, theirs = (estimate(policy_of(data, label), "makespan_s").mean for label in (best, baseline))
    gap = difference(data.worlds, best, baseline, "makespan_s")
    if own is None or theirs is None or gap is None:
        return []
    if gap.low is not None and gap.answer == "not resolved":
        told = f"Its makespan is {duration(own)} against the baseline's {duration(theirs)}"
        return [(f"{told}{'' if own == theirs else ', a difference that these worlds do not resolve'}.",)]
    word = "more" if own >= theirs else "less"
    return [
        (
            f"Its makespan is {duration(own)}, {duration(abs(own - theirs))} {word} than the baseline's "
            f"{duration(theirs)}.",
        )
    ]


def _misses(data: ComparisonData, best: str, baseline: str) -> list[Words]:
    own, theirs = (estimate(policy_of(data, label), "deadline_missed").mean for label in (best, baseline))
    if own is None or theirs is None or (data.runs and not has_deadlines(data.runs)):
        return []
    if own == theirs == 0:
        return [("Neither misses a deadline.",)]
    return [(f"It misses {plural(own, 'deadline')} a world, the baseline {count(theirs)}.",)]


def _less(data: ComparisonData, found: Standing) -> list[Words]:
    sentences: list[Words] = []
    for label in found.less_work:
        own = policy_of(data, label)
        cost, submitted = estimate(own, "cost_usd").mean, estimate(own, "jobs_submitted").mean
        what = _not_done(own)
        if what and is_known(cost):
            of = f" of {count(submitted)} jobs" if is_known(submitted) else " jobs"
            sentences.append(
                (Label(label), f" spends {usd(cost)}, but {what}{of}: its bill does not buy the same work.")
            )
    return sentences


def _not_done(policy: Mapping[str, Any]) -> str:
    words = (("jobs_lost", "loses"), ("jobs_failed", "fails"), ("jobs_unfinished", "leaves unfinished"))
    found = [(verb, estimate(policy, metric).mean or 0.0) for metric, verb in words]
    return listed([f"{verb} {count(mean)}" for verb, mean in found if mean > 0])


def _undefined(found: Standing) -> list[Words]:
    if not found.undefined:
        return []
    return [(f"No mean cost can be stated for {', '.join(found.undefined)}: see what this report does not know.",)]


def legacy_sentences(data: ComparisonData, amounts: ByCause) -> list[Words]:
    """What the 2019 scheduler would have done to these jobs; empty when it was not compared."""
    sentences: list[Words] = []
    for policy in policies(data.results):
        if policy.get("architecture") == LEGACY:
            label = str(policy.get("label"))
            sentences += [*_faults(policy, label), *_polling(label, amounts, data)]
    return sentences


def _faults(policy: Mapping[str, Any], label: str) -> list[Words]:
    means = {name: estimate(policy, name).mean or 0.0 for name in _FAULTS}
    submitted = estimate(policy, "jobs_submitted").mean
    lost = means["jobs_lost"]
    of = f" of {count(submitted)}" if is_known(submitted) else ""
    first: Words = (Label(label), " loses ", Strong(plural(lost, "job")), f"{of} a world", _share(lost, submitted))
    sentences = [(*first, ": deleted from the queue before they ended, and never run again.")] if lost else []
    for name, (word, meaning) in _FAULTS.items():
        if name != "jobs_lost" and means[name] > 0:
            sentences.append((f"{count(means[name])} ", Strong(word), f" a world: {meaning}."))
    return sentences or [
        (Label(label), " lost nothing in these worlds: no interruption or limit met it at a bad moment.")
    ]


_FAULTS = {
    "jobs_lost": ("jobs lost", ""),
    "jobs_failed": ("jobs failed", "an interruption, too, burns one of their retries"),
    "duplicate_completions": ("duplicate completions", "the same job ran, and ended, twice"),
    "orphan_workers": ("orphan workers", "instances that are paid with nothing to do and nothing that would stop them"),
}


def _share(part: float, whole: float | None) -> str:
    return f" ({percent(part / whole)})" if whole and is_known(whole) else ""


def _polling(label: str, amounts: ByCause, data: ComparisonData) -> list[Words]:
    mine = amounts.get(label, {})
    total, control = sum(mine.values()), mine.get("control", 0.0)
    if not total or not control:
        return []
    ours = [
        (other, by_cause.get("control", 0.0))
        for other, by_cause in amounts.items()
        if other != label and policy_of(data, other).get("architecture") == "decoupled"
    ]
    tail: Words = (".",)
    if ours:
        other, least = min(ours, key=lambda entry: entry[1])
        tail = ("; under ", Label(other), f" it is {usd(least)}.")
    return [
        (
            "Its control plane, which polls, costs ",
            Strong(usd(control)),
            f" a world, {percent(control / total)} of its bill",
            *tail,
        )
    ]
