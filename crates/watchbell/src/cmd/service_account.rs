use serde_json::{Value, json};

use crate::args::Connect;
use crate::exit::Failure;
use crate::output;

const KEYS: &str = "/apis/watchbell.dev/v1alpha1/tokenkeys";

/// The keys that sign tokens of service accounts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Says which key signs, and which others verify until when
    Keys,
    RotateKey(RotateKey),
}

/// Has a new key sign from now on
///
/// By itself the key changes every 30 days. Tokens of the one before live out their time, a day at most; with --revoke
/// they end now, of all keys before: pods that run get others within moments, whoever else holds one asks for another.
#[derive(Debug, clap::Args)]
struct RotateKey {
    /// The key is known to others: no token that it signed holds any longer
    #[arg(long)]
    revoke: bool,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let client = connect.client()?;
    let keys = match &args.what {
        What::Keys => client.get(KEYS)?,
        What::RotateKey(RotateKey { revoke: false }) => client.post(&format!("{KEYS}:rotate"), &json!({}))?,
        What::RotateKey(RotateKey { revoke: true }) => client.post(&format!("{KEYS}:revoke"), &json!({}))?,
    };
    for line in lines(&keys) {
        output::data(&line);
    }
    Ok(())
}

fn lines(keys: &Value) -> Vec<String> {
    let text = |value: &Value, field: &str| output::plain(value[field].as_str().unwrap_or_default());
    let signing = &keys["signing"];
    let mut lines = vec![format!("{} signs, since {}", text(signing, "keyID"), text(signing, "since"))];
    let retired = keys["retired"].as_array().into_iter().flatten();
    lines.extend(retired.map(|key| format!("{} verifies until {}", text(key, "keyID"), text(key, "until"))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_a_line_each() {
        let keys = json!({
            "signing": {"keyID": "a", "since": "2026-03-01T00:00:00Z"},
            "retired": [{"keyID": "b\u{1b}[2J", "until": "2026-03-02T00:00:10Z"}],
        });
        let told = lines(&keys);
        assert_eq!(told[0], "a signs, since 2026-03-01T00:00:00Z");
        assert!(told[1].starts_with('b') && told[1].ends_with(" verifies until 2026-03-02T00:00:10Z"));
        assert!(!told[1].contains('\u{1b}'), "no control character reaches the terminal");
    }
}
