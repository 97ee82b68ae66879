//! Cases, and a second implementation that is slow and plain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use serde_json::{Value, json};
use watchbell_api::network::EGRESS_NAMES;

use super::{Class, Egress, EgressPolicy, Refusal, Target, Verdict};

fn policy(name: &str, egress: &Value, names: &str) -> EgressPolicy {
    let object = json!({
        "metadata": {"namespace": "ml", "name": name, "annotations": {EGRESS_NAMES: names}},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress},
    });
    EgressPolicy::read(&object).unwrap().unwrap()
}

fn egress(policies: &[EgressPolicy]) -> Egress {
    Egress { rules: policies.iter().flat_map(|policy| policy.rules.iter().cloned()).collect() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// What becomes of `[NAME=]ADDRESS PORT`: the policy that allows it, or why it is refused.
fn verdict(egress: &Egress, target: &str, own: &[&str]) -> String {
    let (place, port) = target.split_once(' ').unwrap();
    let (name, address) =
        place.split_once('=').map_or((None, place), |(name, address)| (Some(name), address));
    let target = Target { name, address: ip(address), port: port.parse().unwrap() };
    let own: Vec<IpAddr> = own.iter().map(|own| ip(own).to_canonical()).collect();
    match egress.decide(&target, |form| own.contains(&form)) {
        Verdict::Allowed(rule) => rule.policy.to_string(),
        Verdict::Refused(refusal) => refusal.reason().to_owned(),
    }
}

#[test]
fn what_policies_open() {
    let egress = egress(&[
        policy(
            "net",
            &json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 5432}, {"port": 8000, "endPort": 8010, "protocol": "TCP"}]}]),
            "[]",
        ),
        policy(
            "names",
            &json!([]),
            r#"["data.example:443", "*.example.org:80-90", "db.corp:5432", "db.corp:9999"]"#,
        ),
    ]);
    let check = |target: &str, expect: &str| assert_eq!(verdict(&egress, target, &[]), expect, "{target}");
    check("10.2.3.4 5432", "ml/net");
    check("10.2.3.4 8000", "ml/net");
    check("10.2.3.4 8010", "ml/net");
    check("10.2.3.4 8011", "Port");
    check("10.1.3.4 5432", "NoRule");
    check("11.2.3.4 5432", "NoRule");
    check("::ffff:10.2.3.4 5432", "ml/net");
    check("::ffff:10.1.3.4 5432", "NoRule");
    check("data.example=151.101.0.223 443", "ml/names");
    check("Data.example.=151.101.0.223 443", "ml/names");
    check("data.example=151.101.0.223 80", "Port");
    check("data.example=2a04:4e42::223 443", "ml/names");
    check("151.101.0.223 443", "NoRule");
    check("a.b.example.org=151.101.0.223 85", "ml/names");
    check("example.org=151.101.0.223 85", "NoRule");
    // A name that resolves to what is not of the world is reached by a block alone.
    check("data.example=192.168.0.1 443", "PrivateAddressOfName");
    check("data.example=64:ff9b::10.0.0.1 443", "PrivateAddressOfName");
    check("data.example=10.2.0.1 443", "PrivateAddressOfName");
    check("db.corp=10.2.0.1 5432", "ml/net");
    check("db.corp=10.2.0.1 9999", "PrivateAddressOfName");
    check("db.corp=10.1.0.1 5432", "PrivateAddressOfName");
    check("data.example=127.0.0.1 443", "LoopbackAddress");
    check("data.example=169.254.169.254 443", "LinkLocalAddress");
}

#[test]
fn what_no_policy_opens() {
    let all = egress(&[policy("all", &json!([{}]), r#"["a.b:1-65535"]"#)]);
    let own = ["198.51.100.7", "2001:db8::7"];
    let check = |address: &str, expect: &str| {
        for name in ["", "a.b="] {
            assert_eq!(verdict(&all, &format!("{name}{address} 80"), &own), expect, "{name}{address}");
        }
    };
    for (address, reason) in [
        ("127.0.0.1", "LoopbackAddress"),
        ("127.255.255.255", "LoopbackAddress"),
        ("::1", "LoopbackAddress"),
        ("::ffff:127.0.0.1", "LoopbackAddress"),
        ("::127.0.0.1", "LoopbackAddress"),
        ("64:ff9b::127.0.0.1", "LoopbackAddress"),
        ("64:ff9b:1::127.0.0.1", "LoopbackAddress"),
        ("::ffff:0:127.0.0.1", "LoopbackAddress"),
        ("2002:7f00:1::", "LoopbackAddress"),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "LoopbackAddress"),
        ("169.254.169.254", "LinkLocalAddress"),
        ("169.254.170.2", "LinkLocalAddress"),
        ("::ffff:169.254.169.254", "LinkLocalAddress"),
        ("64:ff9b::a9fe:a9fe", "LinkLocalAddress"),
        ("fe80::a9fe:a9fe", "LinkLocalAddress"),
        ("febf::1", "LinkLocalAddress"),
        ("168.63.129.16", "MetadataAddress"),
        ("100.100.100.200", "MetadataAddress"),
        ("192.0.0.192", "MetadataAddress"),
        ("fd00:ec2::254", "MetadataAddress"),
        ("fd00:ec2::23", "MetadataAddress"),
        ("fd20:ce::254", "MetadataAddress"),
        ("fd00:42::42", "MetadataAddress"),
        ("fd00:c1::a9fe:a9fe", "MetadataAddress"),
        ("fd00:a9fe:a9fe::1", "MetadataAddress"),
        ("fd00:100::100:200", "MetadataAddress"),
        ("64:ff9b::a83f:8110", "MetadataAddress"),
        ("0.0.0.0", "UnspecifiedAddress"),
        ("0.1.2.3", "UnspecifiedAddress"),
        ("::", "UnspecifiedAddress"),
        ("224.0.0.1", "MulticastAddress"),
        ("239.255.255.255", "MulticastAddress"),
        ("ff02::1", "MulticastAddress"),
        ("255.255.255.255", "BroadcastAddress"),
        ("198.51.100.7", "MachineAddress"),
        ("::ffff:198.51.100.7", "MachineAddress"),
        ("64:ff9b::198.51.100.7", "MachineAddress"),
        ("2001:db8::7", "MachineAddress"),
    ] {
        check(address, reason);
    }
    for address in [
        "198.51.100.8",
        "10.0.0.1",
        "fd00::1",
        "8.8.8.8",
        "2001:4860:4860::8888",
        "64:ff9b::808:808",
        "fec0::1",
    ] {
        check(address, "ml/all");
    }
}

#[test]
fn what_kind_an_address_is() {
    let check = |addresses: &[&str], class: Class| {
        for address in addresses {
            assert_eq!(Class::of(ip(address)), class, "{address}");
        }
    };
    check(
        &[
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.1",
            "240.0.0.1",
            "192.0.0.1",
            "fd12::1",
            "fc00::1",
            "fec0::1",
            "2001:db8::1",
            "3fff::1",
            "2002:0808:0808::",
            "64:ff9b::c0a8:1",
            "64:ff9b:1::808:808",
            "::8.8.8.8",
            "4000::1",
            "100::1",
            "2001:2::1",
            "5f00::1",
        ],
        Class::NotGlobal,
    );
    check(
        &[
            "8.8.8.8",
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2a00::",
            "3ffe:ffff::",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ],
        Class::Global,
    );
}

#[test]
fn what_the_files_of_a_cluster_open() {
    let rules = |egress: &Value| policy("p", egress, "[]").rules;
    // Without peers any address, without ports any port.
    for egress in [json!([{}]), json!([{"to": [], "ports": []}]), json!([{"ports": [{"protocol": "TCP"}]}])] {
        let found = rules(&egress);
        assert_eq!((found.len(), found[0].ports.len()), (1, 0), "{egress}");
    }
    // What is nothing here opens nothing, least of all everything.
    for egress in [
        json!([]),
        Value::Null,
        json!([{"to": [{"podSelector": {}}]}]),
        json!([{"to": [{"namespaceSelector": {}, "podSelector": {}}], "ports": [{"port": 80}]}]),
        json!([{"ports": [{"protocol": "UDP", "port": 53}]}]),
        json!([{"ports": [{"protocol": "SCTP"}]}]),
        json!([{"ports": [{"port": "https", "protocol": "TCP"}]}]),
    ] {
        assert_eq!(rules(&egress).len(), 0, "{egress}");
    }
    let found = rules(&json!([{
        "to": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "fd00::/8"}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}, {"protocol": "TCP", "port": "web"}],
    }]));
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|rule| *rule.ports == [53..=53]));
    let ingress = json!({"metadata": {"annotations": {EGRESS_NAMES: "[\"a.b:1\"]"}}, "spec": {"policyTypes": ["Ingress"]}});
    assert_eq!(EgressPolicy::read(&ingress).unwrap(), None);
}

#[test]
fn which_names_are_asked_for() {
    let named = egress(&[policy("names", &json!([]), r#"["data.example:443", "*.example.org:80"]"#)]);
    let check = |egress: &Egress, name: &str, is_asked: bool| {
        assert_eq!(egress.may_resolve(name), is_asked, "{name}");
    };
    check(&named, "data.example", true);
    check(&named, "DATA.EXAMPLE.", true);
    check(&named, "x.example.org", true);
    check(&named, "example.org", false);
    check(&named, "a_b.example.org", false);
    check(&named, "a b.example.org", false);
    check(&named, ".example.org", false);
    check(&named, "secret.data.example", false);
    check(&named, "", false);
    check(&named, "127.0.0.1", false);
    check(&Egress::default(), "data.example", false);
    // An address of any name may be in a block.
    let block = egress(&[policy("net", &json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]), "[]")]);
    check(&block, "db.corp", true);
    check(&block, "10.0.0.1", false);
}

#[test]
fn it_crosses_to_the_gate_and_back() {
    let egress = egress(&[policy(
        "net",
        &json!([{"to": [{"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 1, "endPort": 9}]}, {}]),
        r#"["*.Example.org:80-90"]"#,
    )]);
    let text = serde_json::to_string(&egress).unwrap();
    assert_eq!(serde_json::from_str::<Egress>(&text).unwrap(), egress, "{text}");
    let bytes = egress.to_wire();
    assert_eq!(Egress::from_wire(&bytes).unwrap(), egress);
    assert_eq!(Egress::from_wire(&bytes[..bytes.len() - 1]), Err(super::Unreadable));
    // Nothing to read is no permission, and neither is what opens nothing.
    assert_eq!(Egress::from_wire(&[]), Err(super::Unreadable));
    assert_eq!(Egress::from_wire(&Egress::default().to_wire()).unwrap().rules, []);
    for wrong in [text.replace("10.0.0.0/8", "10.0.0.0/33"), text.replace("*.example.org", "*.example..org")]
    {
        assert!(serde_json::from_str::<Egress>(&wrong).is_err(), "{wrong}");
    }
}

/// The second implementation, over the policies as they are written: bits as text, names as labels.
mod plain {
    use super::*;

    fn bits(address: IpAddr) -> String {
        match address {
            IpAddr::V4(v4) => v4.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
            IpAddr::V6(v6) => v6.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
        }
    }

    pub(super) fn is_in(address: IpAddr, block: &str) -> bool {
        let (first, prefix) = block.split_once('/').unwrap();
        let (first, prefix) = (ip(first), prefix.parse::<usize>().unwrap());
        first.is_ipv4() == address.is_ipv4() && bits(first)[..prefix] == bits(address)[..prefix]
    }

    const NEVER: [&str; 19] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "::/128",
        "::1/128",
        "fe80::/10",
        "ff00::/8",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "fd00:42::42/128",
        "fd00:c1::a9fe:a9fe/128",
        "fd00:a9fe:a9fe::1/128",
        "fd00:100::100:200/128",
        "::ffff:127.0.0.0/104",
    ];
    const GLOBAL: [&str; 3] = ["0.0.0.0/0", "2000::/3", "64:ff9b::/96"];
    const NOT_GLOBAL: [&str; 15] = [
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    ];

    /// All that an address may stand for.
    fn forms(address: IpAddr) -> Vec<IpAddr> {
        let IpAddr::V6(v6) = address else { return vec![address] };
        let bytes = v6.octets();
        let v4 = |bytes: &[u8]| IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]));
        if is_in(address, "::ffff:0:0/96") {
            return vec![v4(&bytes[12..])];
        }
        let mut all = vec![address];
        for block in ["64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"] {
            if is_in(address, block) && !v6.is_unspecified() && !v6.is_loopback() {
                all.push(v4(&bytes[12..]));
            }
        }
        if is_in(address, "2002::/16") {
            all.push(v4(&bytes[2..]));
        }
        if is_in(address, "2001::/32") {
            let turned: Vec<u8> = bytes[12..].iter().map(|byte| !byte).collect();
            all.push(v4(&turned));
        }
        all
    }

    fn is_in_any(address: IpAddr, blocks: &[&str]) -> bool {
        blocks.iter().any(|block| is_in(address, block))
    }

    fn is_named(pattern: &str, name: &str) -> bool {
        let labels = |name: &str| name.to_lowercase().split('.').map(str::to_owned).collect::<Vec<String>>();
        let (pattern, name) = (labels(pattern), labels(name));
        if pattern[0] == "*" {
            name.len() >= pattern.len() && name[name.len() - pattern.len() + 1..] == pattern[1..]
        } else {
            pattern == name
        }
    }

    pub(super) fn is_allowed(policies: &[(Value, Vec<String>)], target: &Target<'_>, own: &[IpAddr]) -> bool {
        let forms = forms(target.address);
        if forms.iter().any(|form| is_in_any(*form, &NEVER) || own.contains(form)) {
            return false;
        }
        let is_global = forms.iter().all(|form| is_in_any(*form, &GLOBAL) && !is_in_any(*form, &NOT_GLOBAL));
        let is_port = |port: &Value| {
            let is_tcp = port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
            let first = port["port"].as_u64();
            let last = port["endPort"].as_u64().or(first);
            is_tcp
                && (port["port"].is_null()
                    || first.is_some_and(|first| {
                        (first..=last.unwrap()).any(|number| number == u64::from(target.port))
                    }))
        };
        let is_peer = |peer: &Value| {
            let block = &peer["ipBlock"];
            block["cidr"].as_str().is_some_and(|cidr| {
                let except = block["except"].as_array().unwrap();
                is_in(forms[0], cidr) && !except.iter().any(|part| is_in(forms[0], part.as_str().unwrap()))
            })
        };
        let any = |list: &Value, is: &dyn Fn(&Value) -> bool| {
            list.as_array().is_none_or(|list| list.is_empty() || list.iter().any(is))
        };
        policies.iter().any(|(egress, names)| {
            let by_rule = egress
                .as_array()
                .unwrap()
                .iter()
                .any(|rule| any(&rule["ports"], &is_port) && any(&rule["to"], &is_peer));
            let by_name = |name: &String| {
                let (pattern, ports) = name.rsplit_once(':').unwrap();
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                let (first, last) = (first.parse::<u16>().unwrap(), last.parse::<u16>().unwrap());
                target.name.is_some_and(|name| is_named(pattern, name))
                    && (first <= target.port && target.port <= last)
                    && is_global
            };
            by_rule || names.iter().any(by_name)
        })
    }
}

/// Addresses near each other and near the edges of what is special, so that blocks are met.
fn address() -> impl Strategy<Value = IpAddr> {
    let edges = prop::sample::select(vec![
        "0.0.0.0",
        "0.255.255.255",
        "1.0.0.0",
        "9.255.255.255",
        "10.0.0.0",
        "10.1.0.0",
        "10.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.64.0.0",
        "100.100.100.199",
        "100.100.100.200",
        "126.255.255.255",
        "127.0.0.1",
        "128.0.0.0",
        "168.63.129.16",
        "169.253.255.255",
        "169.254.169.254",
        "169.255.0.0",
        "172.15.255.255",
        "172.16.0.0",
        "192.0.0.192",
        "192.168.0.0",
        "198.18.0.0",
        "223.255.255.255",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "8.8.8.8",
        "::",
        "::1",
        "::2",
        "fe7f::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "fcff::1",
        "fd00:ec2::254",
        "fd00:ec3::254",
        "fd20:ce::254",
        "fd00:42::42",
        "fd00:c1::a9fe:a9fe",
        "fd00:c1::a9fe:a9ff",
        "fd00:a9fe:a9fe::1",
        "fd00:100::100:200",
        "feff::1",
        "ff02::1",
        "2001:db8::1",
        "2001:200::",
        "2001:1ff::",
        "2606::1",
        "3fff::",
        "3fff:1000::",
        "3ffe::",
        "4000::",
        "1fff::1",
    ])
    .prop_map(ip);
    let v4 = any::<[u8; 4]>().prop_map(|bytes| IpAddr::V4(bytes.into()));
    let inside = (
        prop::sample::select(vec!["64:ff9b::", "64:ff9b:1::", "::ffff:0:0", "::ffff:0:0:0", "::", "2001::"]),
        prop_oneof![edges.clone(), v4.clone()],
        any::<bool>(),
    )
        .prop_map(|(prefix, v4, is_turned)| match (ip(prefix), v4) {
            (IpAddr::V6(prefix), IpAddr::V4(v4)) => {
                let low = if is_turned { !v4.to_bits() } else { v4.to_bits() };
                IpAddr::V6(Ipv6Addr::from_bits(prefix.to_bits() | u128::from(low)))
            }
            (_, other) => other,
        });
    let six_to_four = v4.clone().prop_map(|v4| match v4 {
        IpAddr::V4(v4) => IpAddr::V6(Ipv6Addr::from_bits(0x2002 << 112 | u128::from(v4.to_bits()) << 80)),
        other => other,
    });
    let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    let global =
        (0..2u128, 0..4u128).prop_map(|(a, b)| IpAddr::V6(Ipv6Addr::from_bits(0x2606 << 112 | a << 64 | b)));
    prop_oneof![4 => edges, 2 => v4, 3 => inside, 1 => six_to_four, 1 => v6, 2 => global]
}

/// Of addresses that are met.
fn block() -> impl Strategy<Value = String> {
    (address(), 0..=128u8).prop_map(|(address, prefix)| {
        let prefix = if address.is_ipv4() { prefix % 33 } else { prefix };
        format!("{address}/{prefix}")
    })
}

fn peer() -> impl Strategy<Value = Value> {
    let by_block = (block(), prop::collection::vec(block(), 0..3))
        .prop_map(|(cidr, except)| json!({"ipBlock": {"cidr": cidr, "except": except}}));
    prop_oneof![5 => by_block, 1 => Just(json!({"podSelector": {}}))]
}

fn port() -> impl Strategy<Value = Value> {
    prop_oneof![
        (1..6u16).prop_map(|port| json!({"port": port})),
        (1..6u16, 0..3u16)
            .prop_map(|(port, more)| json!({"port": port, "endPort": port + more, "protocol": "TCP"})),
        Just(json!({"protocol": "TCP"})),
        Just(json!({"port": "web", "protocol": "TCP"})),
        (1..6u16).prop_map(|port| json!({"port": port, "protocol": "UDP"})),
    ]
}

fn one_policy() -> impl Strategy<Value = (Value, Vec<String>)> {
    let rule = (prop::collection::vec(peer(), 0..3), prop::collection::vec(port(), 0..3))
        .prop_map(|(to, ports)| json!({"to": to, "ports": ports}));
    let name = ("(\\*\\.)?([ab]\\.){0,2}[AB]", 1..6u16, 0..3u16)
        .prop_map(|(name, first, more)| format!("{name}:{first}-{}", first + more));
    (prop::collection::vec(rule, 0..3).prop_map(Value::from), prop::collection::vec(name, 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn it_decides_as_the_plain_one(
        policies in prop::collection::vec(one_policy(), 0..3),
        name in prop::option::of("([ab]\\.){0,3}[ab]"),
        address in address(), port in 1..8u16, own in prop::collection::vec(address(), 0..2),
    ) {
        let read: Vec<EgressPolicy> = policies
            .iter()
            .map(|(rules, names)| policy("p", rules, &serde_json::to_string(names).unwrap()))
            .collect();
        let egress = egress(&read);
        let target = Target { name: name.as_deref(), address, port };
        let own: Vec<IpAddr> = own.into_iter().map(|own| own.to_canonical()).collect();
        let verdict = egress.decide(&target, |form| own.contains(&form));
        let is_allowed = matches!(verdict, Verdict::Allowed(_));
        prop_assert_eq!(is_allowed, plain::is_allowed(&policies, &target, &own), "{:?} {:?}", target, verdict);
        // A name by which something is allowed was resolved before.
        if let (Some(name), true) = (target.name, is_allowed) {
            prop_assert!(egress.may_resolve(name));
        }
    }

    #[test]
    fn one_more_policy_never_closes_and_its_order_says_nothing(
        a in one_policy(), b in one_policy(), name in prop::option::of("([ab]\\.){0,3}[ab]"), address in address(), port in 1..8u16,
    ) {
        let read = |(rules, names): &(Value, Vec<String>)| policy("p", rules, &serde_json::to_string(names).unwrap());
        let (a, b) = (read(&a), read(&b));
        let target = Target { name: name.as_deref(), address, port };
        let is_allowed = |policies: &[EgressPolicy]| {
            matches!(egress(policies).decide(&target, |_| false), Verdict::Allowed(_))
        };
        let either = is_allowed(std::slice::from_ref(&a)) || is_allowed(std::slice::from_ref(&b));
        prop_assert_eq!(is_allowed(&[a.clone(), b.clone()]), either);
        prop_assert_eq!(is_allowed(&[b, a]), either);
    }

    #[test]
    fn whoever_asks_by_the_kernel_s_other_form_gets_the_same(address in address(), port in 1..8u16) {
        let IpAddr::V4(v4) = address else { return Ok(()) };
        let all = egress(&[policy("p", &json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]), "[]")]);
        let by = |address| all.decide(&Target { name: None, address, port }, |_| false);
        prop_assert_eq!(by(address), by(IpAddr::V6(v4.to_ipv6_mapped())));
    }

    #[test]
    fn never_is_never(policies in prop::collection::vec(one_policy(), 0..3), address in address(), name in "([ab]\\.){0,3}[ab]") {
        let class = Class::of(address);
        let mut read = vec![policy("all", &json!([{}]), "[\"*.a:1-65535\", \"*.b:1-65535\"]")];
        read.extend(policies.iter().map(|(rules, names)| policy("p", rules, &serde_json::to_string(names).unwrap())));
        let egress = egress(&read);
        let verdict = egress.decide(&Target { name: Some(&name), address, port: 1 }, |_| false);
        prop_assert_eq!(matches!(verdict, Verdict::Refused(Refusal::Never(_))), class.is_never_reached());
    }
}
