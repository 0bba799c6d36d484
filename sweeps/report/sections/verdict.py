"""The first section: what came out of the sweep, in a sentence and in a few numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from dpo_core.wording import counted
from sweeps.report import formatting
from sweeps.report.blocks import Block, Facts, Section, Text
from sweeps.report.report_data import ReportData
from sweeps.report.undecided_pairs import undecided_pairs_sentence
from sweeps.run_dir.json_types import SelectionJson
from sweeps.run_dir.ledger import FAILED, TrialRecord
from sweeps.selection.effect import effect_sentences
from sweeps.selection.trial_counts import count_trials, trials_in_words
from sweeps.selection.verdict import BETTER, NOTHING, WORSE


def verdict_sentence(data: ReportData) -> str:
    """Return what came out of the sweep, for a reader who reads nothing else."""
    verdict = data.selection.get("verdict")
    if verdict and verdict.get("sentence"):
        return verdict["sentence"]
    if data.running:
        return _progress_sentence(data)
    # An older version wrote selections without a verdict.
    winner = data.selection.get("winner")
    return f"{winner['trial']} at step {winner['step']} was selected." if winner else "No winner."


def verdict_tone(data: ReportData) -> str:
    """Return good, bad or open, which gives the verdict its colour."""
    word = (data.selection.get("verdict") or {}).get("word")
    return {BETTER: "good", WORSE: "bad", NOTHING: "bad"}.get(str(word), "open")


def verdict_section(data: ReportData) -> Section:
    """Show the winner and the numbers of the verdict, and warn of failed or later trials."""
    blocks: list[Block] = [Facts(tuple(_facts(data)))]
    effect = (data.selection.get("verdict") or {}).get("effect")
    if effect:
        sentences = (f"{each[0].upper()}{each[1:]}." for each in effect_sentences(effect))
        blocks.append(Text(" ".join(sentences)))
    blocks += [Text(sentence, "warning") for sentence in _undecided_pairs(data)]
    if not data.running and len(data.ended_trials) > _selected_trials(data.selection):
        warning = (
            "The ledger has more trials than selection.json: the winner was selected before they "
            "ended."
        )
        blocks.append(Text(warning, "warning"))
    failed = [record for record in data.ended_trials if record.status == FAILED]
    if failed:
        blocks.append(Text(_failures(failed), "warning"))
    return Section("verdict", "Verdict", tuple(blocks))


def _progress_sentence(data: ReportData) -> str:
    total = data.config.planned_trials
    sentence = f"Not ended yet: {len(data.ended_trials)} of {total} trials have ended"
    open_count = len(data.open_trials)
    if open_count:
        sentence += f", {open_count} {'is' if open_count == 1 else 'are'} open"
    if data.highlighted is None:
        return f"{sentence}; nothing has been evaluated."
    trial, step = data.highlighted
    evaluations = next(r.evaluations for r in data.records if r.trial == trial)
    evaluation = next(e for e in evaluations if e.step == step)
    accuracy = evaluation.accuracy(data.objective)
    if not evaluation.can_win:
        return f"{sentence}. No checkpoint can win yet: none moved the model within the guardrails."
    return (
        f"{sentence}. Best so far: {trial} at step {step} with {formatting.percent(accuracy)} on the "
        "select split. This number is optimistic: it is the best of several on the same pairs."
    )


def _facts(data: ReportData) -> Iterator[tuple[str, str]]:
    if data.highlighted:
        trial, step = data.highlighted
        yield data.highlighted_label, f"{trial}, step {step}"
        point = next(r.point for r in data.records if r.trial == trial)
        yield "hyperparameters", formatting.point(point)
    yield "objective", data.objective
    yield "base model", data.config.model.path
    yield "trials", _trial_counts(data)
    verdict = data.selection.get("verdict") or {}
    difference = verdict.get("difference")
    if difference is not None:
        gain = f"gain over the {verdict.get('against')}"
        yield gain, formatting.percentage_points(difference)
    interval = verdict.get("interval")
    if interval:
        yield "95 % interval of the gain", f"{formatting.points_interval(interval)} points"
    p_value = verdict.get("p_value")
    if p_value is not None:
        yield "p-value", formatting.p_value(p_value)


def _undecided_pairs(data: ReportData) -> Iterator[str]:
    """Yield what float32 would decide of the winner's pairs, if that is worth saying."""
    outcomes = data.outcomes.get(data.reported_split or "")
    if outcomes is not None and data.selection.get("winner"):
        min_margin = data.config.selection.min_margin
        sentence = undecided_pairs_sentence(outcomes, min_margin, data.prepared)
        if sentence:
            yield sentence


def _selected_trials(selection: SelectionJson) -> int:
    """Return how many trials had ended when the winner was selected."""
    counts = selection.get("trial_counts")
    if counts:
        return counts["search"] + counts["confirmation"]
    # An older version counted the trials of the search alone.
    confirming = sum(len(point["trials"]) for point in selection.get("confirmation") or ())
    return len(selection.get("trials", ())) + confirming


def _trial_counts(data: ReportData) -> str:
    words = trials_in_words(**count_trials(data.ended_trials))
    open_trials = f", {len(data.open_trials)} open" if data.open_trials else ""
    return f"{words}{open_trials}; {data.config.planned_trials} of the search planned"


def _failures(failed: Sequence[TrialRecord]) -> str:
    counts = Counter(str(record.reason) for record in failed)
    reasons = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())
    last = failed[-1]
    trials = counted(len(failed), "trial")
    return f"{trials} failed: {reasons}. The last one was {last.trial}: {last.detail}"
