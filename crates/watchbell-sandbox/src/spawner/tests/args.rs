use std::ffi::OsString;
use std::path::PathBuf;

use proptest::prelude::{Strategy, any, proptest};
use proptest::{collection::vec, prop_assert_eq};

use crate::spawner::args::{BadArgs, SpawnerArgs};
use crate::{Bounds, Ceiling, DeviceCeiling, IoLimits, LogRate, OciRuntime, Reserved, UidRanges};

fn ceiling() -> impl Strategy<Value = Ceiling> {
    let paths = || vec("/[a-z ]{1,8}(/[a-z-]{1,8}){0,3}".prop_map(PathBuf::from), 0..3);
    let runtime = ("[a-z0-9]{1,8}(-[a-z0-9]{1,4})?", "/[a-z =]{1,8}/[a-z]{1,4}")
        .prop_map(|(name, path)| OciRuntime { name, path: path.into() });
    let runtimes = vec(runtime, 0..3);
    (any::<[bool; 7]>(), [paths(), paths(), paths(), paths()], any::<u32>(), any::<u16>(), runtimes).prop_map(
        |(flags, [host_paths, data_paths, cdi_dirs, cdi_hooks], first, count, runtimes)| {
            let [privileged, host_users, host_network, host_pid, host_ipc, unconfined, wider_seccomp] = flags;
            Ceiling {
                privileged,
                host_users,
                host_network,
                host_pid,
                host_ipc,
                unconfined,
                wider_seccomp,
                host_paths,
                data_paths,
                uid_ranges: UidRanges { first, count },
                devices: DeviceCeiling { cdi_dirs, cdi_hooks },
                runtimes,
            }
        },
    )
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (any::<[Option<u64>; 6]>(), any::<u64>(), any::<u64>()).prop_map(
        |(
            [memory_bytes, pids, read_bps, write_bps, read_iops, write_iops],
            bytes_per_second,
            burst_bytes,
        )| Bounds {
            reserved: Reserved { memory_bytes, pids },
            log_rate: LogRate { bytes_per_second, burst_bytes },
            io: IoLimits { read_bps, write_bps, read_iops, write_iops },
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        ceiling in ceiling(), bounds in bounds(), client_uid: u32, keeper_uid: u32, idle_seconds: u32, shard: u16
    ) {
        let args = SpawnerArgs {
            state_dir: "/data/run".into(),
            log_dir: "/data/logs".into(),
            ceiling,
            bounds,
            client_uid,
            keeper_uid,
            idle_seconds,
            shard,
        };
        prop_assert_eq!(SpawnerArgs::parse(args.write().into_iter()), Ok(args));
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    let check = |args: &[&str], expect: BadArgs| {
        let args = args.iter().map(OsString::from);
        assert_eq!(SpawnerArgs::parse(args), Err(expect));
    };
    check(&[], BadArgs::Missing("--state-dir"));
    check(&["--state-dir", "/x"], BadArgs::Missing("--log-dir"));
    check(&["--state-dir"], BadArgs::Value("--state-dir"));
    check(&["--shard", "70000"], BadArgs::Value("--shard"));
    check(&["--runtime", "runc"], BadArgs::Value("--runtime"));
    check(&["--allow-everything"], BadArgs::Unknown("--allow-everything".into()));
}
