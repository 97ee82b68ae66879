use super::*;

fn one(text: &str) -> Instruction {
    let file = Dockerfile::parse(text);
    assert_eq!(file.faults, [], "{text}");
    let [instruction] = &file.instructions[..] else { panic!("{text:?}: {:?}", file.instructions) };
    instruction.clone()
}

#[test]
fn continued_lines_are_one_instruction_and_comments_between_are_none() {
    let run = one("RUN a \\\n# no word\n\n   # neither\n    b   \\  \n  c\n");
    assert_eq!(run.text, "a     b     c");
    assert_eq!((run.place.line, run.last_line), (1, 6));
    let words: Vec<(String, u32, u32)> = run
        .words()
        .into_iter()
        .map(|(word, range)| {
            let place = run.place_of(range);
            (word, place.line, place.column)
        })
        .collect();
    assert_eq!(words, [("a".into(), 1, 5), ("b".into(), 5, 5), ("c".into(), 6, 3)]);
}

#[test]
fn the_escape_directive_counts_only_before_everything_else() {
    assert_eq!(one("# syntax=docker/dockerfile:1\n# escape=`\nRUN a `\n b").text, "a  b");
    assert_eq!(one("# escape=`\nRUN dir C:\\\n").text, "dir C:\\");
    let file = Dockerfile::parse("# a comment\n# escape=`\nRUN a `\nRUN b");
    assert_eq!(file.instructions.len(), 2);
    assert_eq!(one("\u{feff}RUN a\r\n").text, "a");
}

#[test]
fn here_documents_belong_to_their_instruction() {
    let run = one("RUN <<EOF cat\nfirst\n  EOF\nEOF\n");
    assert_eq!(run.heredocs, [Heredoc { name: "EOF".into(), body: "first\n  EOF\n".into(), line: 2 }]);
    let copy = one("COPY <<-\"a.txt\" <<b /x/\n\tone\n\ta.txt\ntwo\nb\n");
    let bodies: Vec<&str> = copy.heredocs.iter().map(|heredoc| heredoc.body.as_str()).collect();
    assert_eq!(bodies, ["one\n", "two\n"]);
    assert_eq!(copy.last_line, 5);
    // Arithmetic and other instructions have none.
    assert_eq!(one("RUN echo $((1<<2))").heredocs, []);
    assert_eq!(one("CMD cat <<EOF").heredocs, []);
    let file = Dockerfile::parse("RUN <<EOF\nfoo\n");
    assert_eq!(file.faults[0].message, "the here-document \"EOF\" is not closed");
}

#[test]
fn flags_and_the_json_form() {
    let copy = one("COPY --from=build --chown=\"1:1\" [\"a b\", \"/x\"]");
    assert_eq!((copy.flag("from"), copy.flag("chown")), (Some("build"), Some("1:1")));
    assert_eq!(copy.json, Some(vec!["a b".into(), "/x".into()]));
    assert_eq!(one("RUN [ -f /x ] && echo").json, None);
    assert_eq!(one("RUN --mount=type=cache,target=/x \\\n  make").text, "make");
    assert_eq!(one("ENV --x=1").flags, []);
}

#[test]
fn an_onbuild_is_the_instruction_inside_it() {
    let run = one("onbuild run make");
    assert!(run.is_onbuild);
    assert_eq!((run.keyword, &*run.text), (Keyword::Run, "make"));
    let file = Dockerfile::parse("ONBUILD\nFRMO x\nRUN\n");
    let messages: Vec<&str> = file.faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(messages, ["ONBUILD has no instruction", "\"FRMO\" is no instruction", "RUN says nothing"]);
    assert_eq!(file.faults[1].place, Place { line: 2, column: 1, end_column: 5 });
}

#[test]
fn hadolints_comments_are_kept() {
    let file = Dockerfile::parse(
        "# hadolint global ignore=DL3000, DL3001 # because\n# hadolint ignore=DL3006,DL3008\nFROM a\nRUN b",
    );
    assert_eq!(file.ignored_rules, ["DL3000", "DL3001"]);
    assert_eq!(file.instructions[0].ignored_rules, ["DL3006", "DL3008"]);
    assert_eq!(file.instructions[1].ignored_rules, [] as [&str; 0]);
}

#[test]
fn any_text_is_read_in_bounds() {
    for text in [
        "\\",
        "RUN \\",
        "RUN a\\\n",
        "\\\n\\\n",
        "RUN '\\",
        "ENV a=\"",
        "FROM \u{e9}\u{e9} as \u{e9}",
        "RUN <<",
    ] {
        let file = Dockerfile::parse(text);
        for instruction in &file.instructions {
            for (_, range) in instruction.words() {
                let place = instruction.place_of(range);
                assert!(place.line >= 1 && place.column < place.end_column, "{text:?}");
            }
        }
    }
}
