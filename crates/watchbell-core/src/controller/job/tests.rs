//! Each file plays Kubernetes' rules against [`bench::Bench`], a Job with a node that does what the test says.

mod arrays;
mod backoff_limit;
mod bench;
mod completion;
mod failure_policy;
mod indexed;
mod model;
mod render;
mod replacement;
mod suspend;
