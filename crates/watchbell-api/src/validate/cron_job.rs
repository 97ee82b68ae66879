//! `batch/v1` CronJob. Whether the schedule and the time zone can be read is the scheduler's to say.

use super::at::At;
use super::findings::Findings;
use super::job;

/// A Job's name is the CronJob's and eleven characters more, and a label.
const NAME_LENGTH_MAX: usize = 52;
/// Every minute, hour, day and month, each by its number, is below 400 bytes.
const SCHEDULE_BYTES_MAX: usize = 1024;

pub(super) fn create(f: &mut Findings, cron_job: &At<'_, '_>) {
    spec(f, None, &cron_job.field("spec"));
    let metadata = cron_job.field("metadata");
    let name = metadata.field("name");
    if name.text().len() > NAME_LENGTH_MAX {
        f.invalid(&name, format_args!("must be no more than {NAME_LENGTH_MAX} characters"));
    }
}

pub(super) fn update(f: &mut Findings, old: &At<'_, '_>, new: &At<'_, '_>) {
    spec(f, Some(&old.field("spec")), &new.field("spec"));
}

fn spec(f: &mut Findings, old: Option<&At<'_, '_>>, spec: &At<'_, '_>) {
    let (schedule, zone) = (spec.field("schedule"), spec.field("timeZone"));
    if f.present(&schedule) && schedule.text().contains("TZ") {
        // One that stands there already may stay.
        let may_stay = old.is_some_and(|old| old.field("schedule").text().contains("TZ"));
        if !may_stay {
            f.invalid(&schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if zone.is_set() {
            f.invalid(&schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
    }
    if schedule.text().len() > SCHEDULE_BYTES_MAX {
        f.too_long(&schedule, SCHEDULE_BYTES_MAX);
    }
    f.nonnegative(&spec.field("startingDeadlineSeconds"));
    if old.is_none_or(|old| old.field("timeZone").value != zone.value) {
        time_zone(f, &zone);
    }
    f.one_of(&spec.field("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    job::template(f, &spec.field("jobTemplate"));
    f.nonnegative(&spec.field("successfulJobsHistoryLimit"));
    f.nonnegative(&spec.field("failedJobsHistoryLimit"));
}

/// The form of an IANA name.
fn time_zone(f: &mut Findings, zone: &At<'_, '_>) {
    let text = zone.text();
    if !zone.is_set() {
        return;
    }
    if text.is_empty() {
        f.invalid(zone, "timeZone must be nil or non-empty string");
        return;
    }
    let is_part = |part: &str| {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
        (1..=14).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(is_inner)
    };
    if !text.split('/').all(is_part) {
        f.invalid(zone, format_args!("unknown time zone {}", super::findings::cut(text)));
    } else if text.eq_ignore_ascii_case("Local") {
        f.invalid(
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    }
}
