//! What the node says of the machine it is. Nothing hangs on it, so what cannot be read is left empty.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use watchbell_api::node::Capacity;
use watchbell_core::world::Machine;

/// More than any of these files holds.
const TEXT_CHARS_MAX: usize = 256;

/// Describes this machine, whose server listens at `listen` and which has so much in all.
pub(crate) fn describe(listen: SocketAddr, total: &Capacity) -> Machine {
    let line =
        |path: &str| text(fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default());
    let release =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| fs::read_to_string(path).ok());
    Machine {
        kernel_version: text(&rustix::system::uname().release().to_string_lossy()),
        os_image: pretty_name(&release.unwrap_or_default()),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        machine_id: line("/etc/machine-id"),
        system_uuid: line("/sys/class/dmi/id/product_uuid"),
        total: Some(total.clone()),
        address: address(listen).map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

fn text(raw: &str) -> String {
    raw.trim().chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(release: &str) -> String {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    text(value.unwrap_or("Linux").trim().trim_matches(['"', '\'']))
}

/// The address that the server listens at; where that is all of them, the one that leads out.
fn address(listen: SocketAddr) -> Option<IpAddr> {
    if !listen.ip().is_unspecified() {
        return Some(listen.ip());
    }
    // To connect a datagram socket sends nothing: it asks the kernel for the way. The address is one for documents.
    let (own, other) =
        if listen.is_ipv4() { ("0.0.0.0:0", "192.0.2.1:9") } else { ("[::]:0", "[2001:db8::1]:9") };
    let socket = UdpSocket::bind(own).ok()?;
    socket.connect(other).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::{Capacity, describe, pretty_name};

    #[test]
    fn the_system_is_named_as_it_names_itself() {
        let check = |release: &str, expect: &str| assert_eq!(pretty_name(release), expect, "{release:?}");
        check("NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", "Debian GNU/Linux 13 (trixie)");
        check("PRETTY_NAME='Arch Linux'", "Arch Linux");
        check("PRETTY_NAME=Alpine\u{1b}[31m", "Alpine[31m");
        check("", "Linux");
    }

    #[test]
    fn a_server_that_listens_to_one_address_is_reached_there() {
        let total = Capacity { cpu_millis: 1000, memory_bytes: 1, pods: 1, ephemeral_storage_bytes: 1 };
        let machine = describe("127.0.0.1:6443".parse().unwrap(), &total);
        assert_eq!(machine.address, "127.0.0.1");
        assert!(!machine.kernel_version.is_empty() && !machine.boot_id.is_empty());
    }
}
