//! How hot each processor is, in sysfs: its counters tell what others on the machine do (Docker's GHSA-6fw5-f8r9-fgfm). There is
//! one directory for each processor, where the processor has it, and so no list of constants.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, statat};
use rustix::io::Errno;

const PROCESSORS: &str = "devices/system/cpu";

/// What there is of it below a sysfs, in the processors' order.
pub(super) fn throttles(sys: impl AsFd) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let processors = match openat(sys, PROCESSORS, flags, Mode::empty()) {
        Ok(processors) => processors,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for entry in Dir::read_from(&processors)? {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().ok().and_then(processor) else { continue };
        let place = format!("cpu{number}/thermal_throttle");
        match statat(&processors, &place, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => found.push((number, format!("{PROCESSORS}/{place}"))),
            // Not this processor.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// `cpu7`, and not `cpufreq` or `cpuidle`.
fn processor(name: &str) -> Option<u32> {
    name.strip_prefix("cpu")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::throttles;

    #[test]
    fn each_processor_that_tells_is_found() {
        let sys = tempfile::tempdir().unwrap();
        let open = || fs::File::open(sys.path()).unwrap();
        assert_eq!(throttles(open()).unwrap(), Vec::<String>::new(), "a sysfs without processors");
        for dir in
            ["cpu10/thermal_throttle", "cpu2/thermal_throttle", "cpu3/topology", "cpufreq/thermal_throttle"]
        {
            fs::create_dir_all(sys.path().join("devices/system/cpu").join(dir)).unwrap();
        }
        let found = ["cpu2", "cpu10"].map(|cpu| format!("devices/system/cpu/{cpu}/thermal_throttle"));
        assert_eq!(throttles(open()).unwrap(), found);
    }
}
