//! Thousands of schedules of each scenario. A failure prints the schedule, which repeats exactly: see
//! `shuttle::replay`. `STANDOFF_SCHEDULES` says how many there are of each.

use standoff_agent_schedules::scenarios;

/// Random schedules, and as many in which a thread is seldom interrupted but at few and odd moments.
fn check(scenario: fn()) {
    let schedules = std::env::var("STANDOFF_SCHEDULES").ok();
    let schedules = schedules.and_then(|number| number.parse().ok()).unwrap_or(500);
    shuttle::check_random(scenario, schedules);
    shuttle::check_pct(scenario, schedules, 3);
}

#[test]
fn the_mirror_comes_to_equal_what_is_open() {
    check(scenarios::the_mirror_comes_to_equal_what_is_open);
}

#[test]
fn a_span_may_end_on_another_thread_than_it_started_on() {
    check(scenarios::a_span_may_end_on_another_thread_than_it_started_on);
}

#[test]
fn young_spans_mature_while_they_end() {
    check(scenarios::young_spans_mature_while_they_end);
}

#[test]
fn a_call_that_was_accepted_is_never_denied() {
    check(scenarios::a_call_that_was_accepted_is_never_denied);
}

#[test]
fn what_has_ended_is_not_said_to_be_open() {
    check(scenarios::what_has_ended_is_not_said_to_be_open);
}

#[test]
fn handlers_of_one_call_do_not_hide_one_another() {
    check(scenarios::handlers_of_one_call_do_not_hide_one_another);
}
