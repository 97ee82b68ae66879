use super::*;

const ALICE: &str = "YWxpY2U6c2VjcmV0";

fn find(config: &str, image: &str) -> Option<String> {
    let source = CredentialSource::DockerConfigJson(Secret(config.as_bytes().to_vec()));
    source.find(&Reference::parse(image).unwrap()).unwrap().map(|c| match c {
        Credentials::Basic { username, password } => format!("{username}:{password}"),
        Credentials::IdentityToken(token) => format!("token {token}"),
    })
}

#[test]
fn entries_are_found_under_every_spelling_of_their_host() {
    let hub = format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{ALICE}"}}}}}}"#);
    assert_eq!(find(&hub, "busybox").unwrap(), "alice:secret");
    assert_eq!(find(&hub, "registry.example.org/busybox"), None);
    let own = format!(r#"{{"auths":{{"https://registry.example.org:5000":{{"auth":"{ALICE}"}}}}}}"#);
    assert_eq!(find(&own, "registry.example.org:5000/a").unwrap(), "alice:secret");
    assert_eq!(find(&own, "registry.example.org/a"), None);
    assert_eq!(find(&own, "evil.registry.example.org:5000/a"), None);
}

#[test]
fn the_entry_for_the_longest_path_wins() {
    let config = r#"{"auths":{"r.example.org":{"username":"all","password":"1"},
        "r.example.org/team":{"username":"team","password":"2"}}}"#;
    assert_eq!(find(config, "r.example.org/team/x").unwrap(), "team:2");
    assert_eq!(find(config, "r.example.org/teammate/x").unwrap(), "all:1");
}

#[test]
fn identity_tokens_and_passwords_with_colons_are_read() {
    let config = r#"{"auths":{"a.org":{"auth":"","identitytoken":"tok"},"b.org":{"auth":"dTphOmI"}}}"#;
    assert_eq!(find(config, "a.org/x").unwrap(), "token tok");
    assert_eq!(find(config, "b.org/x").unwrap(), "u:a:b");
}

#[test]
fn a_secret_names_no_program_and_shows_nothing_in_an_error() {
    let config = r#"{"credsStore":"touch-evil","credHelpers":{"a.org":"touch-evil"}}"#;
    assert_eq!(find(config, "a.org/x"), None);
    let broken =
        CredentialSource::DockerConfigJson(Secret(br#"{"auths":{"a.org":{"auth":"hunter2","#.to_vec()));
    let error = broken.find(&Reference::parse("a.org/x").unwrap()).unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    let shown = format!("{broken:?} {:?}", Credentials::IdentityToken("hunter2".into()));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn program_names_that_are_paths_are_refused() {
    for name in ["../evil", "a/b", "", "a b", "a;b"] {
        assert!(run_helper(name, "a.org").is_err(), "{name} was run");
    }
}

#[test]
fn the_file_of_the_user_is_found_where_docker_looks() {
    let check = |stated: Option<&str>, home: Option<&str>, expect: Option<&str>| {
        let found = match CredentialSource::docker_of(stated.map(Into::into), home.map(Into::into)) {
            CredentialSource::DockerConfig(file) => Some(file),
            CredentialSource::Anonymous => None,
            _ => panic!("neither a file nor none"),
        };
        assert_eq!(found.as_deref(), expect.map(std::path::Path::new), "{stated:?} {home:?}");
    };
    check(None, None, None);
    check(Some("/etc/docker"), Some("/home/ada"), Some("/etc/docker/config.json"));
    check(None, Some("/home/ada"), Some("/home/ada/.docker/config.json"));
    check(Some(""), Some("/home/ada"), Some("/home/ada/.docker/config.json"));
    // Not the working directory.
    check(Some(""), Some(""), None);
}
