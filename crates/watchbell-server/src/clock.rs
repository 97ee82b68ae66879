//! Hears when the wall clock is set or the machine wakes from sleep, so that schedules are looked at again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::state::Input;

/// Starts the thread that listens. It ends with the writer: its next message finds nobody.
pub(crate) fn tell_steps(inputs: Sender<Input>) -> io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
    arm(&timer)?;
    std::thread::Builder::new().name("clock".into()).spawn(move || {
        let mut count = [0u8; 8];
        loop {
            match rustix::io::read(&timer, &mut count) {
                // timerfd_create(2): a discontinuous change of the clock cancels the read.
                Err(rustix::io::Errno::CANCELED) | Ok(_) => {
                    if inputs.send(Input::ClockStep).is_err() {
                        return;
                    }
                    if let Err(error) = arm(&timer) {
                        tracing::warn!("clock steps are noticed within a minute only: {error}");
                        return;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!("clock steps are noticed within a minute only: {error}");
                    return;
                }
            }
        }
    })?;
    Ok(())
}

/// Far in the future, cancelled when the clock is set.
fn arm(timer: &OwnedFd) -> io::Result<()> {
    let never = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: 253_402_300_799, tv_nsec: 0 },
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
    Ok(())
}
