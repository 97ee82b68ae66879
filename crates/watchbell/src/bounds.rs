//! `serve`: what is kept from pods, and what every container is held to.

use std::str::FromStr;

use watchbell_api::node::Capacity;
use watchbell_api::quantity::Quantity;
use watchbell_node::{Kept, LogLimits, NodeOptions};
use watchbell_sandbox::{IoLimits, LogRate};

use crate::exit::Failure;

/// The names are kubelet's, where it has one.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is kept from pods, and what each container is held to")]
pub(crate) struct Bounds {
    /// What all pods together leave to the system and to Watchbell, such as `memory=1Gi,pid=1000,ephemeral-storage=10Gi`;
    /// by default a tenth of each, at most 1Gi, 4096 and 1Gi. A pod is evicted when the disk has less left than that
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_delimiter = ',')]
    system_reserved: Vec<String>,
    /// An emptyDir on disk that has no sizeLimit may hold so much
    #[arg(long, value_name = "SIZE", default_value = "10Gi")]
    empty_dir_size: Bytes,
    /// What each container may read from the disk of the data directory a second; without it as fast as it goes
    #[arg(long, value_name = "SIZE")]
    container_io_read_bps: Option<Bytes>,
    /// What it may write there a second; on control groups version 1 this holds for direct writes alone
    #[arg(long, value_name = "SIZE")]
    container_io_write_bps: Option<Bytes>,
    /// How often it may read there a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    container_io_read_iops: Option<u64>,
    /// How often it may write there a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    container_io_write_iops: Option<u64>,
    /// A log file is rotated when it would grow above this
    #[arg(long, value_name = "SIZE", default_value = "10Mi")]
    container_log_max_size: Bytes,
    /// Log files kept of each run of a container
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    container_log_max_files: u32,
    /// The logs of pods that have ended may hold so much together, by default a quarter of the disk; beyond, the oldest are
    /// removed, of the namespace that holds most
    #[arg(long, value_name = "SIZE")]
    log_disk: Option<Bytes>,
    /// How much a container may print a second; who prints faster waits, and nothing is lost
    #[arg(long, value_name = "SIZE", default_value = "10Mi")]
    log_rate: Bytes,
    /// How much it may print at once before that
    #[arg(long, value_name = "SIZE", default_value = "64Mi")]
    log_burst: Bytes,
}

/// A number of bytes in Kubernetes' notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size; write it as Kubernetes does, such as 64Mi");
        let quantity = Quantity::from_str(text).map_err(|_| wrong())?;
        if quantity.is_negative() { Err(wrong()) } else { Ok(Bytes(quantity.as_bytes())) }
    }
}

/// The keeper's files hold at least a few lines.
const LOG_SIZE_MIN: u64 = 4096;
/// Below this hardly a log would be found again.
const LOG_DISK_MIN: u64 = 1 << 20;
/// Of the disk, one of so many is for logs of the past.
const LOG_DISK_PART: u64 = 4;
/// A page a second.
const IO_RATE_MIN: u64 = 4096;
/// A directory itself takes a block.
const EMPTY_DIR_MIN: u64 = 64 << 10;
/// Below this a container that prints a page would seem to hang.
const LOG_RATE_MIN: u64 = 1024;

impl Bounds {
    /// What is kept from pods.
    pub(crate) fn kept(&self) -> Result<Kept, Failure> {
        let mut kept = Kept::default();
        for item in &self.system_reserved {
            let wrong = |why: &str| Failure::Usage(format!("--system-reserved {item:?}: {why}"));
            let (name, amount) = item.split_once('=').ok_or_else(|| wrong("it is not RESOURCE=QUANTITY"))?;
            let Bytes(amount) = amount.parse().map_err(|why: String| wrong(&why))?;
            let place = match name {
                "memory" => &mut kept.reserved.memory_bytes,
                "pid" => &mut kept.reserved.pids,
                "ephemeral-storage" => &mut kept.disk_bytes,
                _ => return Err(wrong("memory, pid and ephemeral-storage can be reserved")),
            };
            if place.replace(amount).is_some() {
                return Err(wrong("it is reserved twice"));
            }
        }
        Ok(kept)
    }

    pub(crate) fn apply(
        &self,
        kept: &Kept,
        total: &Capacity,
        options: &mut NodeOptions,
    ) -> Result<(), Failure> {
        let least = |name: &str, Bytes(bytes): Bytes, least: u64| {
            if bytes >= least {
                Ok(bytes)
            } else {
                Err(Failure::Usage(format!("--{name} {bytes} is less than {least} bytes")))
            }
        };
        options.log = LogLimits {
            max_bytes: least("container-log-max-size", self.container_log_max_size, LOG_SIZE_MIN)?,
            max_files: self.container_log_max_files,
        };
        options.logs_bytes = match self.log_disk {
            Some(size) => least("log-disk", size, LOG_DISK_MIN)?,
            None => total.ephemeral_storage_bytes / LOG_DISK_PART,
        };
        options.empty_dir_bytes = least("empty-dir-size", self.empty_dir_size, EMPTY_DIR_MIN)?;
        options.disk_reserve_bytes = kept.disk_of(total.ephemeral_storage_bytes);
        let rate =
            |name: &str, size: Option<Bytes>| size.map(|size| least(name, size, IO_RATE_MIN)).transpose();
        let io = IoLimits {
            read_bps: rate("container-io-read-bps", self.container_io_read_bps)?,
            write_bps: rate("container-io-write-bps", self.container_io_write_bps)?,
            read_iops: self.container_io_read_iops,
            write_iops: self.container_io_write_iops,
        };
        if let Some(why) = io.obstacle(&options.data_dir) {
            tracing::warn!("what containers read and write is not limited: {why}");
        }
        options.spawner.bounds.io = io;
        options.spawner.bounds.reserved = kept.reserved;
        options.spawner.bounds.log_rate = LogRate {
            bytes_per_second: least("log-rate", self.log_rate, LOG_RATE_MIN)?,
            burst_bytes: least("log-burst", self.log_burst, LOG_RATE_MIN)?,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use watchbell_sandbox::Reserved;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        bounds: Bounds,
    }

    fn parse(args: &[&str]) -> Result<Bounds, String> {
        let line = Line::try_parse_from(std::iter::once(&"serve").chain(args)).map_err(|e| e.to_string())?;
        Ok(line.bounds)
    }

    fn options(bounds: &Bounds) -> Result<NodeOptions, Failure> {
        let capacity =
            Capacity { cpu_millis: 1000, memory_bytes: 1 << 30, pods: 1, ephemeral_storage_bytes: 1 << 30 };
        let mut options = NodeOptions::new("/nowhere", "node", capacity.clone());
        bounds.apply(&bounds.kept()?, &capacity, &mut options)?;
        Ok(options)
    }

    #[test]
    fn what_is_left_out_is_the_nodes_default() {
        let bounds = parse(&[]).unwrap();
        assert_eq!(bounds.kept().unwrap(), Kept::default());
        let options = options(&bounds).unwrap();
        assert_eq!(options.log, LogLimits::default());
        assert_eq!(options.logs_bytes, 256 << 20);
        assert_eq!((options.empty_dir_bytes, options.disk_reserve_bytes), (10 << 30, (1 << 30) / 10));
        assert_eq!(options.spawner.bounds, watchbell_sandbox::Bounds::default());
    }

    #[test]
    fn quantities_are_kubernetes_own() {
        let bounds =
            parse(&["--system-reserved", "memory=1.5Gi,pid=2k", "--system-reserved=ephemeral-storage=1G"]);
        let kept = bounds.unwrap().kept().unwrap();
        let reserved = Reserved { memory_bytes: Some(3 << 29), pids: Some(2000) };
        assert_eq!(kept, Kept { reserved, disk_bytes: Some(1_000_000_000) });
        let bounds =
            parse(&["--log-rate=2Ki", "--log-burst=1Mi", "--log-disk=1Gi", "--container-log-max-files=2"])
                .unwrap();
        let options = options(&bounds).unwrap();
        assert_eq!((options.log.max_files, options.logs_bytes), (2, 1 << 30));
        assert_eq!(options.spawner.bounds.log_rate, LogRate { bytes_per_second: 2048, burst_bytes: 1 << 20 });
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_flag() {
        for (args, word) in [
            (&["--system-reserved", "memory"][..], "RESOURCE=QUANTITY"),
            (&["--system-reserved", "cpu=1"], "can be reserved"),
            (&["--system-reserved", "memory=-1"], "is no size"),
            (&["--system-reserved", "pid=1,pid=2"], "twice"),
            (&["--log-disk", "1Ki"], "--log-disk 1024 is less than 1048576"),
            (&["--log-rate", "0"], "--log-rate 0 is less than 1024"),
            (&["--container-io-read-bps", "1"], "--container-io-read-bps 1 is less than 4096"),
            (&["--container-log-max-size", "1Ki"], "--container-log-max-size 1024 is less than 4096"),
        ] {
            let error = options(&parse(args).unwrap()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(parse(&["--log-burst", "much"]).unwrap_err().contains("is no size"));
        assert!(parse(&["--container-log-max-files", "0"]).is_err());
    }
}
