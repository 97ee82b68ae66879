use hyper::Method;
use proptest::prelude::*;
use watchbell_api::Resource;
use watchbell_api::decode::Nodes;
use watchbell_core::request::{DryRun, FieldValidation, Force, PatchKind, Propagation};

use super::accept::{Answer, Encoding, Shape};
use super::options::{ListOptions, Version, delete_options, write_options};
use super::*;

fn object(resource: Resource, namespace: Option<&str>, name: Option<&str>, sub: Sub) -> Route {
    Route::Object(ObjectPath {
        resource,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        sub,
    })
}

#[test]
fn paths_lead_somewhere() {
    let check = |path: &str, expect: Route| assert_eq!(Route::parse(path), Ok(expect), "{path}");
    check("/", Route::Root);
    check("/healthz", Route::Probe(Probe::Health));
    check("/version/", Route::Version);
    check("/api", Route::CoreVersions);
    check("/api/", Route::CoreVersions);
    check("/apis", Route::Groups);
    check("/apis/batch", Route::Group("batch".into()));
    check("/apis/batch/v1/", Route::Resources { group: "batch".into(), version: "v1".into() });
    check("/openapi/v3/api/v1", Route::OpenApi { group: String::new(), version: "v1".into() });
    check("/openapi/v3/apis/batch/v1", Route::OpenApi { group: "batch".into(), version: "v1".into() });
    check("/api/v1/namespaces", object(Resource::Namespace, None, None, Sub::None));
    check("/api/v1/namespaces/ml", object(Resource::Namespace, None, Some("ml"), Sub::None));
    check("/api/v1/namespaces/ml/status", object(Resource::Namespace, None, Some("ml"), Sub::Status));
    check("/api/v1/nodes/watchbell", object(Resource::Node, None, Some("watchbell"), Sub::None));
    check("/api/v1/pods", object(Resource::Pod, None, None, Sub::None));
    check("/api/v1/namespaces/ml/pods", object(Resource::Pod, Some("ml"), None, Sub::None));
    check("/api/v1/namespaces/ml/pods/p-0/log", object(Resource::Pod, Some("ml"), Some("p-0"), Sub::Log));
    check("/api/v1/namespaces/ml/pods/p/exec", object(Resource::Pod, Some("ml"), Some("p"), Sub::Exec));
    check("/api/v1/namespaces/ml/pods/p/attach", object(Resource::Pod, Some("ml"), Some("p"), Sub::Attach));
    check(
        "/apis/batch/v1/namespaces/ml/jobs/a.b/status",
        object(Resource::Job, Some("ml"), Some("a.b"), Sub::Status),
    );
    let of_ml = |resource, name, sub| object(resource, Some("ml"), Some(name), sub);
    check("/apis/batch/v1/namespaces/ml/cronjobs/n/trigger", of_ml(Resource::CronJob, "n", Sub::Trigger));
    check("/apis/batch/v1/namespaces/ml/cronjobs/n/suspend", of_ml(Resource::CronJob, "n", Sub::Suspend));
    check("/apis/batch/v1/namespaces/ml/jobs/n/rerun", of_ml(Resource::Job, "n", Sub::Rerun));
    check("/apis/batch/v1/namespaces/ml/jobs/n/admission", of_ml(Resource::Job, "n", Sub::Admission));
    let array = "/apis/watchbell.dev/v1alpha1/namespaces/ml/dataarrays/n";
    check(&format!("{array}/rollback"), of_ml(Resource::DataArray, "n", Sub::Rollback));
    check("/apis/batch/v1/namespaces/m%6C/jobs", object(Resource::Job, Some("ml"), None, Sub::None));
    // A namespace may be called like a resource.
    check("/api/v1/namespaces/pods/pods/pods", object(Resource::Pod, Some("pods"), Some("pods"), Sub::None));
    let images = "/apis/watchbell.dev/v1alpha1/images";
    check(images, Route::Images(ImagePath::All));
    check(&format!("{images}:pull"), Route::Images(ImagePath::Pull));
    check(&format!("{images}:import"), Route::Images(ImagePath::Import));
    check(&format!("{images}:prune"), Route::Images(ImagePath::Prune));
    let one = Route::Images(ImagePath::One("docker.io/library/busybox:1.36".into()));
    check(&format!("{images}/docker.io/library/busybox:1.36"), one.clone());
    check(&format!("{images}/docker.io%2Flibrary%2Fbusybox%3A1.36"), one);
}

#[test]
fn other_paths_are_refused() {
    for path in [
        "",
        "api",
        "//",
        "/api//v1",
        "/api/v1/",
        "/api/v2/pods",
        "/apis/batch/v1beta1/jobs",
        "/apis//v1/pods",
        "/api/v1/namespaces/ml/namespaces",
        "/api/v1/namespaces/ml/nodes/x",
        "/api/v1/pods/x",
        "/api/v1/namespaces/ml/pods/x/exec/y",
        "/api/v1/namespaces/ml/configmaps/x/exec",
        "/api/v1/namespaces/ml/configmaps/x/status",
        "/api/v1/namespaces/ml/secrets/x/log",
        "/api/v1/namespaces/ml/pods/x/log/y",
        "/api/v1/namespaces/../pods",
        "/api/v1/namespaces/%2e%2e/pods",
        "/api/v1/namespaces/a%2Fb/pods",
        "/api/v1/namespaces/a%00/pods",
        "/api/v1/namespaces/a%/pods",
        "/api/v1/namespaces/%zz/pods",
        "/api/v1/namespaces/%ff/pods",
        "/api/v1/namespaces/%2525/pods",
        "/api/v1/namespaces/ml/pods/a%0d%0ab",
        "/apis/watchbell.dev/v1alpha1/imagesx",
        "/apis/watchbell.dev/v1alpha1/images/a%00b",
        "/healthz/x/y/z",
    ] {
        // `/api/v1/` is the list of resources: a slash at the end is what client libraries write.
        if path == "/api/v1/" {
            assert!(Route::parse(path).is_ok());
        } else {
            assert!(Route::parse(path).is_err(), "{path:?} leads to {:?}", Route::parse(path));
        }
    }
    let long = format!("/api/v1/namespaces/{}/pods", "a".repeat(254));
    assert!(Route::parse(&long).is_err());
}

#[test]
fn methods_become_verbs() {
    let check = |method: Method, path: &str, query: &str, expect: Option<Verb>| {
        let Ok(Route::Object(object)) = Route::parse(path) else { panic!("{path}") };
        let verb = Verb::of(&method, &object, &Query::parse(query).unwrap());
        assert_eq!(verb.as_ref().ok(), expect.as_ref(), "{method} {path}?{query}");
        if let Err(error) = verb {
            assert_eq!(error.reason.code(), 405);
        }
    };
    let (all, many, one) = ("/api/v1/pods", "/api/v1/namespaces/ml/pods", "/api/v1/namespaces/ml/pods/x");
    check(Method::GET, all, "", Some(Verb::List));
    check(Method::GET, all, "watch=1", Some(Verb::Watch));
    check(Method::GET, many, "watch=true", Some(Verb::Watch));
    check(Method::GET, many, "watch", Some(Verb::Watch));
    check(Method::GET, many, "watch=false", Some(Verb::List));
    check(Method::GET, many, "watch=0", Some(Verb::List));
    check(Method::GET, one, "", Some(Verb::Get));
    check(Method::GET, one, "watch=true", Some(Verb::Watch));
    check(Method::HEAD, one, "", Some(Verb::Get));
    check(Method::POST, many, "", Some(Verb::Create));
    check(Method::POST, one, "", None);
    check(Method::POST, all, "", None);
    check(Method::PUT, one, "", Some(Verb::Update));
    check(Method::PUT, many, "", None);
    check(Method::PATCH, one, "", Some(Verb::Patch));
    check(Method::DELETE, one, "", Some(Verb::Delete));
    check(Method::DELETE, many, "", Some(Verb::DeleteCollection));
    check(Method::DELETE, all, "", None);
    check(Method::DELETE, &format!("{one}/status"), "", None);
    check(Method::PATCH, &format!("{one}/status"), "", Some(Verb::Patch));
    check(Method::POST, &format!("{one}/log"), "", None);
    check(Method::PUT, &format!("{one}/log"), "", None);
    for sub in ["exec", "attach"] {
        check(Method::GET, &format!("{one}/{sub}"), "watch=1", Some(Verb::Get));
        check(Method::POST, &format!("{one}/{sub}"), "", Some(Verb::Create));
        check(Method::PUT, &format!("{one}/{sub}"), "", None);
        check(Method::DELETE, &format!("{one}/{sub}"), "", None);
    }
    check(Method::TRACE, one, "", None);
    check(Method::from_bytes(b"BREW").unwrap(), one, "", None);
}

#[test]
fn queries_are_read_once() {
    let query = Query::parse("a=b%20c+d&flag&&empty=&n=12&dryRun=All&dryRun=All").unwrap();
    assert_eq!(query.get("a"), Some("b c d"));
    assert_eq!(query.get("empty"), None);
    assert!(query.flag("flag"));
    assert_eq!(query.switch("other"), None);
    assert_eq!(query.integer("n").unwrap(), Some(12));
    assert!(query.integer("a").is_err());
    assert_eq!(query.all("dryRun").count(), 2);
    for bad in ["a=%", "a=%f", "a=%ff", "%=1", "limit=1&limit=2", "watch&watch"] {
        assert!(Query::parse(bad).is_err(), "{bad}");
    }
    let words = Query::parse("command=sh&command=&command=a+b").unwrap();
    assert_eq!(words.every("command").collect::<Vec<_>>(), ["sh", "", "a b"]);
    let many = |count| (0..count).map(|i| format!("k{i}=v")).collect::<Vec<String>>().join("&");
    assert!(Query::parse(&many(1024)).is_ok());
    assert!(Query::parse(&many(1025)).is_err());
}

#[test]
fn accept_is_negotiated() {
    let shapes = [Shape::Table, Shape::MetadataList];
    let check = |accept: &str, encoding: Encoding, shape: Shape| {
        assert_eq!(Answer::negotiate(accept, &shapes), Ok(Answer { encoding, shape }), "{accept}");
    };
    check("", Encoding::Json, Shape::Object);
    check("*/*", Encoding::Json, Shape::Object);
    check("application/json", Encoding::Json, Shape::Object);
    check("application/yaml", Encoding::Yaml, Shape::Object);
    // What kubectl and client-go send.
    check("application/vnd.kubernetes.protobuf,application/json", Encoding::Protobuf, Shape::Object);
    check("application/vnd.kubernetes.protobuf, */*", Encoding::Protobuf, Shape::Object);
    check("application/json,application/vnd.kubernetes.protobuf", Encoding::Json, Shape::Object);
    check("application/vnd.kubernetes.protobuf;stream=watch", Encoding::Protobuf, Shape::Object);
    check("application/vnd.kubernetes.protobuf;q=0.3, application/json;q=0.5", Encoding::Json, Shape::Object);
    // There is no Table in protobuf.
    check(
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/yaml;as=Table;v=v1;g=meta.k8s.io",
        Encoding::Yaml,
        Shape::Table,
    );
    check(
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        Encoding::Json,
        Shape::Table,
    );
    check(
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
         application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
        Encoding::Protobuf,
        Shape::MetadataList,
    );
    check("application/json;q=0.4, application/yaml;q=0.9", Encoding::Yaml, Shape::Object);
    check("APPLICATION/JSON; charset=utf-8", Encoding::Json, Shape::Object);
    check("application/yaml;q=0, */*;q=0.1", Encoding::Json, Shape::Object);
    // A form that this endpoint has not, with a fallback.
    check("application/json;as=Nonsense;v=v1;g=x,application/json", Encoding::Json, Shape::Object);
    for refused in [
        "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        "text/html",
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        "application/json;q=0",
    ] {
        let error = Answer::negotiate(refused, &shapes).unwrap_err();
        assert_eq!(error.reason.code(), 406, "{refused}");
        assert_eq!(
            error.message,
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf"
        );
    }
}

#[test]
fn documents_without_a_form_in_protobuf_come_as_text() {
    for (accept, encoding) in [
        ("application/vnd.kubernetes.protobuf", Encoding::Json),
        ("application/vnd.kubernetes.protobuf,application/yaml", Encoding::Yaml),
        ("text/html", Encoding::Json),
    ] {
        assert_eq!(Answer::document(accept).encoding, encoding, "{accept}");
    }
    let error = Answer::text("application/vnd.kubernetes.protobuf").unwrap_err();
    assert_eq!(
        error.message,
        "only the following media types are accepted: application/json, application/yaml"
    );
}

fn list(query: &str, is_watch: bool) -> Result<ListOptions, String> {
    ListOptions::read(&Query::parse(query).unwrap(), is_watch).map_err(|e| e.message)
}

#[test]
fn list_options() {
    let options =
        list("limit=500&labelSelector=a%3Db&resourceVersion=7&resourceVersionMatch=Exact", false).unwrap();
    assert_eq!((options.limit, options.version, options.is_exact), (500, Version::At(7), true));
    assert_eq!(options.label_selector, "a=b");
    assert_eq!(list("resourceVersion=0", false).unwrap().version, Version::Any);
    assert_eq!(list("limit=-1", false).unwrap().limit, 0);
    assert_eq!(list("timeoutSeconds=0", true).unwrap().timeout_seconds, None);
    let watch =
        list("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1", true).unwrap();
    assert_eq!((watch.send_initial_events, watch.bookmarks), (Some(true), true));
    let refused = |query: &str, is_watch: bool, words: &str| {
        let message = list(query, is_watch).unwrap_err();
        assert!(message.contains(words), "{query}: {message}");
    };
    refused(
        "sendInitialEvents=true",
        true,
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    );
    refused(
        "resourceVersionMatch=NotOlderThan",
        true,
        "forbidden for watch unless sendInitialEvents is provided",
    );
    refused("sendInitialEvents=true", false, "sendInitialEvents is forbidden for list");
    refused("resourceVersionMatch=Exact", false, "forbidden unless resourceVersion is provided");
    refused("resourceVersionMatch=Exact&resourceVersion=0", false, "forbidden for resourceVersion \"0\"");
    refused("resourceVersionMatch=Sometimes&resourceVersion=1", false, "supported values");
    refused("continue=x&resourceVersion=5", false, "not allowed when using continue");
    refused("resourceVersion=abc", false, "invalid resource version \"abc\"");
    refused("resourceVersion=-1", false, "invalid resource version");
    refused("limit=many", false, "a whole number is needed");
}

#[test]
fn options_of_changes() {
    let read =
        |query: &str, patch| write_options(&Query::parse(query).unwrap(), patch).map_err(|e| e.message);
    let options = read("dryRun=All&fieldManager=kubectl&fieldValidation=Strict", None).unwrap();
    assert_eq!(options.dry_run, DryRun::All);
    assert_eq!(options.field_validation, FieldValidation::Strict);
    assert_eq!(options.field_manager, "kubectl");
    assert_eq!(read("", None).unwrap().field_validation, FieldValidation::Warn);
    let applied = read("fieldManager=a&force=true", Some(PatchKind::Apply)).unwrap();
    assert_eq!(applied.force, Force::Yes);
    for (query, patch, words) in [
        ("dryRun=Some", None, "supported values: \"All\""),
        ("fieldValidation=Lax", None, "supported values"),
        ("force=true", None, "may not be specified for non-apply patch"),
        ("force=true", Some(PatchKind::Merge), "may not be specified for non-apply patch"),
        ("", Some(PatchKind::Apply), "is required for apply patch"),
        ("fieldManager=a%07b", None, "printable"),
    ] {
        let message = read(query, patch).unwrap_err();
        assert!(message.contains(words), "{query}: {message}");
    }
    assert!(read(&format!("fieldManager={}", "m".repeat(129)), None).is_err());
}

#[test]
fn options_of_deletions() {
    let none = Query::default();
    let body = |text: &str| {
        let value = serde_json::from_str(text).unwrap();
        delete_options(&none, Some(&value)).map_err(|e| e.message)
    };
    let (options, dry_run) = body(
        r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":3,"propagationPolicy":"Foreground",
            "dryRun":["All"],"preconditions":{"uid":"u","resourceVersion":"9"}}"#,
    )
    .unwrap();
    assert_eq!(options.grace_period_seconds, Some(3));
    assert_eq!(options.propagation_policy, Some(Propagation::Foreground));
    assert_eq!(dry_run, DryRun::All);
    assert_eq!(options.precondition_uid.as_deref(), Some("u"));
    assert_eq!(options.precondition_resource_version.as_deref(), Some("9"));
    assert_eq!(body(r#"{"orphanDependents":true}"#).unwrap().0.propagation_policy, Some(Propagation::Orphan));
    assert_eq!(body(r#"{"orphanDependents":null}"#).unwrap().0.propagation_policy, None);
    for bad in [
        "[]",
        r#"{"kind":"Pod"}"#,
        r#"{"gracePeriodSeconds":"3"}"#,
        r#"{"gracePeriodSeconds":1.5}"#,
        r#"{"gracePeriodSeconds":99999999999}"#,
        r#"{"propagationPolicy":"Sideways"}"#,
        r#"{"propagationPolicy":5}"#,
        r#"{"orphanDependents":true,"propagationPolicy":"Background"}"#,
        r#"{"dryRun":"All"}"#,
        r#"{"dryRun":["Some"]}"#,
        r#"{"preconditions":{"uid":5}}"#,
    ] {
        assert!(body(bad).is_err(), "{bad}");
    }
    let query = Query::parse("propagationPolicy=Background&gracePeriodSeconds=0").unwrap();
    let (options, _) = delete_options(&query, None).unwrap();
    assert_eq!(options.propagation_policy, Some(Propagation::Background));
    assert_eq!(options.grace_period_seconds, Some(0));
}

#[test]
fn bodies_by_content_type() {
    let object = |content_type: &str, body: &[u8]| content::object(content_type, body, &Nodes::of_request());
    let patch = |content_type: &str, body: &[u8]| content::patch(content_type, body, &Nodes::of_request());
    assert_eq!(object("", b"{\"a\":1}").unwrap()["a"], 1);
    assert_eq!(object("application/json; charset=utf-8", b"{\"a\":1}").unwrap()["a"], 1);
    assert_eq!(object("application/yaml", b"a: 1\n").unwrap()["a"], 1);
    let code = |result: Result<serde_json::Value, watchbell_api::ApiError>| result.unwrap_err().reason.code();
    assert_eq!(code(object("application/vnd.kubernetes.protobuf", b"k8s\0")), 400);
    assert_eq!(code(object("text/plain", b"{}")), 415);
    assert_eq!(code(object("application/json", b"{\"a\":1,\"a\":2}")), 400);
    assert_eq!(code(object("application/json", b"")), 400);
    assert_eq!(code(object("application/yaml", b"a: 1\n---\nb: 2\n")), 400);
    let kind = |content_type: &str, body: &[u8]| patch(content_type, body).map(|(kind, _)| kind);
    assert_eq!(kind("application/json-patch+json", b"[]"), Ok(PatchKind::Json));
    assert_eq!(kind("application/merge-patch+json", b"{}"), Ok(PatchKind::Merge));
    assert_eq!(kind("application/strategic-merge-patch+json", b"{}"), Ok(PatchKind::StrategicMerge));
    assert_eq!(kind("application/apply-patch+yaml", b"a: b\n"), Ok(PatchKind::Apply));
    assert_eq!(kind("application/json", b"{}").unwrap_err().reason.code(), 415);
}

proptest! {
    /// No bytes in a request line bring the reader down, and what it accepts as a name is one clean segment.
    #[test]
    fn any_path_is_read_or_refused(path in "\\PC{0,200}") {
        check_names(&path)?;
    }

    #[test]
    fn any_likely_path_is_read_or_refused(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "api", "apis", "v1", "batch", "namespaces", "pods", "jobs", "log", "status", "..", ".", "%2e%2e", "%2F",
                "%00", "", "a", "images", "watchbell.dev", "v1alpha1", "images:pull", "%", "é", "openapi", "v3",
            ]),
            0..9,
        ),
    ) {
        check_names(&format!("/{}", parts.join("/")))?;
    }

    #[test]
    fn any_query_is_read_or_refused(query in "[a-z%=&+0-9\u{e9}]{0,120}") {
        if let Ok(query) = Query::parse(&query) {
            let _ = ListOptions::read(&query, true);
            let _ = ListOptions::read(&query, false);
            let _ = write_options(&query, None);
            let _ = delete_options(&query, None);
        }
    }

    #[test]
    fn any_accept_is_read_or_refused(accept in "[a-z/*;=,. 0-9+-]{0,120}") {
        let _ = Answer::negotiate(&accept, &[Shape::Table, Shape::Discovery]);
    }

    #[test]
    fn any_token_is_read_or_refused(token in "[A-Za-z0-9_=-]{0,80}") {
        let _ = crate::pins::Token::decode(&token);
    }
}

fn check_names(path: &str) -> Result<(), TestCaseError> {
    if let Ok(Route::Object(object)) = Route::parse(path) {
        for text in [&object.namespace, &object.name].into_iter().flatten() {
            prop_assert!(!text.is_empty() && text.len() <= 253);
            prop_assert!(text != "." && text != ".." && !text.contains(['/', '%']));
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
    Ok(())
}

/// The number of a kind of route. Without a wildcard: who adds one adds a number, and then a row to the walk.
fn kind_of(route: &Route) -> usize {
    match route {
        Route::Probe(Probe::Health) => 0,
        Route::Probe(Probe::Live) => 1,
        Route::Probe(Probe::Ready) => 2,
        Route::Version => 3,
        Route::Metrics => 4,
        Route::Root => 5,
        Route::OpenApiV2 => 6,
        Route::OpenApiIndex => 7,
        Route::OpenApi { .. } => 8,
        Route::CoreVersions => 9,
        Route::Groups => 10,
        Route::Group(_) => 11,
        Route::Resources { .. } => 12,
        Route::Definitions => 13,
        Route::Review(_) => 14,
        Route::Images(ImagePath::All) => 15,
        Route::Images(ImagePath::One(_)) => 16,
        Route::Images(ImagePath::Pull) => 17,
        Route::Images(ImagePath::Import) => 18,
        Route::Images(ImagePath::Prune) => 19,
        Route::Object(path) => match path.sub {
            Sub::None => 20,
            Sub::Status => 21,
            Sub::Log => 22,
            Sub::Exec => 23,
            Sub::Attach => 24,
            Sub::Eviction => 25,
            Sub::Sandbox => 26,
            Sub::Trigger => 27,
            Sub::Suspend => 28,
            Sub::Rerun => 29,
            Sub::Admission => 30,
            Sub::Token => 33,
            Sub::Rollback => 37,
        },
        Route::OpenIdConfiguration => 31,
        Route::TokenKeys => 32,
        Route::SigningKeys(KeysPath::All) => 34,
        Route::SigningKeys(KeysPath::Rotate) => 35,
        Route::SigningKeys(KeysPath::Revoke) => 36,
    }
}

/// The rows that `tests/api/walk.rs` walks as those who may not.
#[test]
fn every_route_has_a_row_in_the_walk() {
    let mut missing: std::collections::BTreeSet<usize> = (0..=37).collect();
    let rows = include_str!("../../tests/api/walk/routes.txt");
    for row in rows.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let uri = row.split(' ').nth(1).expect("a path");
        if let Ok(route) = Route::parse(uri.split('?').next().unwrap_or_default()) {
            missing.remove(&kind_of(&route));
        }
    }
    assert!(missing.is_empty(), "kinds of routes that nobody walks: {missing:?}");
}
