use watchbell_audit::export::template::{Engine, template};

use crate::exit::Failure;
use crate::output;

/// What Elasticsearch, Kibana, Logstash and Filebeat need for the audit trail that `serve --audit-export-…` sends
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Prints the index template: the body of `PUT _index_template/watchbell-audit`
    Template {
        /// The engine that it is for; they share most of their words
        #[arg(long, value_name = "ENGINE", default_value = "elasticsearch")]
        engine: EngineName,
    },
    /// Prints a file to start from
    Show {
        /// kibana (saved objects: a data view and a dashboard), logstash (a pipeline) or filebeat (a configuration)
        #[arg(value_name = "WHAT")]
        what: What,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EngineName(Engine);

impl std::str::FromStr for EngineName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "elasticsearch" => Ok(EngineName(Engine::Elasticsearch)),
            "opensearch" => Ok(EngineName(Engine::OpenSearch)),
            _ => Err(format!("{text:?} is no engine; there are elasticsearch and opensearch")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Kibana,
    Logstash,
    Filebeat,
}

impl std::str::FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kibana" => Ok(What::Kibana),
            "logstash" => Ok(What::Logstash),
            "filebeat" => Ok(What::Filebeat),
            _ => Err(format!("{text:?} cannot be shown; there are kibana, logstash and filebeat")),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.verb {
        Verb::Template { engine: EngineName(engine) } => {
            let text = serde_json::to_string_pretty(&template(*engine))
                .map_err(|e| Failure::Refused(format!("cannot write the template: {e}")))?;
            output::data(&text);
        }
        Verb::Show { what } => output::raw(match what {
            What::Kibana => include_bytes!("../../../../../examples/elk/kibana.ndjson"),
            What::Logstash => include_bytes!("../../../../../examples/elk/logstash.conf"),
            What::Filebeat => include_bytes!("../../../../../examples/elk/filebeat.yml"),
        }),
    }
    Ok(())
}
