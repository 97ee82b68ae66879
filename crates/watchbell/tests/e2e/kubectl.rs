//! The real kubectl, with the habits of a user: each transcript beside this file is what he types and sees.

use crate::shared::Lab;
use crate::stand::is_left_out;
use crate::transcript::play;

macro_rules! transcripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            if is_left_out(&["busybox", "kubectl", "curl"]) {
                return;
            }
            let lab = Lab::open(concat!("kubectl-", stringify!($name)));
            play(&lab, include_str!(concat!("kubectl/", stringify!($name), ".txt")));
        }
    )*};
}

transcripts! {
    arrays
    admission
    apply
    serverside
    get
    watch
    logs
    volumes
    wait
    create
    change
    delete
    discover
    images
    network
    refused
    policies
    rights
    wild
    kinds
}

#[test]
fn devices() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    play(&Lab::alone_on(crate::devices::stand(), "kubectl-devices"), include_str!("kubectl/devices.txt"));
}

#[test]
fn node() {
    if is_left_out(&["busybox", "kubectl"]) {
        return;
    }
    play(&Lab::alone("kubectl-node"), include_str!("kubectl/node.txt"));
}
