//! stackctl
