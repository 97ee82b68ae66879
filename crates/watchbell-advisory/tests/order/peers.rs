//! Programs of others, asked in one run each: pairs go in, one a line, and `<`, `=`, `>` or `?` (no version) comes out.

use std::cmp::Ordering;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use watchbell_advisory::{Score, compare};

use super::vectors;

type Pair = (String, String);

/// A generator of texts that is the same on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        // Numerical Recipes' linear congruential generator.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// Pairs of versions made of `starts` and up to five of `pieces`, and the vectors.
fn pairs(name: &str, count: usize, starts: &[&str], pieces: &[&str]) -> Vec<Pair> {
    let mut chance = Chance(42);
    let version = |chance: &mut Chance| {
        let mut text = chance.one_of(starts).to_owned();
        for _ in 0..chance.below(6) {
            text.push_str(chance.one_of(pieces));
        }
        text
    };
    let mut pairs: Vec<Pair> = vectors::read(name).into_iter().map(|(a, _, b)| (a, b)).collect();
    pairs.extend((0..count).map(|_| (version(&mut chance), version(&mut chance))));
    pairs
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn left_out(what: &str) {
    eprintln!("left out: no {what} (tools/test/setup installs it)");
}

/// Gives `pairs` to a program's standard input, and compares its answers with ours.
fn check(name: &str, pairs: &[Pair], command: &mut Command) {
    let input: String = pairs.iter().map(|(a, b)| format!("{a}\t{b}\n")).collect();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    judge(name, pairs, &String::from_utf8(output.stdout).unwrap());
}

fn judge(name: &str, pairs: &[Pair], answers: &str) {
    let ecosystem = vectors::ecosystem(name);
    assert_eq!(answers.lines().count(), pairs.len());
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for ((a, b), answer) in pairs.iter().zip(answers.lines()) {
        let theirs = match answer {
            "<" => Ordering::Less,
            "=" => Ordering::Equal,
            ">" => Ordering::Greater,
            // They take less for a version than we do.
            "?" => continue,
            other => panic!("{other}"),
        };
        compared += 1;
        let ours = compare(&ecosystem, a, b);
        if ours != theirs {
            wrong.push(format!("{a} {answer} {b}, and here {ours:?}"));
        }
    }
    assert!(compared >= pairs.len() / 4, "{compared} of {} could be compared", pairs.len());
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn dpkg_says_the_same() {
    if !has("dpkg") {
        return left_out("dpkg");
    }
    let pieces = ["0", "1", "10", "02", ".", "~", "+", "a", "rc", "~~", "-1", "-0", "deb12u1", ".1"];
    let pairs = pairs("dpkg", 120, &["0", "1", "1:0", "0:1", "1.0", "2~", "1.2-1"], &pieces);
    // One question a call.
    let holds = |a: &str, relation: &str, b: &str| {
        let status =
            Command::new("dpkg").args(["--compare-versions", a, relation, b]).stderr(Stdio::null()).status();
        status.unwrap().success()
    };
    let answer = |(a, b): &Pair| match (holds(a, "lt", b), holds(a, "gt", b)) {
        (true, false) => "<\n",
        (false, true) => ">\n",
        (false, false) => "=\n",
        (true, true) => panic!("{a} {b}"),
    };
    judge("dpkg", &pairs, &pairs.iter().map(answer).collect::<String>());
}

#[test]
fn rpm_says_the_same() {
    if !has("rpm") {
        return left_out("rpm");
    }
    let pieces = ["0", "1", "10", "01", ".", "~", "^", "a", "rc", "_", "+", ".el9", "..", "~rc1", "^git1"];
    let pairs = pairs("rpm", 500, &["0", "1", "1:0", "0:1", "1.0", "a", "2~", "1^"], &pieces);
    let calls: String = pairs.iter().map(|(a, b)| format!(" p({a:?},{b:?})")).collect();
    let program = format!(
        "%{{lua: function p(a,b) local c=rpm.vercmp(a,b); print((c<0 and '<' or c>0 and '>' or '=')..'\\n') end {calls}}}"
    );
    let output = Command::new("rpm").args(["--eval", &program]).output().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: String =
        answers.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    judge("rpm", &pairs, &answers);
}

#[test]
fn packaging_says_the_same() {
    let python = target().join("test-venv/bin/python");
    let is_there = python.is_file()
        && Command::new(&python)
            .args(["-c", "import packaging"])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success();
    if !is_there {
        return left_out("packaging in target/test-venv");
    }
    let pieces = [
        "0", "1", "10", ".0", ".1", "a1", "b", "rc2", ".post1", "-1", ".dev0", "dev", "+local.1", "c1", "+1",
        "_alpha",
    ];
    let pairs = pairs("pypi", 2000, &["0", "1", "1.0", "v1", "1!0", "2.0.0", "1.0rc"], &pieces);
    let program = "
import sys
from packaging.version import InvalidVersion, Version
for line in sys.stdin:
    try:
        a, b = (Version(v) for v in line.rstrip('\\n').split('\\t'))
        print('<' if a < b else '>' if a > b else '=')
    except InvalidVersion:
        print('?')
";
    check("pypi", &pairs, Command::new(python).args(["-c", program]));
}

/// Vectors of all versions that somebody could write, by the library that Red Hat uses.
#[test]
fn another_library_scores_the_same() {
    let python = target().join("test-venv/bin/python");
    let is_there = python.is_file()
        && Command::new(&python)
            .args(["-c", "import cvss"])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success();
    if !is_there {
        return left_out("cvss in target/test-venv");
    }
    let mut chance = Chance(7);
    let mut vectors = Vec::new();
    for _ in 0..1000 {
        for (prefix, metrics) in VECTORS {
            let metrics: Vec<String> = metrics
                .split(' ')
                .map(|metric| {
                    let (name, values) = metric.split_once(':').unwrap();
                    let at = chance.below(values.len());
                    format!("{name}:{}", &values[at..=at])
                })
                .collect();
            vectors.push(format!("{prefix}{}", metrics.join("/")));
        }
    }
    let program = "
import sys
from cvss import CVSS2, CVSS3, CVSS4
for line in sys.stdin:
    vector = line.strip()
    kind = CVSS4 if vector.startswith('CVSS:4') else CVSS3 if vector.startswith('CVSS:3') else CVSS2
    print(round(float(kind(vector).scores()[0]) * 10))
";
    let mut child = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input: String = vectors.iter().map(|vector| format!("{vector}\n")).collect();
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let theirs: Vec<u8> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(theirs.len(), vectors.len());
    for (vector, theirs) in vectors.iter().zip(theirs) {
        assert_eq!(vector.parse::<Score>().unwrap().tenths, theirs, "{vector}");
    }
}

/// Each metric with the letters of its values.
const VECTORS: [(&str, &str); 4] = [
    ("", "AV:LAN AC:HML Au:MSN C:NPC I:NPC A:NPC"),
    ("CVSS:3.0/", "AV:NALP AC:LH PR:NLH UI:NR S:UC C:NLH I:NLH A:NLH"),
    ("CVSS:3.1/", "AV:NALP AC:LH PR:NLH UI:NR S:UC C:NLH I:NLH A:NLH"),
    ("CVSS:4.0/", "AV:NALP AC:LH AT:NP PR:NLH UI:NPA VC:HLN VI:HLN VA:HLN SC:HLN SI:HLN SA:HLN E:XAPU"),
];

/// Strictly: what it makes of malformed versions when it is lenient (`1.0.010.b` is `1.0.0-10.b`) is nobody's version.
#[test]
fn npm_says_the_same() {
    let modules = target().join("test-node/node_modules/semver");
    if !has("node") || !modules.is_dir() {
        return left_out("node with semver in target/test-node");
    }
    let pieces = [".0", ".1", ".10", ".beta", "a", "1", "-", "+b.1"];
    let starts = ["1.0.0", "1.0.0-alpha", "1.0.0-1", "v1.2.3-rc", "1.10.0-0", "0.0.0-x"];
    let pairs = pairs("npm", 2000, &starts, &pieces);
    let program = "
const semver = require(process.argv[1]);
for (const line of require('fs').readFileSync(0, 'utf8').split('\\n').filter(Boolean)) {
  const [a, b] = line.split('\\t').map((v) => semver.parse(v));
  console.log(!a || !b ? '?' : ['<', '=', '>'][a.compare(b) + 1]);
}
";
    check("npm", &pairs, Command::new("node").args(["-e", program]).arg(modules));
}

#[test]
fn ruby_says_the_same() {
    if !has("ruby") {
        return left_out("ruby");
    }
    let pieces = ["0", "1", "10", ".0", ".1", ".a", "a", "rc1", "-1", ".pre", "b", ".0.0"];
    let pairs = pairs("gem", 2000, &["0", "1", "1.0", "2.0.0", "1.0.a", "3.rc"], &pieces);
    let program = "
STDIN.each_line do |line|
  a, b = line.chomp.split(\"\\t\", -1)
  fits = [a, b].all? { |v| Gem::Version.correct?(v) }
  puts fits ? ['<', '=', '>'][(Gem::Version.new(a) <=> Gem::Version.new(b)) + 1] : '?'
end
";
    check("gem", &pairs, Command::new("ruby").args(["-e", program]));
}

#[test]
fn composer_says_the_same() {
    let library = Path::new("/usr/share/php/Composer/Semver/VersionParser.php");
    if !has("php") || !library.is_file() {
        return left_out("php with composer/semver");
    }
    let pieces = [
        "0", "1", "10", ".0", ".1", "-beta", "-alpha2", "RC1", "-dev", "p1", "-patch2", "a", ".2", "-stable",
        "+b",
    ];
    let pairs =
        pairs("composer", 2000, &["0", "1", "1.0", "v1.2.3", "2.0.0.1", "20240131", "2024.01.31"], &pieces);
    let program = "
require '/usr/share/php/Composer/Semver/VersionParser.php';
$parser = new Composer\\Semver\\VersionParser();
while (($line = fgets(STDIN)) !== false) {
    try {
        [$a, $b] = array_map(fn($v) => $parser->normalize($v), explode(\"\\t\", rtrim($line, \"\\n\")));
        $branch = str_starts_with($a, 'dev-') || str_starts_with($b, 'dev-');
        echo $branch ? '?' : ['<', '=', '>'][version_compare($a, $b) + 1], \"\\n\";
    } catch (UnexpectedValueException $e) {
        echo \"?\\n\";
    }
}
";
    check("composer", &pairs, Command::new("php").args(["-r", program]));
}

#[test]
fn maven_says_the_same_of_versions_as_they_are_in_use() {
    let jar = Path::new("/usr/share/maven/lib/maven-artifact-3.x.jar");
    if !has("java") || !jar.is_file() {
        return left_out("Maven 3 of Debian");
    }
    // Maven 3.8 and 4 differ where a qualifier stands behind a dot or has a hyphen before its number: not in these.
    let pieces =
        [".0", ".1", ".10", ".Final", "-alpha", "-beta-1", "-SNAPSHOT", "-rc1", "-1", "-jre", ".2", "-sp"];
    let pairs: Vec<Pair> = pairs("maven", 400, &["0", "1", "1.0", "2.0.0", "31"], &pieces)
        .into_iter()
        .filter(|(a, b)| is_common_shape(a) && is_common_shape(b))
        .collect();
    let arguments: Vec<&String> = pairs.iter().flat_map(|(a, b)| [a, b]).collect();
    let output = Command::new("java")
        .arg("-cp")
        .arg(jar)
        .arg("org.apache.maven.artifact.versioning.ComparableVersion")
        .args(arguments)
        .output()
        .unwrap();
    // Between each version and the next stands how they compare; every second of those is a pair.
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: String = text
        .lines()
        .filter(|line| line.starts_with("   "))
        .step_by(2)
        .map(|line| format!("{}\n", line.split_whitespace().nth(1).unwrap().replace("==", "=")))
        .collect();
    judge("maven", &pairs, &answers);
}

/// Numbers with dots, then at most one qualifier.
fn is_common_shape(version: &str) -> bool {
    let numbers = version.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let word = numbers.strip_prefix('-').unwrap_or(numbers);
    word.is_empty() || (numbers.starts_with('-') && word.bytes().all(|b| b.is_ascii_alphanumeric()))
}
