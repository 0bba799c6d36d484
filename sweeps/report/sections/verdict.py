"""The first sections: the verdict in a sentence, and the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sweeps.report import formatting
from sweeps.report.blocks import Block, Facts, Section, Text
from sweeps.report.report_data import Evidence
from sweeps.run_dir.ledger import FAILED, TrialRecord
from sweeps.selection.verdict import BETTER, NOTHING, WORSE


def verdict_sentence(evidence: Evidence) -> str:
    """What came out of it, for a reader who reads nothing else."""
    verdict = evidence.selection.get("verdict")
    if verdict and verdict.get("sentence"):
        return str(verdict["sentence"])
    if evidence.running:
        return _progress_sentence(evidence)
    # Of a selection that is older than verdicts.
    winner = evidence.selection.get("winner")
    return f"{winner['trial']} at step {winner['step']} was chosen." if winner else "No winner."


def _progress_sentence(evidence: Evidence) -> str:
    total = evidence.config.search.trials
    sentence = f"Not ended yet: {len(evidence.ended)} of {total} trials have ended"
    if evidence.open:
        sentence += f", {len(evidence.open)} {'is' if len(evidence.open) == 1 else 'are'} open"
    if evidence.subject is None:
        return f"{sentence}; nothing has been evaluated."
    trial, step = evidence.subject
    evaluations = next(r.evaluations for r in evidence.records if r.trial == trial)
    accuracy = next(e.accuracy(evidence.objective) for e in evaluations if e.step == step)
    return (
        f"{sentence}. Best so far: {trial} at step {step} with {formatting.share(accuracy)} on the "
        "select split, a number that flatters."
    )


def tone(evidence: Evidence) -> str:
    """good, bad or open: for the colour of the sentence."""
    word = (evidence.selection.get("verdict") or {}).get("word")
    return {BETTER: "good", WORSE: "bad", NOTHING: "bad"}.get(str(word), "open")


def verdict_section(evidence: Evidence) -> Section:
    selection = evidence.selection
    items = [
        ("objective", evidence.objective),
        ("base model", evidence.config.model.path),
        ("trials", _trial_counts(evidence)),
    ]
    if evidence.subject:
        items.insert(
            0, (evidence.subject_name, f"{evidence.subject[0]}, step {evidence.subject[1]}")
        )
        point = next(r.point for r in evidence.records if r.trial == evidence.subject[0])
        items.insert(1, ("its point", formatting.point(point)))
    verdict = selection.get("verdict") or {}
    if verdict.get("difference") is not None:
        items.append(
            (f"gain over the {verdict.get('against')}", formatting.points(verdict["difference"]))
        )
    if verdict.get("interval"):
        items.append(("95 % interval of the gain", _points_between(verdict["interval"])))
    if verdict.get("p_value") is not None:
        items.append(("p-value", formatting.p_value(verdict["p_value"])))
    blocks: list[Block] = [Facts(tuple(items))]
    if not evidence.running and len(evidence.ended) > len(selection.get("trials", [])):
        late = (
            "The ledger has more trials than selection.json: the choice below is older than they."
        )
        blocks.append(Text(late, "warning"))
    failed = [record for record in evidence.ended if record.status == FAILED]
    if failed:
        blocks.append(Text(_failures(failed), "warning"))
    return Section("verdict", "Verdict", tuple(blocks))


def _trial_counts(evidence: Evidence) -> str:
    counts: dict[str, int] = {}
    for record in evidence.records:
        counts[record.status] = counts.get(record.status, 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{told or 'none'}; {evidence.config.search.trials} planned"


def _failures(failed: Sequence[TrialRecord]) -> str:
    reasons = Counter(str(record.reason) for record in failed)
    told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    last = failed[-1]
    return f"{len(failed)} trials failed: {told}; the last, {last.trial}: {last.detail}"


def _points_between(bounds: Any) -> str:
    low, high = bounds
    return f"{formatting.points(low).removesuffix(' points')} to {formatting.points(high)}"
