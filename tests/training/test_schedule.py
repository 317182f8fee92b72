"""Schedules and budgets as functions of numbers alone."""

import pytest

from training.schedule import REGRESSION_STEPS, calibrate, is_adversarial, learning_rate


@pytest.mark.parametrize("after", [0.1, 0.4, 1, 10, 30, None])
@pytest.mark.parametrize("minutes", [1, 8, 60])
@pytest.mark.parametrize("step", [0, 25])
def test_a_budget_holds_its_steps_and_the_last_validation(step: int, minutes: int, after: float) -> None:
    plain, judgement, evaluation = 2.0, 30.0 * (after != 1), 5.0
    more = calibrate(
        60 * minutes, [plain], evaluation, 200, step=step, judgement_seconds=judgement, adversarial_after=after
    )
    adversarial = sum(is_adversarial(s, step + more, after) for s in range(step, step + more))
    taken = more * (plain + evaluation / 200) + adversarial * judgement + evaluation
    assert more >= 1 and taken <= 60 * minutes + judgement, "not even where 25 steps are most of all"
    assert taken > 60 * minutes - 2 * (plain + judgement)


def test_a_spent_budget_is_one_more_step() -> None:
    assert calibrate(-30.0, [2.0], 5.0, 200) == 1


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 100, 1.0, 10) for step in range(101)]
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) > 0.97 and rates[-1] == pytest.approx(0.02)


def test_what_begins_later_warms_up_then() -> None:
    """A discriminator that is full of what it knows would forget it at a full first step."""
    late = [learning_rate(step, 100, 1.0, 10, start=40) for step in range(101)]
    early = [learning_rate(step, 100, 1.0, 10) for step in range(101)]
    assert not any(late[:40]) and late[40] == pytest.approx(0.1 * early[40]) and late[49:] == early[49:]


def test_the_discriminator_takes_part_by_the_plan_alone() -> None:
    assert [is_adversarial(step, 10, 0.4) for step in (3, 4)] == [False, True]
    assert not is_adversarial(9, 10, 1) and not is_adversarial(9, None, 0.4)
    assert [is_adversarial(step, None, 30) for step in (29, 30)] == [False, True]


def test_by_default_short_trainings_have_no_discriminator_and_long_ones_have_it_for_60_percent() -> None:
    def first(total: int) -> int | None:
        return next((step for step in range(total) if is_adversarial(step, total, None)), None)

    assert first(REGRESSION_STEPS) is None
    assert first(2 * REGRESSION_STEPS) == REGRESSION_STEPS
    assert first(10 * REGRESSION_STEPS) == 4 * REGRESSION_STEPS
    assert not is_adversarial(10**6, None, None), "not before the plan is known"


def test_a_budget_that_just_reaches_the_discriminator_is_not_shorter_for_it() -> None:
    longest_without = REGRESSION_STEPS * 1.0
    more = calibrate(longest_without + 50, [1.0], 0.0, 200, judgement_seconds=4.0, adversarial_after=None)
    assert more == REGRESSION_STEPS + 10
