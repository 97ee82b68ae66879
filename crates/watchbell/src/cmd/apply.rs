use std::path::PathBuf;

use serde_json::{Value, json};
use watchbell_api::Resource;

use crate::args::{Connect, Output, Scope};
use crate::client::{Client, ClientError, path};
use crate::exit::Failure;
use crate::manifest::{self, Document, Recursive};
use crate::output::{self, Format};
use crate::patch::{self, LAST_APPLIED};

/// What the server notes as the manager of the fields; as kubectl's client-side apply, so that the two can take turns.
const FIELD_MANAGER: &str = "kubectl-client-side-apply";

/// Makes the server's objects what the manifests say
///
/// Everything is read before anything is sent. Each object is then applied by itself, wholly or not at all: namespaces
/// first, then in the order of the manifests. When some are refused the others are still applied, and the command fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a directory (its .yaml, .yml and .json files by name), or - for standard input
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// Directories with those below them
    #[arg(short = 'R', long)]
    recursive: bool,
    /// `client`: only print what would be sent; `server`: let the server check it and keep nothing
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "client")]
    dry_run: Option<DryRun>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DryRun {
    Client,
    Server,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let recursive = if args.recursive { Recursive::Yes } else { Recursive::No };
    let mut documents = manifest::read_all(&args.filename, recursive)?;
    // What a namespace holds cannot be made before it.
    documents.sort_by_key(|document| document.resource != Resource::Namespace);
    let client = connect.client()?;
    for document in &mut documents {
        settle_namespace(document, &client, connect)?;
    }
    if args.dry_run == Some(DryRun::Client) {
        return printed(documents, args.output.output);
    }
    let mut refused = Vec::new();
    let total = documents.len();
    for document in documents {
        let shown = output::name(&document.object);
        match apply(&client, &document, args) {
            Ok((answer, what)) => {
                let what =
                    if args.dry_run.is_some() { format!("{what} (server dry run)") } else { what.to_owned() };
                output::done(&answer, &what, args.output.output)?;
            }
            Err(ClientError::Refused { message, .. }) => {
                output::note(&format!("error: {}: {shown}: {message}", document.place));
                refused.push(shown);
            }
            // Without a server the rest would fail the same way.
            Err(error) => return Err(error.into()),
        }
    }
    match refused.len() {
        0 => Ok(()),
        n => {
            Err(Failure::Refused(format!("{n} of {total} objects were not applied: {}", refused.join(", "))))
        }
    }
}

/// Where an object goes. Two answers to that question are an error.
fn settle_namespace(document: &mut Document, client: &Client, connect: &Connect) -> Result<(), Failure> {
    if !document.resource.is_namespaced() {
        return Ok(());
    }
    if document.namespace.is_empty() {
        document.namespace.clone_from(&client.namespace);
        document.object["metadata"]["namespace"] = client.namespace.clone().into();
    } else if let Some(asked) = &connect.namespace
        && *asked != document.namespace
    {
        return Err(Failure::Usage(format!(
            "{}: metadata.namespace is {:?}, but --namespace says {asked:?}",
            document.place, document.namespace
        )));
    }
    Ok(())
}

fn printed(documents: Vec<Document>, format: Option<Format>) -> Result<(), Failure> {
    let several = documents.len() > 1;
    for document in documents {
        if several && format == Some(Format::Yaml) {
            output::data("---");
        }
        output::done(&document.object, "applied (client dry run)", format)?;
    }
    Ok(())
}

fn apply(client: &Client, document: &Document, args: &Args) -> Result<(Value, &'static str), ClientError> {
    let mut query = format!("?fieldManager={FIELD_MANAGER}&fieldValidation=Strict");
    if args.dry_run == Some(DryRun::Server) {
        query.push_str("&dryRun=All");
    }
    let collection = path(document.resource, &document.namespace, "");
    if document.name.is_empty() {
        return Err(ClientError::Refused {
            code: 422,
            reason: "Invalid".into(),
            message: "metadata.name: Required value: a generated name cannot be applied a second time".into(),
        });
    }
    let new = remembering(&document.object);
    let place = path(document.resource, &document.namespace, &document.name);
    let live = match client.get(&place) {
        Ok(live) => live,
        Err(error) if error.is_not_found() => {
            return Ok((client.post(&format!("{collection}{query}"), &new)?, "created"));
        }
        Err(error) => return Err(error),
    };
    let last = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    // Made by other means: nothing is known to have been applied, so nothing is taken away.
    let last = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let change = patch::three_way(document.resource, &last, &live, &new);
    if change.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok((live, "unchanged"));
    }
    let answer =
        client.patch(&format!("{place}{query}"), "application/strategic-merge-patch+json", &change)?;
    let same = answer["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
        && args.dry_run.is_none();
    Ok((answer, if same { "unchanged" } else { "configured" }))
}

/// The object with itself in its annotation, so that the next apply knows what this one said.
fn remembering(object: &Value) -> Value {
    let mut said = object.clone();
    if let Some(annotations) = said["metadata"]["annotations"].as_object_mut() {
        annotations.shift_remove(LAST_APPLIED);
    } else {
        // As kubectl writes it, so that switching between the two changes nothing.
        said["metadata"]["annotations"] = json!({});
    }
    let text = format!("{}\n", as_go_writes_it(&said));
    said["metadata"]["annotations"][LAST_APPLIED] = text.into();
    said
}

/// JSON as Go's encoder writes it: keys sorted, and what HTML would take for markup escaped. So an annotation is the same
/// text whether kubectl wrote it or we did, and taking turns changes nothing.
fn as_go_writes_it(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    let text = sorted.to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{LAST_APPLIED, remembering};

    #[test]
    fn an_object_remembers_what_was_applied_as_kubectl_would_write_it() {
        let check = |object: Value, expect: &str| {
            let said = remembering(&object);
            assert_eq!(said["metadata"]["annotations"][LAST_APPLIED], expect);
            // Applied again, it says the same.
            assert_eq!(remembering(&said), said);
        };
        check(
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"x": "<a&b>"}}),
            "{\"apiVersion\":\"v1\",\"data\":{\"x\":\"\\u003ca\\u0026b\\u003e\"},\"kind\":\"ConfigMap\",\
             \"metadata\":{\"annotations\":{},\"name\":\"a\"}}\n",
        );
        check(
            json!({"metadata": {"annotations": {"k": "v"}}}),
            "{\"metadata\":{\"annotations\":{\"k\":\"v\"}}}\n",
        );
    }
}
