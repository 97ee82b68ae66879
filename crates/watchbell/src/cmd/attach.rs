use super::exec::Which;
use crate::args::{Connect, Scope};
use crate::exit::Failure;
use crate::session::{self, Streams};

/// Joins the streams of a container's own process until the container ends
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Pass standard input on to the process, where its container takes any
    #[arg(short = 'i', long)]
    stdin: bool,
    /// The process has a terminal
    #[arg(short, long)]
    tty: bool,
    #[command(flatten)]
    pub(crate) scope: Scope,
}

pub(crate) fn run(args: &Args, connect: &Connect) -> Result<(), Failure> {
    let client = connect.client()?;
    let base = args.which.path(&client, "attach")?;
    let streams = Streams::of(args.stdin, args.tty);
    session::hold(&client.door()?, &format!("{base}&{}", streams.query()), streams)
}
