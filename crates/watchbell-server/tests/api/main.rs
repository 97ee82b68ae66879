//! The server as its clients meet it: HTTPS on a loopback port, a real journal, a node that only notes what it is told.

mod harness;
mod kubectl;
mod verbs;
