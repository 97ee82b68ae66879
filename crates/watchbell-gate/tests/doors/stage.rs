//! The spawner's part, and the tasks'.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use watchbell_api::network::{Block, NamePattern};
use watchbell_core::egress::{Egress, Rule, To};
use watchbell_gate::dns::{Answer, Family, read_answer, write_question};
use watchbell_sandbox::gate::{
    Decided, DoorSocket, Ended, GateArgs, Inbox, NOTICE_MAX, Notice, Order, Outbox, STUB, Verdict, decode,
};

use crate::network::Network;
use crate::world::{self, BARE, ECHO, GREETS, MIRROR, PRIVATE, STAYS, WEB, WORLD};

pub(crate) const POD: u128 = 7;
/// When something that should come has not, the test has failed.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Stage {
    pub(crate) gate: Child,
    socket: Option<OwnedFd>,
    inbox: Inbox,
    pub(crate) world: Network,
}

pub(crate) struct Task {
    pub(crate) network: Network,
}

impl Stage {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let args = GateArgs { uid: watchbell_sandbox::gate::DEFAULT_UID }.write();
        Self::with("gate", &[args[0].to_str().unwrap_or_default()])
    }

    /// With a gate that has room for so many connections of a pod and of all, and all the patience that a busy machine needs.
    pub(crate) fn narrow(of_pod: &str, of_all: &str) -> Result<Self, Box<dyn Error>> {
        Self::with("narrow-gate", &[of_pod, of_all, "60000"])
    }

    /// With a gate that waits no longer than so many milliseconds for an answer, or for a connection.
    pub(crate) fn impatient(milliseconds: &str) -> Result<Self, Box<dyn Error>> {
        Self::with("narrow-gate", &["10", "100", milliseconds])
    }

    fn with(word: &str, args: &[&str]) -> Result<Self, Box<dyn Error>> {
        let world = world::make()?;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(PATIENCE))?;
        let gate = Command::new(std::env::current_exe()?)
            .arg(word)
            .args(args)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        let mut stage = Self { gate, socket: Some(ours), inbox: Inbox::new(NOTICE_MAX), world };
        let resolvers = [WORLD, PRIVATE].map(|address| SocketAddr::new(address.parse().unwrap(), 53));
        stage.order(&Order::Resolvers { addresses: resolvers.to_vec() }, Vec::new())?;
        Ok(stage)
    }

    pub(crate) fn order(&mut self, order: &Order, sockets: Vec<OwnedFd>) -> Result<(), Box<dyn Error>> {
        let mut outbox = Outbox::default();
        outbox.push(order, sockets);
        let socket = self.socket.as_ref().ok_or("the gate was left")?;
        if outbox.flush(socket.as_fd())? { Ok(()) } else { Err("the gate does not read".into()) }
    }

    /// As the death of the spawner does.
    pub(crate) fn leave_gate(&mut self) {
        self.socket = None;
    }

    /// A task with a door.
    pub(crate) fn task(&mut self, pod: u128, egress: &Egress) -> Result<Task, Box<dyn Error>> {
        self.task_with("lab", pod, egress.to_wire())
    }

    /// The same in another namespace.
    pub(crate) fn task_of(
        &mut self,
        namespace: &str,
        pod: u128,
        egress: &Egress,
    ) -> Result<Task, Box<dyn Error>> {
        self.task_with(namespace, pod, egress.to_wire())
    }

    pub(crate) fn task_with(
        &mut self,
        namespace: &str,
        pod: u128,
        egress: Vec<u8>,
    ) -> Result<Task, Box<dyn Error>> {
        let network = Network::new()?;
        network.sh("ip route add local default dev lo; ip -6 route add local default dev lo")?;
        let sockets = network.within(|| -> std::io::Result<Vec<OwnedFd>> {
            let mut sockets: Vec<OwnedFd> = vec![UdpSocket::bind((STUB, 53))?.into()];
            // Of both families.
            for port in [BARE, ECHO, GREETS, WEB, MIRROR, STAYS] {
                sockets.push(TcpListener::bind(("::", port))?.into());
            }
            Ok(sockets)
        })?;
        let mut kinds = vec![DoorSocket::Tcp; sockets.len()];
        kinds[0] = DoorSocket::Dns;
        let namespace = namespace.to_owned();
        self.order(&Order::Add { pod, namespace, egress, sockets: kinds }, sockets)?;
        Ok(Task { network })
    }

    pub(crate) fn change(&mut self, pod: u128, egress: &Egress) -> Result<(), Box<dyn Error>> {
        self.order(&Order::Change { pod, egress: egress.to_wire() }, Vec::new())
    }

    pub(crate) fn remove(&mut self, pod: u128) -> Result<(), Box<dyn Error>> {
        self.order(&Order::Remove { pod }, Vec::new())
    }

    pub(crate) fn next(&mut self) -> Result<Notice, Box<dyn Error>> {
        let socket = self.socket.as_ref().ok_or("the gate was left")?;
        loop {
            if let Some(frame) = self.inbox.next()? {
                return Ok(decode(&frame.body)?);
            }
            if !matches!(self.inbox.fill(socket.as_fd())?, watchbell_sandbox::gate::Filled::Bytes(_)) {
                return Err("the gate says no more".into());
            }
        }
    }

    pub(crate) fn decided(&mut self) -> Result<Decided, Box<dyn Error>> {
        match self.next()? {
            Notice::Decided(decided) => Ok(decided),
            other => Err(format!("no decision: {other:?}").into()),
        }
    }

    pub(crate) fn ended(&mut self) -> Result<Ended, Box<dyn Error>> {
        match self.next()? {
            Notice::Ended(ended) => Ok(ended),
            other => Err(format!("no end: {other:?}").into()),
        }
    }

    /// The reason of a refusal.
    pub(crate) fn refused(&mut self) -> Result<String, Box<dyn Error>> {
        match self.decided()?.verdict {
            Verdict::Refused { reason, .. } => Ok(reason),
            allowed @ Verdict::Allowed { .. } => Err(format!("{allowed:?}").into()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.leave_gate();
        let _ = self.gate.wait();
    }
}

impl Task {
    /// What the stub says of a name.
    pub(crate) fn resolve(&self, name: &str, family: Family) -> Result<Option<Answer>, Box<dyn Error>> {
        let question = write_question(1, name, family).ok_or("no name")?;
        let mut buffer = [0; 1500];
        let length = self.network.within(|| -> std::io::Result<usize> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect((STUB, 53))?;
            socket.send(&question)?;
            socket.recv(&mut buffer)
        })?;
        Ok(read_answer(&buffer[..length], 1, name, family).ok())
    }

    /// The address that stands for a name.
    pub(crate) fn address(&self, name: &str, family: Family) -> Result<IpAddr, Box<dyn Error>> {
        match self.resolve(name, family)? {
            Some(Answer::Addresses { addresses, .. }) => Ok(addresses[0]),
            other => Err(format!("{name}: {other:?}").into()),
        }
    }

    pub(crate) fn connect(&self, to: IpAddr, port: u16) -> std::io::Result<TcpStream> {
        let stream = self.network.within(|| TcpStream::connect((to, port)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Says something to the end, and hears all that is said.
    pub(crate) fn ask(&self, to: IpAddr, port: u16, what: &[u8]) -> std::io::Result<String> {
        let mut stream = self.connect(to, port)?;
        stream.write_all(what)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard)?;
        Ok(heard)
    }

    /// Whether a connection is broken off before anything is heard.
    pub(crate) fn is_reset(&self, to: IpAddr, port: u16) -> bool {
        self.ask(to, port, b"x").is_err_and(|error| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected};
            matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected)
        })
    }
}

/// By name, on any port.
pub(crate) fn name(pattern: &str) -> Rule {
    Rule { policy: "lab/names".into(), to: To::Name(NamePattern::parse(pattern).unwrap()), ports: [].into() }
}

pub(crate) fn block(block: &str) -> Rule {
    let block = Block::parse(block).unwrap();
    Rule { policy: "lab/blocks".into(), to: To::Block { block, except: Vec::new() }, ports: [].into() }
}

pub(crate) fn anything() -> Rule {
    Rule { policy: "lab/any".into(), to: To::Anything, ports: [].into() }
}

pub(crate) fn on(port: u16, rule: Rule) -> Rule {
    Rule { ports: [port..=port].into(), ..rule }
}

pub(crate) fn egress(rules: impl Into<Vec<Rule>>) -> Egress {
    Egress { rules: rules.into() }
}
