//! What a person names: `job/train`, `job train`, `pods a b`.

use watchbell_api::Resource;

use crate::exit::Failure;

/// One object by its resource and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    pub(crate) name: String,
}

/// The resource of a word, or an error that lists those there are.
pub(crate) fn resource(word: &str) -> Result<Resource, Failure> {
    Resource::from_word(word).ok_or_else(|| {
        let known: Vec<&str> = Resource::all().map(|r| r.info().plural).collect();
        Failure::Usage(format!("there is no resource type {word:?}; there are {}", known.join(", ")))
    })
}

fn named(resource: Resource, name: &str) -> Result<Target, Failure> {
    // A name becomes part of a path: what no object can be called is refused here.
    let fits = (1..=253).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b))
        && name != "."
        && name != "..";
    if !fits {
        return Err(Failure::Usage(format!("{name:?} is no object's name")));
    }
    Ok(Target { resource, name: name.to_owned() })
}

/// `TYPE/NAME…`, or `TYPE NAME…`.
pub(crate) fn all(words: &[String]) -> Result<Vec<Target>, Failure> {
    let Some(first) = words.first() else {
        return Err(Failure::Usage("name an object, as in job/NAME".into()));
    };
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| slashed(word)).collect();
    }
    let resource = resource(first)?;
    if words.len() == 1 {
        return Err(Failure::Usage(format!(
            "which {}? name one, as in {}/NAME",
            resource.info().singular,
            first
        )));
    }
    words[1..].iter().map(|name| named(resource, name)).collect()
}

/// Exactly one object; a bare name is one of `default`.
pub(crate) fn one(words: &[String], default: Resource) -> Result<Target, Failure> {
    match words {
        [word] if word.contains('/') => slashed(word),
        [name] => named(default, name),
        [word, name] if !word.contains('/') && !name.contains('/') => named(resource(word)?, name),
        _ => Err(Failure::Usage(format!("name one object, as in {}/NAME", default.info().singular))),
    }
}

/// As [`one`], and it must be a `expected`.
pub(crate) fn one_of(words: &[String], expected: Resource) -> Result<String, Failure> {
    let target = one(words, expected)?;
    if target.resource != expected {
        return Err(Failure::Usage(format!(
            "this takes a {}, not a {}",
            expected.info().kind,
            target.resource.info().kind
        )));
    }
    Ok(target.name)
}

fn slashed(word: &str) -> Result<Target, Failure> {
    match word.split_once('/') {
        Some((kind, name)) if !name.contains('/') => named(resource(kind)?, name),
        _ => Err(Failure::Usage(format!("{word:?} is not TYPE/NAME"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, all, one_of};
    use watchbell_api::Resource;

    fn check(line: &str, expect: Result<&[(Resource, &str)], &str>) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let found = all(&words).map_err(|e| e.to_string());
        let expect = expect
            .map(|list| {
                list.iter()
                    .map(|(resource, name)| Target { resource: *resource, name: (*name).into() })
                    .collect()
            })
            .map_err(str::to_owned);
        assert_eq!(found, expect, "{line}");
    }

    #[test]
    fn objects_are_named_as_kubectl_names_them() {
        check("job/a", Ok(&[(Resource::Job, "a")]));
        check("jobs a b", Ok(&[(Resource::Job, "a"), (Resource::Job, "b")]));
        check("cj/a po/b", Ok(&[(Resource::CronJob, "a"), (Resource::Pod, "b")]));
        check("jobs.batch/a", Ok(&[(Resource::Job, "a")]));
        check("", Err("name an object, as in job/NAME"));
        check("job", Err("which job? name one, as in job/NAME"));
        check("job/a b", Err("\"b\" is not TYPE/NAME"));
        check("job/a/b", Err("\"job/a/b\" is not TYPE/NAME"));
        check("job/..", Err("\"..\" is no object's name"));
        check("job/a?x=1", Err("\"a?x=1\" is no object's name"));
    }

    #[test]
    fn a_command_of_one_kind_takes_no_other() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            one_of(&words("nightly"), Resource::CronJob).map_err(|e| e.to_string()),
            Ok("nightly".into())
        );
        assert_eq!(
            one_of(&words("job/x"), Resource::CronJob).map_err(|e| e.to_string()),
            Err("this takes a CronJob, not a Job".into())
        );
    }
}
