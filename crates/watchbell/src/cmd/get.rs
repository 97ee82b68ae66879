use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchbell_api::Resource;

use crate::args::{Connect, Output, Scope};
use crate::client::{Client, ClientError, TABLE, encode, path};
use crate::exit::{Failure, Refused};
use crate::log_follow::SERVER_PATIENCE;
use crate::output::{self, Format};
use crate::target;

/// How many objects one answer holds; the rest comes in further ones.
const CHUNK: usize = 500;

/// Lists objects, or shows those that are named
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// TYPE or TYPE,TYPE; TYPE NAME…; TYPE/NAME…; `all` is pods, jobs and cronjobs
    #[arg(required = true)]
    what: Vec<String>,
    /// In every namespace
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels: `a=b,c!=d,e in (f,g)`
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only objects with these fields: `metadata.name=x,status.phase!=Running`
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
    /// Then print changes as they come
    #[arg(short, long)]
    watch: bool,
    /// With who set which field, in json and yaml
    #[arg(long)]
    show_managed_fields: bool,
    /// Without the line of column names
    #[arg(long)]
    no_headers: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

/// What is asked of one resource.
struct Query {
    resource: Resource,
    /// Of one object; empty is all of them.
    name: String,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let queries = queries(&args.what)?;
    let is_named = queries.iter().any(|q| !q.name.is_empty());
    if is_named && (args.all_namespaces || args.selector.is_some() || args.field_selector.is_some()) {
        return Err(Failure::Usage("an object by name takes no selector and no --all-namespaces".into()));
    }
    if args.watch && queries.len() != 1 {
        return Err(Failure::Usage("--watch takes one resource type, or one object".into()));
    }
    let client = connect.client()?;
    match args.output.output {
        None | Some(Format::Wide) => tables(&client, args, &queries),
        Some(format) => objects(&client, args, &queries, format),
    }
}

fn queries(words: &[String]) -> Result<Vec<Query>, Failure> {
    if let [list] = words
        && !list.contains('/')
    {
        let mut found = Vec::new();
        for word in list.split(',') {
            if word == "all" {
                found.extend(Resource::all().filter(|r| r.info().categories.contains(&"all")));
            } else {
                found.push(target::resource(word)?);
            }
        }
        return Ok(found.into_iter().map(|resource| Query { resource, name: String::new() }).collect());
    }
    Ok(target::all(words)?.into_iter().map(|t| Query { resource: t.resource, name: t.name }).collect())
}

/// The path and parameters of a list, or of one object.
fn location(client: &Client, args: &Args, query: &Query) -> String {
    let namespace = if args.all_namespaces { "" } else { client.namespace.as_str() };
    path(query.resource, namespace, &query.name)
}

fn parameters(args: &Args) -> String {
    let mut text = String::new();
    for (key, value) in [("labelSelector", &args.selector), ("fieldSelector", &args.field_selector)] {
        if let Some(value) = value {
            text.push_str(&format!("&{key}={}", encode(value)));
        }
    }
    text
}

/// A list in chunks: `each` gets every answer. Returns the version the list stands at.
fn list(
    client: &Client,
    args: &Args,
    query: &Query,
    accept: &str,
    mut each: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<String, Failure> {
    let place = location(client, args, query);
    let mut token = String::new();
    loop {
        let mut url = format!("{place}?limit={CHUNK}{}", parameters(args));
        if !token.is_empty() {
            url.push_str(&format!("&continue={}", encode(&token)));
        }
        let answer = client.get_as(&url, accept)?;
        let text = |field: &str| answer["metadata"][field].as_str().unwrap_or_default().to_owned();
        let version = text("resourceVersion");
        token = text("continue");
        each(answer)?;
        if token.is_empty() {
            return Ok(version);
        }
    }
}

fn objects(client: &Client, args: &Args, queries: &[Query], format: Format) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut version = String::new();
    let mut refused = Refused::default();
    for query in queries {
        if !query.name.is_empty() {
            let asked = client.get(&location(client, args, query)).map_err(Failure::from);
            let Some(object) = refused.but(asked)? else { continue };
            version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            all.push(object);
            continue;
        }
        let listed = list(client, args, query, "application/json", |mut answer| {
            if let Value::Array(items) = answer["items"].take() {
                all.extend(items.into_iter().map(|item| with_kind(query.resource, item)));
            }
            Ok(())
        });
        version = refused.but(listed)?.unwrap_or_default();
    }
    if let [_] = queries
        && !refused.is_empty()
    {
        return refused.outcome();
    }
    let print = if args.show_managed_fields { output::whole } else { output::object };
    if let ([query], false) = (queries, args.watch)
        && !query.name.is_empty()
    {
        return print(&all[0], format);
    }
    if args.watch {
        for object in &all {
            print(object, format)?;
        }
        return watch(client, args, &queries[0], &version, "application/json", |object| {
            print(&object, format)
        });
    }
    print(&json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": all}), format)?;
    refused.outcome()
}

/// The items of a list leave out what the list says of all of them.
fn with_kind(resource: Resource, item: Value) -> Value {
    if !item["kind"].is_null() {
        return item;
    }
    let info = resource.info();
    let mut whole = json!({"apiVersion": info.api_version(), "kind": info.kind});
    if let (Some(whole), Value::Object(fields)) = (whole.as_object_mut(), item) {
        whole.extend(fields);
    }
    whole
}

fn tables(client: &Client, args: &Args, queries: &[Query]) -> Result<(), Failure> {
    let wide = args.output.output == Some(Format::Wide);
    let several =
        queries.iter().map(|q| q.resource as usize).collect::<std::collections::BTreeSet<_>>().len() > 1;
    // Objects of one resource stand under one head.
    let mut blocks: Vec<(Resource, Vec<Vec<String>>)> = Vec::new();
    let mut version = String::new();
    let mut refused = Refused::default();
    for query in queries {
        let with_namespace = args.all_namespaces && query.resource.is_namespaced();
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut add = |answer: &Value| {
            let more = output::table_rows(answer, wide, with_namespace);
            let skip = usize::from(!rows.is_empty());
            rows.extend(more.into_iter().skip(skip));
        };
        if query.name.is_empty() {
            let listed = list(client, args, query, TABLE, |answer| {
                add(&answer);
                Ok(())
            });
            version = refused.but(listed)?.unwrap_or_default();
        } else {
            let asked = client.get_as(&location(client, args, query), TABLE).map_err(Failure::from);
            let Some(answer) = refused.but(asked)? else { continue };
            version = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            add(&answer);
        }
        match blocks.last_mut() {
            Some((resource, block)) if *resource == query.resource => block.extend(rows.into_iter().skip(1)),
            _ => blocks.push((query.resource, rows)),
        }
    }
    let mut widths = Vec::new();
    let mut is_empty = true;
    for (resource, mut rows) in blocks {
        if rows.len() < 2 {
            continue;
        }
        if several {
            if !is_empty {
                output::data("");
            }
            let info = resource.info();
            let kind = if info.group.is_empty() {
                info.singular.into()
            } else {
                format!("{}.{}", info.singular, info.group)
            };
            let name_at = usize::from(args.all_namespaces && resource.is_namespaced());
            for row in &mut rows[1..] {
                row[name_at] = format!("{kind}/{}", row[name_at]);
            }
        }
        is_empty = false;
        widths = output::columns_of(&rows[usize::from(args.no_headers)..], &[]);
    }
    if !refused.is_empty() {
        return refused.outcome();
    }
    if is_empty && !args.watch {
        let place = if args.all_namespaces || queries.iter().all(|q| !q.resource.is_namespaced()) {
            String::new()
        } else {
            format!(" in namespace {}", client.namespace)
        };
        output::note(&format!("No resources found{place}."));
    }
    if !args.watch {
        return Ok(());
    }
    let query = &queries[0];
    let mut columns: Value = Value::Null;
    watch(client, args, query, &version, TABLE, |mut table| {
        // Only the first event of a stream need say what the columns are.
        if table["columnDefinitions"].as_array().is_some_and(|c| !c.is_empty()) {
            columns = table["columnDefinitions"].clone();
        } else {
            table["columnDefinitions"] = columns.clone();
        }
        let rows = output::table_rows(&table, wide, args.all_namespaces && query.resource.is_namespaced());
        let skip = usize::from(!widths.is_empty() || args.no_headers);
        widths = output::columns_of(&rows[skip.min(rows.len())..], &widths);
        Ok(())
    })
}

/// Prints what changes, until the command is stopped. A server that restarts is waited for; one that has forgotten where
/// the watch was is asked anew for what is there.
fn watch(
    client: &Client,
    args: &Args,
    query: &Query,
    version: &str,
    accept: &str,
    mut each: impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let namespace = if args.all_namespaces { "" } else { client.namespace.as_str() };
    let mut selectors: BTreeMap<&str, String> = BTreeMap::new();
    selectors.extend(args.selector.clone().map(|text| ("labelSelector", text)));
    selectors.extend(args.field_selector.clone().map(|text| ("fieldSelector", text)));
    if !query.name.is_empty() {
        selectors.insert("fieldSelector", format!("metadata.name={}", query.name));
    }
    let chosen: String = selectors.iter().map(|(key, value)| format!("&{key}={}", encode(value))).collect();
    let place = path(query.resource, namespace, "");
    output::stop_if_lost();
    let mut version = version.to_owned();
    let mut away_since: Option<Instant> = None;
    loop {
        let url = format!("{place}?watch=true&allowWatchBookmarks=true&resourceVersion={version}{chosen}");
        let error = match events(client, &url, accept, &mut version, &mut each) {
            // It ended in order, as every watch does some time.
            Ok(()) => None,
            Err(Ended::Expired) => {
                output::note("the server no longer knows all changes since; what has changed is listed anew");
                let url = format!("{place}?limit={CHUNK}{chosen}");
                relist(client, query.resource, &url, accept, &mut version, &mut each)?;
                None
            }
            Err(Ended::Away(error)) => Some(error),
            Err(Ended::Failed(failure)) => return Err(failure),
        };
        match error {
            None => away_since = None,
            Some(error) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SERVER_PATIENCE {
                    return Err(error.into());
                }
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Why a watch ended before its time.
enum Ended {
    /// Its version is no longer known.
    Expired,
    /// The server may come back.
    Away(ClientError),
    Failed(Failure),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Ended {
        match error {
            ClientError::Refused { code: 410, .. } => Ended::Expired,
            error if error.is_passing() => Ended::Away(error),
            error => Ended::Failed(error.into()),
        }
    }
}

/// Hands on the events of one watch; `version` follows them.
fn events(
    client: &Client,
    url: &str,
    accept: &str,
    version: &mut String,
    each: &mut impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Ended> {
    for event in client.watch(url, accept)? {
        let mut event = event?;
        let object = event["object"].take();
        match event["type"].as_str() {
            Some("ERROR") if object["code"] == 410 => return Err(Ended::Expired),
            Some("ERROR") => {
                let message = object["message"].as_str().unwrap_or("the watch broke off").to_owned();
                return Err(Ended::Failed(Failure::Refused(message)));
            }
            Some(kind) => {
                if let Some(newest) = newest(&object) {
                    *version = newest.to_owned();
                }
                if kind != "BOOKMARK" {
                    each(object).map_err(Ended::Failed)?;
                    output::stop_if_lost();
                }
            }
            None => {
                let message = "the server sent an event without a type".to_owned();
                return Err(Ended::Failed(Failure::Unreachable(message)));
            }
        }
    }
    Ok(())
}

/// The version of an object, or of a Table's last row.
fn newest(object: &Value) -> Option<&str> {
    let rows = object["rows"].as_array();
    let row = rows.and_then(|rows| rows.last()).map(|row| &row["object"]);
    row.unwrap_or(object)["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty())
}

/// Hands on what has changed since `version`, which becomes that of the list.
fn relist(
    client: &Client,
    resource: Resource,
    base: &str,
    accept: &str,
    version: &mut String,
    each: &mut impl FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let seen: u64 = version.parse().unwrap_or(0);
    let is_new = |object: &Value| {
        newest(object).and_then(|v| v.parse::<u64>().ok()).is_none_or(|version| version > seen)
    };
    let mut url = base.to_owned();
    loop {
        let mut answer = client.get_as(&url, accept)?;
        let token = answer["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        *version = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        if let Some(rows) = answer["rows"].as_array_mut() {
            rows.retain(|row| is_new(&row["object"]));
            if !rows.is_empty() {
                each(answer)?;
            }
        } else if let Value::Array(items) = answer["items"].take() {
            for item in items.into_iter().filter(|item| is_new(item)) {
                each(with_kind(resource, item))?;
            }
        }
        if token.is_empty() {
            return Ok(());
        }
        url = format!("{base}&continue={}", encode(&token));
    }
}
