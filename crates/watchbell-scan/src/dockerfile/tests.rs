use std::collections::BTreeMap;

use super::*;

fn found(text: &str) -> Vec<(u32, &'static str)> {
    let options = Options::default();
    judge(&Dockerfile::parse(text), &options).iter().map(|f| (f.place.line, f.rule.id)).collect()
}

/// What is around the lines of a case, so that nothing else is to be said.
fn whole(lines: &str) -> String {
    let digest = "0123456789abcdef".repeat(4);
    if lines.starts_with("FROM") || lines.starts_with("WHOLE\n") {
        return lines.trim_start_matches("WHOLE\n").replace("@D", &format!("@sha256:{digest}"));
    }
    format!("FROM debian:12@sha256:{digest}\n{lines}\nUSER 65534\n")
}

/// `rule`, lines that break it, lines that do not.
const CASES: &[(&str, &[&str], &[&str])] = &[
    ("DL3000", &["WORKDIR app"], &["WORKDIR /app", "WORKDIR \"/app\"", "WORKDIR $HOME/x", "WORKDIR C:\\app"]),
    (
        "DL3002",
        &["FROM a:1@D\nUSER root", "FROM a:1@D\nUSER 1\nUSER 0:0", "FROM a:1@D\nUSER app\nUSER root:root"],
        &[
            "FROM a:1@D\nUSER root\nRUN x\nUSER app",
            "FROM a:1@D\nUSER 10",
            "FROM a:1@D\nUSER $WHO",
            "FROM a:1@D AS b\nUSER root\nFROM a:1@D\nCOPY --from=b /x /x\nUSER 1",
        ],
    ),
    ("DL3004", &["RUN sudo make", "RUN a && sudo -E b"], &["RUN make sudo", "RUN echo 'sudo x'"]),
    (
        "DL3006",
        &["FROM debian\nUSER 1", "WHOLE\nARG V\nARG N=debian\nFROM $N\nUSER 1"],
        &[
            "FROM scratch\nUSER 1",
            "FROM debian@D\nUSER 1",
            "FROM debian:12@D AS a\nUSER 1\nFROM a",
            "WHOLE\nARG V\nFROM debian:$V\nUSER 1",
            "WHOLE\nARG N\nFROM $N\nUSER 1",
        ],
    ),
    (
        "DL3007",
        &[
            "FROM debian:latest\nUSER 1",
            "WHOLE\nARG V=latest\nFROM debian:${V}\nUSER 1",
            "WHOLE\nFROM debian:${V:-latest}\nUSER 1",
        ],
        &["FROM debian:latest@D\nUSER 1"],
    ),
    (
        "DL3008",
        &[
            "RUN apt-get -y --no-install-recommends install curl && rm -rf /var/lib/apt/lists/*",
            "RUN apt install -y --no-install-recommends curl",
        ],
        &[
            "RUN apt-get install -y --no-install-recommends curl=7.88.1 ./x.deb",
            "RUN apt-get install --no-install-recommends -t bookworm $PACKAGES",
            "RUN apt-get remove curl",
        ],
    ),
    (
        "DL3009",
        &["RUN apt-get update && x"],
        &[
            "RUN apt-get update && x && rm -rf /var/lib/apt/lists/*",
            "RUN --mount=type=cache,target=/var/lib/apt apt-get update && x",
            "RUN apt-get update && x && rm -rf /var/lib/apt/*",
            "FROM a:1@D AS b\nRUN apt-get update\nFROM a:1@D\nCOPY --from=b /x /x\nUSER 1",
        ],
    ),
    (
        "DL3013",
        &["RUN pip install --no-cache-dir numpy", "RUN python3 -m pip install --no-cache-dir numpy==2 scipy"],
        &[
            "RUN pip install --no-cache-dir numpy==2.1 'scipy>=1'",
            "RUN pip install --no-cache-dir -r requirements.txt",
            "RUN pip install --no-cache-dir .",
            "RUN pip download numpy",
            "RUN pip install --no-cache-dir --index-url https://example.org numpy==2",
        ],
    ),
    (
        "DL3015",
        &["RUN apt-get install -y curl=1"],
        &[
            "RUN apt-get install -y --no-install-recommends curl=1",
            "RUN apt-get -o APT::Install-Recommends=false install curl=1",
        ],
    ),
    (
        "DL3016",
        &["RUN npm install -g left-pad", "RUN npm i @scope/x"],
        &["RUN npm install", "RUN npm install left-pad@1.3.0 --prefix /x", "RUN npm ci"],
    ),
    (
        "DL3018",
        &["RUN apk add --no-cache curl", "RUN apk --no-cache add curl"],
        &["RUN apk add --no-cache curl=8.1-r0 'jq~1.6'", "RUN apk add --no-cache --virtual .build curl=8"],
    ),
    (
        "DL3019",
        &["RUN apk add curl=8"],
        &[
            "RUN apk --no-cache add curl=8",
            "RUN apk add curl=8 && rm -rf /var/cache/apk/*",
            "RUN --mount=type=cache,target=/var/cache/apk apk add curl=8",
        ],
    ),
    (
        "DL3020",
        &["ADD a /a", "ADD [\"a\", \"/a\"]"],
        &["ADD a.tar.gz /a", "COPY a /a", "ADD <<EOF /a\nx\nEOF"],
    ),
    (
        "DL3022",
        &["COPY --from=nginx /a /a"],
        &["FROM a:1@D AS b\nFROM a:1@D\nCOPY --from=b /a /a\nCOPY --from=0 /b /b\nUSER 1"],
    ),
    (
        "DL3023",
        &["FROM a:1@D AS b\nCOPY --from=b /a /a\nUSER 1"],
        &["FROM a:1@D AS b\nFROM a:1@D AS c\nCOPY --from=B /a /a\nUSER 1"],
    ),
    ("DL3024", &["FROM a:1@D AS b\nFROM a:1@D as B\nUSER 1"], &["FROM a:1@D AS b\nFROM a:1@D as c\nUSER 1"]),
    ("DL3028", &["RUN gem install rake"], &["RUN gem install rake:13", "RUN gem install rake -v 13"]),
    (
        "DL3032",
        &["RUN yum install -y x-1.2"],
        &["RUN yum install -y x-1.2 && yum clean all", "RUN yum install -y x-1.2 && rm -rf /var/cache/yum"],
    ),
    (
        "DL3033",
        &["RUN yum install -y httpd && yum clean all"],
        &["RUN yum -y install httpd-2.4.6 && yum clean all"],
    ),
    ("DL3035", &["RUN zypper dist-upgrade && zypper clean", "RUN zypper -n dup"], &["RUN zypper lr"]),
    ("DL3036", &["RUN zypper -n install x=1"], &["RUN zypper -n install x=1 && zypper clean -a"]),
    ("DL3037", &["RUN zypper -n in httpd && zypper clean"], &["RUN zypper -n in httpd=2.4 && zypper clean"]),
    (
        "DL3040",
        &["RUN dnf install -y x-1.2", "RUN microdnf -y install x-1.2"],
        &["RUN dnf install -y x-1.2 && dnf clean all"],
    ),
    (
        "DL3041",
        &["RUN dnf install -y httpd && dnf clean all"],
        &["RUN dnf install -y httpd-2.4.6 && dnf clean all"],
    ),
    (
        "DL3042",
        &["RUN pip install a==1"],
        &[
            "ENV PIP_NO_CACHE_DIR=1\nRUN pip install a==1",
            "RUN PIP_NO_CACHE_DIR=1 pip install a==1",
            "RUN --mount=type=cache,target=/root/.cache/pip pip install a==1",
            "RUN pip3.11 install --no-cache-dir a==1",
        ],
    ),
    ("DL3043", &["ONBUILD FROM a", "ONBUILD ONBUILD RUN a", "ONBUILD MAINTAINER a"], &["ONBUILD RUN a"]),
    (
        "DL3047",
        &["RUN wget https://example.org/a"],
        &[
            "RUN wget -q https://example.org/a",
            "RUN wget --progress=dot:giga https://example.org/a",
            "RUN wget -nv https://example.org/a",
        ],
    ),
    ("DL3061", &["WHOLE\nRUN a\nFROM a:1@D\nUSER 1"], &["WHOLE\nARG A=1\nFROM a:1@D\nUSER 1"]),
    (
        "DL3062",
        &["RUN go install example.org/a", "RUN go install example.org/a@latest"],
        &["RUN go install example.org/a@v1.2", "RUN go install ./...", "RUN go build"],
    ),
    (
        "DL3064",
        &[
            "ARG DB_PASSWORD",
            "ENV API_KEY=abcdefgh",
            "ENV GITHUB_TOKEN abcdefgh",
            "ONBUILD ENV A_SECRET=abcdefgh",
        ],
        &[
            "ENV TOKENIZERS_PARALLELISM=false",
            "ENV DB_PASSWORD_FILE=/run/secrets/db",
            "ENV SORT_KEY=timestamp",
            "ENV API_TOKEN=",
            "ARG MAX_TOKEN=100000",
        ],
    ),
    (
        "DL4006",
        &["RUN a | b", "SHELL [\"/bin/sh\", \"-c\"]\nRUN a | b"],
        &[
            "SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a | b",
            "RUN set -eo pipefail; a | b",
            "RUN a || b",
            "RUN [\"a\", \"|\", \"b\"]",
            "SHELL [\"pwsh\", \"-Command\"]\nRUN a | b",
            "RUN <<EOF\nset -o pipefail\na | b\nEOF",
        ],
    ),
    (
        "add-checksum",
        &["ADD https://example.org/a.tar /a", "ADD https://example.org/r.git#main /r"],
        &[
            "ADD --checksum=sha256:0 https://example.org/a.tar /a",
            "ADD https://example.org/r.git#0123456789012345678901234567890123456789 /r",
        ],
    ),
    ("dockerfile", &["WHOLE\nFRMO a", "RUN <<EOF\nx"], &["MAINTAINER a"]),
    (
        "from-digest",
        &["FROM debian:12\nUSER 1", "COPY --from=nginx:1.27 /a /a"],
        &["FROM debian:12@D\nUSER 1"],
    ),
    (
        "mount-secret-copied",
        &[
            "RUN --mount=type=secret,id=a cp /run/secrets/a /root/.netrc",
            "RUN --mount=type=secret,id=a,target=/k install /k /key",
        ],
        &["RUN --mount=type=secret,id=a make"],
    ),
    (
        "no-user",
        &["FROM debian:12@D\nRUN a"],
        &["FROM gcr.io/distroless/static:nonroot@D", "FROM debian:12@D AS a\nUSER 1\nFROM a"],
    ),
    (
        "pipe-to-shell",
        &[
            "SHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl -fsSL https://example.org | sudo -E bash -",
            "RUN sh -c \"$(curl -fsSL https://example.org)\"",
            "RUN bash <(curl https://example.org)",
            "SHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN wget -qO- https://example.org | tar x | sh -s -- -y",
            "SHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl https://example.org/get.py | python3",
            "RUN <<EOF\nset -o pipefail\ncurl https://example.org | sh\nEOF",
        ],
        &[
            "SHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl https://example.org | tar xz",
            "SHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl https://example.org | python3 -c 'import json'",
            "SHELL [\"bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN curl https://example.org | sh parse.sh",
            "RUN curl -o a https://example.org && sha256sum -c a.sum && sh a",
        ],
    ),
    ("run-insecure", &["RUN --security=insecure a", "RUN --network=host a"], &["RUN --network=none a"]),
    (
        "secret-copied",
        &[
            "COPY .env /app/",
            "ADD --checksum=sha256:0 https://example.org/id_rsa /root/.ssh/",
            "COPY [\"a\", \"server.key\", \"/x/\"]",
        ],
        &["COPY .env.example /app/", "FROM a:1@D AS b\nFROM a:1@D\nCOPY --from=b /x/id_rsa /x/\nUSER 1"],
    ),
    (
        "secret-in-dockerfile",
        &[
            "RUN echo postgres://app:Wq8vTz31kLp0@db.internal/x",
            "COPY <<EOF /x\npostgres://app:Wq8vTz31kLp0@db.internal/x\nEOF",
        ],
        &["RUN echo postgres://app:$PASSWORD@db.internal/x"],
    ),
    (
        "setuid-made",
        &[
            "RUN chmod u+s /x",
            "RUN chmod 4755 /x",
            "RUN setcap cap_net_raw+ep /x",
            "COPY --chmod=2755 a /a",
            "RUN install -m 4755 a /a",
        ],
        &["RUN chmod +x /x", "RUN chmod 755 /x"],
    ),
    (
        "ssh-host-unchecked",
        &[
            "RUN ssh -o StrictHostKeyChecking=no a",
            "RUN echo 'StrictHostKeyChecking no' >> /etc/ssh/ssh_config",
        ],
        &["RUN ssh a"],
    ),
    (
        "unverified-download",
        &[
            "RUN curl -fsSLk https://example.org",
            "RUN wget -q --no-check-certificate https://example.org",
            "RUN curl http://example.org/a",
            "RUN git -c http.sslVerify=false clone x",
            "ENV NODE_TLS_REJECT_UNAUTHORIZED=0",
        ],
        &[
            "RUN curl https://example.org",
            "RUN curl http://localhost:8080/x",
            "RUN curl -o a http://example.org/a && sha256sum -c sums",
        ],
    ),
    (
        "unverified-package",
        &[
            "RUN apt-get install --no-install-recommends --allow-unauthenticated a=1",
            "RUN yum install -y --nogpgcheck a-1 && yum clean all",
            "RUN apk add --no-cache --allow-untrusted a.apk",
            "RUN pip install --no-cache-dir --trusted-host example.org a==1",
            "RUN npm config set strict-ssl false",
            "RUN echo 'deb [trusted=yes] https://example.org ./' > /etc/apt/sources.list",
        ],
        &["RUN apt-get install --no-install-recommends a=1"],
    ),
    (
        "world-writable",
        &["RUN chmod -R 777 /x", "RUN chmod a+rw /x", "COPY --chmod=666 a /a"],
        &["RUN chmod 1777 /tmp", "RUN chmod g+w /x"],
    ),
];

#[test]
fn each_rule_speaks_where_it_should_and_nowhere_else() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (rule, bad, good) in CASES {
        *seen.entry(rule).or_default() += 1;
        for lines in *bad {
            let text = whole(lines);
            let ids: Vec<&str> = found(&text).into_iter().map(|(_, id)| id).collect();
            assert!(ids.contains(rule), "{rule} does not speak: {ids:?}\n{text}");
        }
        for lines in *good {
            let text = whole(lines);
            let ids: Vec<&str> = found(&text).into_iter().map(|(_, id)| id).collect();
            assert!(!ids.contains(rule), "{rule} speaks\n{text}");
        }
    }
    let untested: Vec<&str> =
        RULES.iter().map(|rule| rule.id).filter(|id| !seen.contains_key(id) && *id != "DL3026").collect();
    assert!(untested.is_empty(), "no case for {untested:?}");
}

#[test]
fn only_trusted_registries() {
    let trusted = ["*.example.org".to_owned(), "docker.io".to_owned()];
    let options = Options { trusted_registries: &trusted };
    let ids = |text: &str| {
        let findings = judge(&Dockerfile::parse(text), &options);
        findings.iter().filter(|finding| finding.rule.id == "DL3026").count()
    };
    assert_eq!(ids("FROM debian:12"), 0);
    assert_eq!(ids("FROM r.example.org/a:1 AS x\nFROM x"), 0);
    assert_eq!(ids("FROM scratch"), 0);
    assert_eq!(ids("FROM quay.io/a:1"), 1);
    assert_eq!(ids("FROM example.org/a:1"), 1);
}

#[test]
fn findings_have_the_place_of_the_command() {
    let text = "FROM debian:12@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
                RUN set -e; \\\n    chmod 777 /x; \\\n    sudo y\nUSER 1\n";
    assert_eq!(found(text), [(3, "world-writable"), (4, "DL3004")]);
    let findings = judge(&Dockerfile::parse(text), &Options::default());
    assert_eq!(findings[0].place, Place { line: 3, column: 5, end_column: 10 });
    let heredoc = "FROM a:1\nRUN <<EOF\nset -o pipefail\n  chmod 777 /x\nEOF\nUSER 1\n";
    let findings = judge(&Dockerfile::parse(heredoc), &Options::default());
    assert_eq!((findings[1].place.line, findings[1].place.column), (4, 3));
}

#[test]
fn what_a_comment_ignores_is_not_told() {
    assert_eq!(found("# hadolint ignore=DL3006\nFROM debian\nUSER 1\n"), []);
    assert_eq!(found("# hadolint global ignore=DL3004,no-user\nFROM scratch\nRUN sudo a\n"), []);
    assert_eq!(found("FROM scratch\n# hadolint ignore=DL3002\nUSER root\n"), []);
    assert_eq!(found("FROM scratch\n# hadolint ignore=DL3009\nRUN apt-get update\nUSER 1\n"), []);
}

#[test]
fn a_secret_is_not_shown() {
    let text = "FROM scratch\nRUN echo postgres://app:Wq8vTz31kLp0@db.internal/x\nUSER 1\n";
    for finding in judge(&Dockerfile::parse(text), &Options::default()) {
        assert!(!finding.message.contains("Wq8v"), "{}", finding.message);
    }
}

#[test]
fn names_of_dockerfiles() {
    for (name, expect) in [
        ("Dockerfile", true),
        ("dockerfile", true),
        ("Containerfile", true),
        ("Dockerfile.dev", true),
        ("app.Dockerfile", true),
        ("Dockerfile.dockerignore", false),
        ("mydockerfile", false),
        ("Dockerfile-notes.md", false),
    ] {
        assert_eq!(is_name(name), expect, "{name}");
    }
}

#[test]
fn each_rule_has_a_name_of_its_own_and_says_all() {
    let mut seen = std::collections::BTreeSet::new();
    for rule in &RULES {
        assert!(seen.insert(rule.id), "{}", rule.id);
        for text in [rule.summary, rule.why, rule.way_out] {
            assert!(!text.is_empty() && !text.contains(['|', '\n']), "{}", rule.id);
        }
    }
}
