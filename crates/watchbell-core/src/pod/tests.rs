//! Tables of the pod rules.
