"""Tune a policy: Optuna proposes parameters, some worlds choose among them, and others tell what that is worth."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotbed.comparison import finish
from spotbed.engines import LOCAL, Engine
from spotbed.errands import Errand, Item
from spotbed.errors import InputError, OutsideError, Problem
from spotbed.files import MARK, check_replaceable, make_parents, new_folder, report_folder
from spotbed.keeping import code_sha256, forget, unfinished_folder
from spotbed.metric_names import METRIC_BY_NAME
from spotbed.progress import Progress, Silent
from spotbed.scenario.models_search import Range, Search
from spotbed.search_space import check_space, overrides_of
from spotbed.stats.summary import paired, summarise, verdict

if TYPE_CHECKING:
    from spotbed.build import Blueprint

SCHEMA_VERSION = 1
_LOCK_S = 3  # after which a lock on the storage is taken from a process that was killed with it: a write takes far less


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. Numbers of worlds are those of the scenario's `replications` if they are None."""

    path: Path
    trials: int
    overrides: tuple[str, ...] = ()
    objectives: tuple[str, ...] | None = None
    storage: Path | None = None
    tune_worlds: int | None = None
    report_worlds: int | None = None
    out: Path | None = None
    engine: Engine = LOCAL


@dataclass(frozen=True, slots=True)
class Found:
    """A search that is written."""

    path: Path
    results: dict[str, Any]


@dataclass(slots=True)
class _Task:
    """A search that is under way."""

    request: Request
    made: Blueprint
    search: Search
    objectives: tuple[str, ...]
    target: Path
    storage: Path
    tune: range
    report: range

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """What --set would be given for these parameters."""
        return overrides_of(self.made.scenario, self.search, values, self.request.overrides)

    @property
    def directions(self) -> list[str]:
        """Optuna's word for each objective."""
        return ["minimize" if METRIC_BY_NAME[name].lower_is_better else "maximize" for name in self.objectives]


def run_search(request: Request, progress: Progress | None = None) -> Found:
    """Run trials until there are as many as asked for, then judge the best on other worlds, and write the report.

    What an earlier call of the same search has tried, by its storage, is not tried again. Raises InputError,
    KeyboardInterrupt, PolicyFailure and OutsideError.
    """
    progress = progress or Silent()
    task = _task(request)
    make_parents(task.storage)
    study = _study(task)
    while (done := len(_complete(study))) < request.trials:
        trial = study.ask()
        values = {key: _suggest(trial, key, each) for key, each in task.search.space.items()}
        progress.update(done, request.trials, f"trial {trial.number}: {_told(values)}")
        means = _worlds(task, task.overrides(values), [task.search.policy], task.tune)[task.search.policy]
        trial.set_user_attr("values", values)
        study.tell(trial, [_objective(name, means[name]) for name in task.objectives])
    progress.update(request.trials, request.trials, "judging the best on other worlds")
    results = _results(task, study)
    _write(task, results)
    forget(task.target)
    return Found(task.target, results)


def _task(request: Request) -> _Task:
    """Everything that is wrong with a request shows here, before anything is run."""
    from spotbed.api import ready
    from spotbed.scenario.load import load_scenario

    if importlib.util.find_spec("optuna") is None:
        hint = "Install it: pip install 'spotbed[search]'."
        raise InputError(Problem("optuna is not installed.", "spotbed search", hint=hint))
    scenario = load_scenario(request.path, request.overrides)
    if scenario.search is None:
        hint = "Add one: search: {policy: LABEL, space: {place.max_share_per_pool: {from: 0.2, to: 1.0}}}."
        raise InputError(Problem("the scenario has no `search`.", str(request.path), hint=hint))
    objectives = request.objectives or scenario.search.objectives
    for name in objectives:
        if name not in METRIC_BY_NAME or METRIC_BY_NAME[name].lower_is_better is None:
            raise InputError(_no_objective(name))
        if objectives.count(name) > 1:
            raise InputError(Problem("is named twice.", "--objectives", path=name, hint="Name each objective once."))
    tune = request.tune_worlds or scenario.replications
    report = request.report_worlds or scenario.replications
    target = request.out or report_folder(scenario.name, "search")
    check_replaceable(target)
    storage = request.storage or target.parent / f"{target.name}.optuna.log"
    made = ready(scenario, worlds=tune + report)
    check_space(scenario, scenario.search, request.path, request.overrides)
    return _Task(request, made, scenario.search, objectives, target, storage, range(tune), range(tune, tune + report))


def _no_objective(name: str) -> Problem:
    from spotbed.scenario.problems import suggestion

    good = [each for each, metric in METRIC_BY_NAME.items() if metric.lower_is_better is not None]
    return Problem(
        f"{name!r} is no metric that is good or bad.", "--objectives", value=name, hint=suggestion(name, good)
    )


def _study(task: _Task) -> Any:
    """Optuna's study of this search, with trials that a killed process has left unfinished put first."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(task.storage), lock_of(task.storage)))
        name = _study_name(task)
        begun = [study for study in optuna.get_all_study_names(storage) if study == name]
        before = len(optuna.load_study(study_name=name, storage=storage).trials) if begun else 0
        sampler = optuna.samplers.TPESampler(seed=task.made.scenario.seed + before)
        study = optuna.create_study(
            study_name=name, storage=storage, sampler=sampler, directions=task.directions, load_if_exists=True
        )
    except (OSError, ValueError, KeyError) as error:
        what = f"{task.storage} cannot be used as a storage of trials: {error}"
        raise OutsideError(what, "the file as it is", "give another file with --storage.") from error
    for trial in study.get_trials(deepcopy=False):
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
    return study


def lock_of(storage: Path) -> Any:
    """Held for each write to the storage. Not Optuna's usual lock, a link to the storage: when that is a relative path
    and its holder was killed, the next one waits for ever, as it looks for the age of a file that is not there."""
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(str(storage), grace_period=_LOCK_S)


def _study_name(task: _Task) -> str:
    """The same search, on the same worlds, with the same code."""
    model = task.made.scenario.model_dump_json(
        by_alias=True, exclude={"name", "description", "gates", "sweep", "search"}
    )
    policies = [each.sha256 for each in task.made.composed.values()]
    search = task.search.model_dump_json(by_alias=True)
    parts = [model, *policies, search, str(task.objectives), str(task.tune), code_sha256()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _complete(study: Any) -> list[Any]:
    import optuna

    return list(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))


def _suggest(trial: Any, key: str, values: Any) -> Any:
    """A value, as a scenario would have it."""
    if not isinstance(values, Range):
        texts = [json.dumps(value) for value in values]
        return json.loads(trial.suggest_categorical(key, texts))
    scale = values.scale
    if scale.whole:
        return trial.suggest_int(key, int(scale.low), int(scale.high), log=values.log)
    return scale.write(trial.suggest_float(key, scale.low, scale.high, log=values.log))


def _objective(name: str, worlds: Sequence[float]) -> float:
    """The mean over worlds; where no world has the metric, the worst there is."""
    mean = summarise(worlds)["mean"]
    if mean is not None:
        return mean
    return math.inf if METRIC_BY_NAME[name].lower_is_better else -math.inf


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


def _worlds(
    task: _Task, overrides: Sequence[str], labels: Sequence[str], worlds: range
) -> dict[str, dict[str, list[float]]]:
    """Metric by world, for policies of the scenario with these overrides. Worlds that were run before are not again."""
    from spotbed.api import ready
    from spotbed.scenario.load import load_scenario

    made = ready(load_scenario(task.request.path, overrides))
    errand = Errand.of(made, task.request.path, overrides, task.target, tables=False)
    items: list[Item] = [(errand, (label, world)) for label in labels for world in worlds]
    found = {item[1]: kept.result.metrics for item, kept in finish(items, task.request.engine, Silent(), task.target)}
    return {
        label: {name: [found[label, world][name] for world in worlds] for name in METRIC_BY_NAME} for label in labels
    }


# what it has found --------------------------------------------------------------------------------------------------
def _results(task: _Task, study: Any) -> dict[str, Any]:
    """The trials that no other beats in all objectives, judged on worlds that none of them has seen."""
    scenario = task.made.scenario
    # of trials that came to the same the first stands for all
    front = {tuple(trial.values): trial.number for trial in sorted(study.best_trials, key=lambda each: -each.number)}
    label, baseline = task.search.policy, scenario.baseline
    before = _worlds(task, task.request.overrides, list(dict.fromkeys((baseline, label))), task.report)
    trials = []
    for trial in _complete(study):
        values = trial.user_attrs["values"]
        told: dict[str, Any] = {"trial": trial.number, "values": values, "on_front": trial.number in front.values()}
        told["tuned"] = dict(zip(task.objectives, trial.values, strict=True))
        if told["on_front"]:
            own = _worlds(task, task.overrides(values), [label], task.report)[label]
            told["reported"] = _judged(task, own, before[baseline], before[label])
        trials.append(told)
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": scenario.name,
        "policy": label,
        "baseline": baseline,
        "objectives": list(task.objectives),
        "tune_worlds": [task.tune.start, task.tune.stop],
        "report_worlds": [task.report.start, task.report.stop],
        "before": {each: _judged(task, before[each], before[baseline], before[label]) for each in before},
        "trials": trials,
    }


def _judged(
    task: _Task, own: Mapping[str, list[float]], baseline: Mapping[str, list[float]], untuned: Mapping[str, list[float]]
) -> dict[str, Any]:
    judged: dict[str, Any] = {}
    for name in task.objectives:
        better = METRIC_BY_NAME[name].lower_is_better
        judged[name] = {**summarise(own[name])}
        for against, values in (("vs_baseline", baseline), ("vs_untuned", untuned)):
            pair = paired(own[name], values[name], lower_is_better=better)
            judged[name][against] = {**pair, "verdict": verdict(pair).answer}
    return judged


def _write(task: _Task, results: dict[str, Any]) -> None:
    from spotbed.api import write_json, write_table
    from spotbed.provenance import of_scenario
    from spotbed.report.html import page
    from spotbed.report.markdown import write_document
    from spotbed.report.search import search_document, trials_frame

    made = task.made
    document = search_document(results)
    with new_folder(task.target, f"all trials in {task.storage}, worlds in {unfinished_folder(task.target)}") as folder:
        write_json(folder / "results.json", results)
        write_table(trials_frame(results), folder / "trials.csv")
        write_json(
            folder / MARK,
            of_scenario(made, {"seed": made.scenario.seed}, overrides=list(task.request.overrides)),
        )
        (folder / "index.html").write_bytes(page(document))
        write_document(document, folder)
