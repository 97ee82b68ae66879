//! The server as its clients meet it: HTTPS on a loopback port, a real journal, a node that only notes what it is told.

mod apply;
mod client;
mod discovery;
mod disk;
mod evictions;
mod exec;
mod harness;
mod hostile;
mod images;
mod kinds;
mod kubectl;
mod lifecycles;
mod limits;
mod lists;
mod logins;
mod logs;
mod operators;
mod protobuf;
mod reviews;
mod sandbox;
mod sessions;
mod state;
mod status;
mod verbs;
mod watches;
