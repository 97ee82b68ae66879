//! The program in the example's image.
//!
//! ```text
//!  weather month      one index of the array: reads the data, prints one JSON line
//!  weather gather     reads the lines of all indexes, checks them, prints one table
//!  weather guard      tells what the program sees of its sandbox
//! ```

mod gather;
mod guard;
mod month;
mod observation;

use std::process::ExitCode;

use month::{Settings, Task};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["month", data] => one_month(data),
        ["gather", results] => gather::run(results),
        ["guard"] => guard::run(),
        _ => Err("usage: weather month DATA.csv.gz | weather gather RESULTS.jsonl | weather guard".into()),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("weather: {message}");
            ExitCode::FAILURE
        }
    }
}

fn one_month(data: &str) -> Result<String, String> {
    let index = std::env::var("JOB_COMPLETION_INDEX").map_err(|_| {
        "JOB_COMPLETION_INDEX is not set: this runs as one index of an Indexed Job".to_owned()
    })?;
    let task = Task::of_index(&index)?;
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let bytes = std::fs::read(data).map_err(|e| format!("cannot read {data}: {e}"))?;
    let observations = observation::read(&bytes).map_err(|e| format!("{data}: {e}"))?;
    let result = month::compute(task, &settings, &observations)?;
    let line = serde_json::to_string(&result).map_err(|e| e.to_string())?;
    Ok(format!("{line}\n"))
}
