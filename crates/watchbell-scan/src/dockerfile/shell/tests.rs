use super::*;

/// The commands of a text: words, with `<` before a fed one and `>` behind a feeding one.
fn commands(text: &str) -> Vec<String> {
    let shown = |command: &Command| {
        let words: Vec<&str> = command.words.iter().map(|word| word.text.as_str()).collect();
        let (fed, feeds) = (if command.is_fed { "< " } else { "" }, if command.feeds { " >" } else { "" });
        format!("{fed}{}{feeds}", words.join(" "))
    };
    Script::parse(text).commands.iter().map(shown).collect()
}

#[track_caller]
fn check(text: &str, expect: &[&str]) {
    assert_eq!(commands(text), expect, "{text}");
}

#[test]
fn lists_pipes_and_groups() {
    check("a b && c; d || e & f", &["a b", "c", "d", "e", "f"]);
    check("a | b |& c", &["a >", "< b >", "< c"]);
    check("(a; b) | sh", &["a", "b >", "< sh"]);
    check("{ a; b; }", &["a", "b"]);
    check("a # b\nc#d", &["a", "c#d"]);
    check("", &[]);
}

#[test]
fn words_of_the_grammar_are_no_commands() {
    check("if a; then b; elif c; then d; else e; fi", &["a", "b", "c", "d", "e"]);
    check("for x in 1 2; do rm $x; done", &["rm $x"]);
    check("while ! a; do b; done", &["a", "b"]);
}

#[test]
fn quotes_substitutions_and_redirections() {
    check(r#"a 'b c' "d $e" f\ g"#, &["a b c d $e f g"]);
    check("a >/dev/null 2>&1 <in b", &["a b"]);
    check("a $(b | c) `d`", &["a $(…) $(…)", "b >", "< c", "d"]);
    check("a \"$(b)\"", &["a $(…)", "b"]);
    check("sh <(curl x)", &["sh $(…)", "curl x"]);
    check("a && \\\n b", &["a", "b"]);
    check("A=1 B='2 3' c D=4", &["c D=4"]);
}

#[test]
fn what_only_starts_another_is_taken_off() {
    let unwrapped = |text: &str| {
        let command = Script::parse(text).commands.swap_remove(0).unwrapped();
        command.words.iter().map(|word| word.text.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(unwrapped("sudo -u root apt-get update"), "apt-get update");
    assert_eq!(unwrapped("sudo -E env A=b nice -n 5 apt-get -y install x"), "apt-get -y install x");
    assert_eq!(unwrapped("timeout 5 curl x"), "curl x");
    assert_eq!(unwrapped("sudo"), "sudo");
}

#[test]
fn a_script_in_a_word_is_read_and_stands_where_the_word_does() {
    check("bash -euxc 'a && b'", &["bash -euxc a && b", "a", "b"]);
    let script = Script::parse("bash -c 'a && b'");
    assert_eq!(script.commands[1].range(), 8..16);
    assert!(!Script::parse("bash -c 'a | b'").has_pipe);
    assert!(Script::parse("a | b").has_pipe && !Script::parse("a || b").has_pipe);
}

#[test]
fn flags_alone_and_together() {
    let command = &Script::parse("curl -fsSLk --output=x --retry 3 url").commands[0];
    assert!(command.has_flag("-k") && command.has_flag("--output") && !command.has_flag("-x"));
    let operands: Vec<&str> = command.operands(&["--retry"]).iter().map(|word| word.text.as_str()).collect();
    assert_eq!(operands, ["url"]);
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = "$(".repeat(50_000);
    assert!(Script::parse(&deep).commands.len() <= 2 * DEPTH_MAX);
    let nested = "sh -c 'sh -c \"sh -c x\"' ".repeat(1000);
    Script::parse(&nested);
}
