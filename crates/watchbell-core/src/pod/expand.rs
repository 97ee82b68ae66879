//! `$(NAME)` in commands, arguments and variables.

/// Replaces `$(NAME)` by what `find` gives; one that it does not know stays as it is written. `$$` is a `$`, so that
/// `$$(NAME)` is never replaced. Source: k8s.io/kubernetes third_party/forked/golang/expansion.
pub fn expand<'a>(input: &str, find: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        output.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            output.push('$');
            rest = after;
        } else if let Some(name_and_rest) = rest.strip_prefix('(')
            && let Some(end) = name_and_rest.find(')')
        {
            let name = &name_and_rest[..end];
            match find(name) {
                Some(value) => output.push_str(value),
                None => {
                    output.push_str("$(");
                    output.push_str(name);
                    output.push(')');
                }
            }
            rest = &name_and_rest[end + 1..];
        } else {
            output.push('$');
        }
    }
    output.push_str(rest);
    output
}
