"""How often verification accuses the honest, and how often it finds the dishonest, in simulated submissions."""

import numpy as np

from editbench.editors import load_editor
from editbench.plan import sample_seed
from editbench.registry import create
from editbench.types import Answers, Sample, Task
from editbench.verify.again import ALPHA, QUANTITIES, refusals
from editbench.verify.edits import look, of_masks, of_targets


def pairs(generator, count, better=0.0):
    """Differences of three draws of one editor on each scenario; the submitted one is `better` in the composite."""
    scenarios = generator.normal(size=(1, count, len(QUANTITIES)))
    draws = scenarios + generator.standard_t(3, size=(3, count, len(QUANTITIES)))  # heavy tails, no normal law
    draws[:, :, 0] = generator.random((3, count)) < 0.9  # whether there is an edit
    draws[0, :, 1] += better
    own, fresh = draws[1] - draws[0], draws[2] - draws[0]
    rows = [[dict(zip(QUANTITIES, edit, strict=True)) for edit in made] for made in (own, fresh)]
    return {"the run's seed": rows[0], "a fresh seed": rows[1]}


def refused(generator, runs, count, better=0.0):
    clusters = [str(number // 2) for number in range(count)]  # two scenarios of each source
    return sum(bool(list(refusals(pairs(generator, count, better), clusters))) for _ in range(runs))


def test_an_honest_editor_is_refused_no_more_often_than_stated(long, figure):
    runs = 2000 if long else 150
    found = refused(np.random.default_rng(0), runs, 32)
    assert found <= runs * ALPHA + 3 * (runs * ALPHA) ** 0.5
    figure("honest editors that are no more than alike, made again: not refused", runs, runs - found)


def test_a_submission_that_was_selected_is_refused(long, figure):
    """Better by two standard deviations, as the best of some thirty draws is."""
    runs = 300 if long else 30
    found = refused(np.random.default_rng(1), runs, 48, better=3.5)
    assert found >= 0.9 * runs
    figure("selected submissions, made again: refused", runs, found)


SEES_NOTHING = (
    "blur",
    "jpeg",
    "noise",
    "blur:sigma=0.3",
    "jpeg:quality=95",
    "noise:sigma=0.004",
    "shuffle",
    "identity",
)
SEES_THE_MASK = ("recolor", "harmonise", "biharmonic", "fill", "paste:editor=[noise]", "paste:editor=[shuffle]")


def looked(spec, suite):
    editor = load_editor(spec)
    leaf = getattr(editor, "editor", editor)
    if isinstance(leaf, Answers):
        leaf.prepare(suite)
    found = []
    for scenario in suite:
        task = Task(scenario, 0, sample_seed(0, scenario.id, 0))
        if isinstance(leaf, Answers):
            output = leaf.answer(task)
        else:
            (output,) = leaf.edit([task.request(leaf.mask_access)])
        if isinstance(output, Exception) or output is None:
            continue
        output = editor.compose(scenario, output) if leaf is not editor else output
        found.append(look(Sample(scenario, output), "", 0))
    return found


def test_masks_are_seen_where_they_were_used_and_nowhere_else(long, figure):
    specs = [f"shapes@1:size={size}" for size in ((32, 64) if long else (32,))]
    blind = SEES_NOTHING if long else SEES_NOTHING[-3:]
    used = SEES_THE_MASK if long else SEES_THE_MASK[:1]
    tried = 0
    for suite in (create("suite", spec) for spec in specs):
        for spec in blind:
            edits = looked(spec, suite)
            assert of_masks(edits, "none") == ([], []), spec
            assert of_targets(edits) == ([], []), spec
            tried += 1
        for spec in used:
            edits = looked(spec, suite)
            problems, _ = of_masks(edits, "none")
            assert problems and "the mask was used" in problems[0], spec
            assert of_masks(edits, "region") == ([], [])
            assert of_targets(edits) == ([], []), spec
            tried += 1
        edits = looked("target", suite)  # the perfect editor, whatever it has seen
        assert not of_masks(edits, "none")[0] and of_targets(edits)[0]
    figure("editors told by their edits: saw the mask, or did not", tried, tried)
