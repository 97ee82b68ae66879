//! The store on a real file system: what an outsider sees of it, after crashes too.

mod artifacts;
mod attempts;
mod crash;
mod crash_of_verbs;
mod encryption;
mod hostile;
mod place;
mod runs;
mod stress;
mod sweeps;
mod views;
