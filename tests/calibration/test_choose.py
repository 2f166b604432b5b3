"""The choice: by problems it has not seen, never worse than no map, simple where that is as good."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration_samples import overconfident, steps, together
from surestep.calibration import (
    MAPS,
    CalibrationData,
    Judgement,
    assign_folds,
    choose_map,
    cross_validate,
    fit_calibration,
    held_out_by_choice,
    judge,
)
from surestep.calibration.choose import LEAST_RISE, TIE
from surestep.calibration.gain import RANDOM_SIGNS, FloatArray, changes, mean_and_error, step_losses
from surestep.errors import DataError
from surestep.metrics import ece, nll


@pytest.mark.slow
@given(st.integers(0, 1000), st.integers(2, 7))
def test_folds_hold_whole_problems_and_are_of_one_size(seed: int, num_folds: int) -> None:
    random = np.random.default_rng(seed)
    problem = random.integers(0, 40, 200) * 7
    data = CalibrationData(np.full(200, 0.5), np.zeros(200), problem, problem % 3, ("a", "b", "c"))
    folds = assign_folds(data, num_folds=num_folds, seed=seed)
    fold_of = {number: set(folds[problem == number].tolist()) for number in set(problem.tolist())}
    assert all(len(found) == 1 for found in fold_of.values())
    sizes = np.bincount([found.pop() for found in fold_of.values()], minlength=num_folds)
    assert sizes.max() - sizes.min() <= 1


def test_every_dataset_is_dealt_over_all_folds() -> None:
    data = together(steps(num_problems=10), steps(num_problems=100, dataset="b", first_problem=10))
    folds = assign_folds(data)
    assert np.bincount(folds[data.rows_of("a")]).tolist() == [40] * 5


def test_folds_do_not_depend_on_the_order_of_the_steps() -> None:
    data = steps(num_problems=30)
    order = np.random.default_rng(0).permutation(len(data))
    shuffled = CalibrationData(
        data.confidence[order], data.label[order], data.problem[order], data.dataset[order], data.dataset_names
    )
    assert (assign_folds(shuffled) == assign_folds(data)[order]).all()
    assert (assign_folds(data, seed=1) != assign_folds(data)).any()


def test_no_step_is_mapped_by_a_map_that_saw_its_problem() -> None:
    """Turning the labels of one fold around changes every confidence but that fold's own."""
    data = steps(num_problems=50, distort=overconfident(2.0))
    folds = assign_folds(data)
    mine = folds == 2
    turned = CalibrationData(
        data.confidence, np.where(mine, 1 - data.label, data.label), data.problem, data.dataset, data.dataset_names
    )
    for held_out in (
        lambda of: cross_validate("platt", of, folds),
        lambda of: held_out_by_choice(of, folds, methods=["platt"]),
    ):
        before, after = held_out(data), held_out(turned)
        assert (before[mine] == after[mine]).all()
        assert (before[~mine] != after[~mine]).all()


@given(st.integers(0, 10_000))
def test_the_choice_is_never_worse_than_no_map_in_cross_validation(seed: int) -> None:
    random = np.random.default_rng(seed)
    distort = overconfident(float(random.uniform(0.5, 3)), float(random.normal()))
    data = steps(num_problems=12, steps_each=5, seed=seed, distort=distort)
    folds = assign_folds(data)
    choice = choose_map(data, folds)
    accepted = [choice.scores[kind] for kind, judgement in choice.judgements.items() if judgement.accepted]
    assert choice.scores[choice.chosen.kind] <= choice.scores["identity"]
    assert (choice.chosen.kind == "identity") == (accepted == [])
    if choice.chosen.kind != "identity":
        assert choice.scores[choice.chosen.kind] <= min(accepted) + TIE
        found = changes(data.confidence, choice.held_out[choice.chosen.kind], data, folds)
        assert -found["nll"].rise > found["nll"].error
        for figure in ("brier", "ece"):
            assert found[figure].rise <= max(found[figure].error, LEAST_RISE)
    for method, held_out in choice.held_out.items():
        assert choice.scores[method] == pytest.approx(nll(held_out, data.label, data.weights))


def test_calibrated_data_mostly_keeps_the_identity_and_never_moves_far() -> None:
    kinds = []
    for seed in range(12):
        data = steps(num_problems=300, seed=seed)
        choice = choose_map(data, assign_folds(data))
        kinds.append(choice.chosen.kind)
        assert choice.scores["identity"] - choice.scores[choice.chosen.kind] < 0.002
        np.testing.assert_allclose(choice.chosen.apply([0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)
    assert kinds.count("identity") >= 9


def test_an_overconfident_model_is_mended() -> None:
    data = steps(num_problems=300, distort=overconfident(3.0))
    choice = choose_map(data, assign_folds(data))
    assert choice.scores["identity"] - choice.scores[choice.chosen.kind] > 0.1
    np.testing.assert_allclose(choice.chosen.apply(overconfident(3.0)(np.array([0.2, 0.8]))), [0.2, 0.8], atol=0.02)


def test_a_tie_goes_to_the_simpler_map() -> None:
    """Soft labels that a temperature explains exactly: Platt and beta are as good to the last digits."""
    data = steps(num_problems=100, soft=True, distort=overconfident(2.0))
    choice = choose_map(data, assign_folds(data))
    assert choice.scores["platt"] == pytest.approx(choice.scores["temperature"], abs=1e-9)
    assert choice.chosen.kind == "temperature"


def test_one_method_still_competes_with_no_map() -> None:
    data = steps(num_problems=100)
    choice = choose_map(data, assign_folds(data), methods=["isotonic"])
    assert set(choice.scores) == {"identity", "isotonic"}
    assert choice.chosen.kind == "identity"


def test_the_held_out_figures_of_the_choice_are_close_to_those_on_new_problems() -> None:
    data = steps(num_problems=400, distort=overconfident(2.5, 0.5))
    new = steps(num_problems=2000, seed=99, distort=overconfident(2.5, 0.5))
    held_out = held_out_by_choice(data, assign_folds(data))
    on_new = nll(choose_map(data, assign_folds(data)).chosen.apply(new.confidence), new.label, new.weights)
    assert nll(held_out, data.label, data.weights) == pytest.approx(on_new, abs=0.02)


@pytest.mark.slow
def test_a_dataset_gets_its_own_map_where_the_pooled_one_cannot_serve_it() -> None:
    data = together(
        steps(num_problems=150, distort=overconfident(3.0)),
        steps(num_problems=150, distort=overconfident(0.5, 1.0), dataset="b", first_problem=150, seed=1),
    )
    fitted = fit_calibration(data)
    calibration = fitted.calibration()
    assert set(calibration.datasets) == {"a", "b"}
    assert fitted.verdicts["a"].nll_own is not None
    assert fitted.verdicts["a"].nll_own < fitted.verdicts["a"].nll_pooled
    np.testing.assert_allclose(
        calibration.map_for("b").apply(overconfident(0.5, 1.0)(np.array([0.2, 0.8]))), [0.2, 0.8], atol=0.04
    )
    assert calibration.map_for("b") != calibration.map_for(None)


def test_datasets_that_are_off_alike_share_the_pooled_map() -> None:
    data = together(
        steps(num_problems=150, distort=overconfident(3.0)),
        steps(num_problems=150, distort=overconfident(3.0), dataset="b", first_problem=150, seed=1),
    )
    fitted = fit_calibration(data)
    assert fitted.calibration().datasets == {}
    assert {verdict.own for verdict in fitted.verdicts.values()} == {None}
    assert all("not clearly better" in verdict.reason for verdict in fitted.verdicts.values())


def test_the_error_of_a_gain_counts_problems() -> None:
    """Each step repeated: the gain stays, and so does its error, for there are no more problems."""
    data = steps(num_problems=40, distort=overconfident(2.0))
    after = np.full(len(data), 0.6)
    twice = together(data, data)
    folds = assign_folds(data)
    found = changes(data.confidence, after, data, folds)
    again = changes(np.tile(data.confidence, 2), np.tile(after, 2), twice, np.tile(folds, 2))
    for figure, change in found.items():
        assert again[figure] == pytest.approx(change)
        resampled = [
            changes(data.confidence, after, _weighted(data, np.random.default_rng(seed)), folds)[figure].rise
            for seed in range(300)
        ]
        spread = float(np.std(resampled))
        assert 0.8 * spread < change.error < (1.2 if figure != "ece" else 1.2 * RANDOM_SIGNS) * spread
    assert found["nll"][:2] == pytest.approx([nll(p, data.label, data.weights) for p in (data.confidence, after)])
    assert found["brier"].after == pytest.approx(float(np.mean((after - data.label) ** 2)))


def _weighted(data: CalibrationData, random: np.random.Generator) -> CalibrationData:
    drawn = np.bincount(random.integers(0, data.num_problems, data.num_problems), minlength=data.num_problems)
    return CalibrationData(
        data.confidence, data.label, data.problem, data.dataset, data.dataset_names, drawn[data.problem].astype(float)
    )


@pytest.mark.slow
def test_a_small_dataset_has_no_map_of_its_own_and_the_reason_is_given() -> None:
    data = together(
        steps(num_problems=150, distort=overconfident(3.0)),
        steps(num_problems=20, distort=overconfident(0.3), dataset="b", first_problem=150, seed=1),
    )
    verdict = fit_calibration(data).verdicts["b"]
    assert (verdict.own, verdict.nll_own, verdict.num_problems) == (None, None, 20)
    assert "20 problems" in verdict.reason
    assert fit_calibration(data, least_own_problems=20).verdicts["b"].own is not None


def test_a_single_dataset_needs_no_map_beside_the_pooled_one() -> None:
    fitted = fit_calibration(steps(num_problems=100, distort=overconfident(3.0)))
    assert fitted.calibration().datasets == {}
    assert "all the data" in fitted.verdicts["a"].reason


def test_a_dataset_of_one_kind_of_label_has_no_map_of_its_own() -> None:
    right = steps(num_problems=60, dataset="b", first_problem=150, seed=1)
    right = CalibrationData(right.confidence, np.ones(len(right)), right.problem, right.dataset, right.dataset_names)
    fitted = fit_calibration(together(steps(num_problems=150), right))
    assert fitted.verdicts["b"].own is None
    assert "one kind" in fitted.verdicts["b"].reason


def test_the_same_data_gives_the_same_calibration() -> None:
    data = steps(num_problems=60, distort=overconfident(2.0))
    assert fit_calibration(data, methods=list(MAPS)).calibration() == fit_calibration(data).calibration()


def judged(data: CalibrationData, after: FloatArray) -> Judgement:
    return judge(data.confidence, after, data, assign_folds(data))


def with_sure_mistakes(*, num_problems: int = 400, seed: int = 0) -> CalibrationData:
    """A calibrated model, but for a step in fifty that it is sure of and wrong about half of the time."""
    data = steps(num_problems=num_problems, seed=seed)
    sure = np.random.default_rng(seed + 1).random(len(data)) < 0.02
    right = (np.random.default_rng(seed + 2).random(len(data)) < 0.5).astype(float)
    return CalibrationData(
        np.where(sure, 1.0 - 1e-7, data.confidence),
        np.where(sure, right, data.label),
        data.problem,
        data.dataset,
        data.dataset_names,
    )


def test_a_map_that_lowers_nll_and_worsens_ece_is_not_stored_and_the_figure_is_named() -> None:
    """A temperature tames the sure mistakes and spoils all other confidences."""
    data = with_sure_mistakes()
    choice = choose_map(data, assign_folds(data), methods=["temperature"])
    assert choice.chosen.kind == "identity"
    assert choice.scores["temperature"] < choice.scores["identity"] - 0.02
    judgement = choice.judgements["temperature"]
    assert judgement.rejected_by in {"brier", "ece"}
    change = judgement.changes["ece"]
    assert change.rise > change.error > 0
    after = choice.held_out["temperature"]
    assert ece(after, data.label) > ece(data.confidence, data.label)
    shown = judgement.changes[judgement.rejected_by]
    for number in (f"{shown.before:.4f}", f"{shown.after:.4f}", f"{shown.rise:+.4f}", f"{shown.error:.4f}", "rises"):
        assert number in judgement.in_words()
    assert judgement.to_json()["changes"]["ece"] == pytest.approx({**change._asdict(), "rise": change.rise})


def test_ece_alone_can_speak_against_a_map() -> None:
    """Labels of pairs that no score tells apart: the mean is honest, the sharper one has the lower NLL and Brier."""
    random = np.random.default_rng(0)
    true = np.tile([0.1, 0.9], 3000)
    label = (random.random(6000) < true).astype(float)
    data = CalibrationData(np.full(6000, 0.5), label, np.arange(6000) // 10, np.zeros(6000), ("a",))
    off = np.where(true > 0.5, 0.8, 0.3)
    judgement = judged(data, off)
    assert judgement.changes["nll"].rise < -0.1
    assert judgement.changes["brier"].rise < -0.1
    assert judgement.rejected_by == "ece"
    assert "ECE" in judgement.in_words()


def test_the_next_best_map_is_taken_where_the_best_by_nll_is_rejected() -> None:
    data = with_sure_mistakes()
    choice = choose_map(data, assign_folds(data))
    accepted = {kind for kind, judgement in choice.judgements.items() if judgement.accepted}
    assert "temperature" not in accepted
    assert choice.chosen.kind in accepted
    after = choice.held_out[choice.chosen.kind]
    assert ece(after, data.label) < ece(data.confidence, data.label) + 0.002


def test_where_noise_decides_no_map_is_stored() -> None:
    """The same true improvement, on many problems and on few: there it gains too, but within noise."""
    clear, noisy = (steps(num_problems=count, distort=overconfident(1.3)) for count in (1000, 15))
    results = [judged(data, overconfident(1 / 1.3)(data.confidence)) for data in (clear, noisy)]
    assert results[0].accepted
    assert results[1].rejected_by == "nll"
    assert 0 < -results[1].changes["nll"].rise < results[1].changes["nll"].error
    assert "does not clearly fall" in results[1].in_words()


def test_a_map_that_clearly_helps_is_stored() -> None:
    for seed in range(5):
        data = steps(num_problems=150, seed=seed, distort=overconfident(2.5, 0.5))
        choice = choose_map(data, assign_folds(data))
        assert choice.judgements[choice.chosen.kind].accepted
        assert all(change.rise < 0 for change in choice.judgements[choice.chosen.kind].changes.values())


def test_a_change_by_rounding_alone_is_no_worsening() -> None:
    """Soft labels that are met to the last digits: standard errors of 0 must not reject."""
    data = steps(num_problems=60, soft=True, distort=overconfident(2.0))
    judgement = judged(data, data.label)
    assert judgement.accepted
    assert judgement.changes["brier"].after == pytest.approx(0.0, abs=1e-12)


def test_the_cross_fitted_ece_is_the_plain_one_where_gaps_are_clear_and_0_on_average_where_there_are_none() -> None:
    data = steps(num_problems=1000, distort=overconfident(3.0))
    losses = step_losses("ece", data.confidence, data, assign_folds(data))
    assert float(losses.mean()) == pytest.approx(ece(data.confidence, data.label), rel=0.01)
    found, plain, errors = [], [], []
    for seed in range(200):
        calibrated = steps(num_problems=40, seed=seed)
        losses = step_losses("ece", calibrated.confidence, calibrated, assign_folds(calibrated))
        mean, error = mean_and_error(losses, calibrated)
        found.append(mean)
        errors.append(error)
        plain.append(ece(calibrated.confidence, calibrated.label))
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5
    assert np.mean(plain) > 5 * abs(np.mean(found))
    assert np.mean(errors) < np.std(found) < 1.1 * RANDOM_SIGNS * np.mean(errors)


def test_a_datasets_own_map_is_stored_only_if_it_harms_nothing() -> None:
    """Dataset b needs its sure mistakes tamed, and only a temperature is at hand."""
    spoiled = with_sure_mistakes()
    b = CalibrationData(spoiled.confidence, spoiled.label, 500 + spoiled.problem, spoiled.dataset, ("b",))
    fitted = fit_calibration(together(steps(num_problems=400, seed=9), b), methods=["temperature"])
    verdict = fitted.verdicts["b"]
    assert verdict.own is None
    assert verdict.maps["temperature"].rejected_by in {"brier", "ece"}
    assert verdict.judgement is not None
    assert fitted.calibration().datasets == {}
    stored = verdict.to_json()
    assert stored["maps"]["temperature"]["accepted"] is False
    assert stored["own_map"]["changes"]["nll"]["error"] >= 0


def labelled(count: int, problems: int, right: float) -> CalibrationData:
    label = np.zeros(count)
    label[: int(right)] = 1.0
    return CalibrationData(
        np.linspace(0.1, 0.9, count), label, np.arange(count) % problems, np.zeros(count, np.int64), ("a",)
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (labelled(49, 20, 20), ["49 labelled steps", "too few", "50", "--data"]),
        (labelled(400, 9, 200), ["9 problems", "too few", "10"]),
        (labelled(400, 40, 0), ["one kind", "0 right and 400 wrong"]),
        (labelled(400, 40, 400), ["one kind", "400 right and 0 wrong"]),
        (labelled(400, 40, 4), ["one kind", "4 right"]),
        (labelled(0, 10, 0), ["0 labelled steps"]),
    ],
)
def test_too_little_is_refused_in_one_line(data: CalibrationData, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        fit_calibration(data)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_wrong_steps_of_one_problem_only_are_refused() -> None:
    """The folds without that problem would hold right steps only."""
    label = np.ones(400)
    label[:10] = 0.0
    data = CalibrationData(np.linspace(0, 1, 400), label, np.repeat(np.arange(40), 10), np.zeros(400), ("a",))
    with pytest.raises(DataError, match="one kind"):
        fit_calibration(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"confidence": np.array([0.5, 1.5])}, "row 1 .* confidence 1.5"),
        ({"confidence": np.array([np.nan, 0.5])}, "row 0 .* confidence nan"),
        ({"label": np.array([0.5, -1.0])}, "row 1 .* label -1.0"),
        ({"weight": np.array([1.0, -1.0])}, "weight"),
        ({"label": np.array([1.0])}, "shapes"),
    ],
)
def test_columns_out_of_range_are_refused(changes: dict, words: str) -> None:
    columns = {
        "confidence": np.array([0.5, 0.5]),
        "label": np.array([0.0, 1.0]),
        "problem": np.array([0, 1]),
        "dataset": np.array([0, 0]),
        "dataset_names": ("a",),
    }
    with pytest.raises(DataError, match=words):
        CalibrationData(**{**columns, **changes})
