//! The journal seen from outside: what it promises its caller, through crashes, full disks and damage.

mod audit_reader;
mod batches;
mod children;
mod copied;
mod crashes;
mod damage;
mod full_disk;
mod kill;
mod law;
mod log;
mod restore;
mod rollback;
mod sealed;
mod state;
mod tamper;
