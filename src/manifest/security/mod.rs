//! Security rules for pods: the restricted Pod Security Standard of Kubernetes and some of our own.

mod breaches;
mod rules;

pub(crate) use rules::check;
pub use rules::{ALLOW, RULES, Rule};
