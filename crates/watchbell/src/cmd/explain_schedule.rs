use jiff::Timestamp;
use serde_json::json;
use watchbell_core::cron::{self, Effect, Schedule};

use crate::args::Output;
use crate::exit::Failure;
use crate::output::{self, Format};

/// Tells when a schedule fires next, and what the clock changes of its zone do to it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A cron expression as CronJobs take it: `30 2 * * 1-5`, `@daily`, `@every 90m`
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    /// IANA time zone, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// How many times to tell
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
    /// Count from this instant instead of now (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let schedule = Schedule::parse(&args.expression)
        .map_err(|e| Failure::Usage(format!("the schedule {:?}: {e}", args.expression)))?;
    let zone = cron::time_zone(Some(&args.time_zone))
        .map_err(|e| Failure::Usage(format!("--time-zone {:?}: {e}", args.time_zone)))?;
    let from = args.from.unwrap_or_else(Timestamp::now);
    let told = cron::explain(&schedule, &zone, from, usize::from(args.count));
    if told.slots.is_empty() {
        return Err(Failure::Refused(format!(
            "the schedule {:?} never fires: no date of the calendar matches within 100 years; \
             Kubernetes accepts it and starts nothing",
            args.expression
        )));
    }
    match args.output.output {
        None | Some(Format::Wide) => output::raw(told.to_string().as_bytes()),
        Some(Format::Name) => {
            for slot in &told.slots {
                output::data(&slot.at.to_string());
            }
        }
        Some(format) => {
            let slots: Vec<_> = told
                .slots
                .iter()
                .map(|slot| json!({"time": slot.at.to_string(), "local": slot.offset.to_datetime(slot.at).to_string()}))
                .collect();
            let changes: Vec<_> = told
                .changes
                .iter()
                .map(|change| {
                    let effect = match change.effect {
                        Effect::Skipped => "Skipped",
                        Effect::RunsTwice => "RunsTwice",
                    };
                    json!({
                        "time": change.at.to_string(), "effect": effect, "slots": change.count,
                        "first": change.first.to_string(), "last": change.last.to_string(),
                    })
                })
                .collect();
            let answer = json!({
                "schedule": args.expression, "timeZone": told.zone, "intervalSeconds": told.interval,
                "next": slots, "clockChanges": changes,
            });
            output::object(&answer, format)?;
        }
    }
    Ok(())
}
