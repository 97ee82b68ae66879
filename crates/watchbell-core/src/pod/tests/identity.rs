use serde_json::{Value, json};

use super::spec;
use crate::pod::{identity, wanted_user};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv/web:/bin/false\nbroken line\nx:y:z\n\
nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nwww:x:33:web,other\nstaff:x:50:web\nbad:x:no:web\n";

/// `uid:gid groups home`, or a part of the error.
fn check(pod: Value, image_user: &str, expect: Result<&str, &str>) {
    let mut object = json!({"containers": [{"name": "c"}]});
    for (key, value) in pod.as_object().unwrap() {
        if key == "own" {
            object["containers"][0]["securityContext"] = value.clone();
        } else {
            object["securityContext"][key] = value.clone();
        }
    }
    let spec = spec(object);
    let container = &spec.containers[0];
    let wanted = wanted_user(&spec, container, image_user);
    let got = identity(&spec, container, &wanted, (PASSWD, GROUP));
    match (got, expect) {
        (Ok(i), Ok(expect)) => {
            assert_eq!(
                format!("{}:{} {:?} {}", i.uid, i.gid, i.groups, i.home),
                expect,
                "{pod} {image_user}"
            );
        }
        (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{pod} {image_user}: {e}"),
        (got, _) => panic!("{pod} {image_user}: {got:?}"),
    }
}

#[test]
fn the_pods_user_comes_before_the_images() {
    check(json!({}), "", Ok("0:0 [] /root"));
    check(json!({}), "1000", Ok("1000:0 [] /"));
    check(json!({}), "1000:2000", Ok("1000:2000 [] /"));
    check(json!({}), "web", Ok("101:102 [33, 50] /srv/web"));
    check(json!({}), "web:staff", Ok("101:50 [33, 50] /srv/web"));
    check(json!({}), "101", Ok("101:102 [33, 50] /srv/web"));
    check(json!({"runAsUser": 65534, "runAsGroup": 65534}), "web", Ok("65534:65534 [] /nonexistent"));
    check(json!({"runAsUser": 1000}), "web:staff", Ok("1000:0 [] /"));
    check(json!({"runAsUser": 1000, "own": {"runAsUser": 7, "runAsGroup": 8}}), "", Ok("7:8 [] /"));
    check(json!({"runAsGroup": 9}), "web", Ok("101:9 [33, 50] /srv/web"));
    check(
        json!({"runAsUser": 101, "supplementalGroups": [5, 33], "fsGroup": 6}),
        "",
        Ok("101:102 [5, 33, 6, 50] /srv/web"),
    );
    check(json!({}), "ghost", Err("unable to find user ghost"));
    check(json!({}), "web:ghosts", Err("unable to find group ghosts"));
    check(json!({}), "-1", Err("unable to find user -1"));
    check(json!({}), "4294967296", Err("unable to find user"));
}

#[test]
fn root_is_refused_where_it_must_not_be() {
    let must = json!({"runAsNonRoot": true});
    check(must.clone(), "", Err("image will run as root"));
    check(must.clone(), "0", Err("image will run as root"));
    check(must.clone(), "0:5", Err("image will run as root"));
    check(must.clone(), "web", Err("non-numeric user (web)"));
    check(must, "101", Ok("101:102 [33, 50] /srv/web"));
    check(json!({"runAsNonRoot": true, "runAsUser": 0}), "101", Err("breaks non-root policy"));
    check(json!({"runAsNonRoot": true, "runAsUser": 5}), "root", Ok("5:0 [] /"));
    check(json!({"runAsNonRoot": true, "own": {"runAsNonRoot": false}}), "", Ok("0:0 [] /root"));
}
